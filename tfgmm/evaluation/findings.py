"""Say in words what a run has learned: how good it is, beside what, if sigma is right, and its use.

Everything is read off tables that the evaluation has made: paired differences and scores. The words are the
same on the terminal and at the head of the report.
"""

import dataclasses

import numpy as np
import pandas as pd

from tfgmm.core.errors import counted
from tfgmm.evaluation import comparison, scores
from tfgmm.evaluation.rivals import WITH_FIELD
from tfgmm.evaluation.sections import NARROW_MARK, NARROW_NOTE
from tfgmm.stats import bootstrap
from tfgmm.stats.calibration import CALIBRATED

AHEAD, LEVEL, BEHIND, UNTOLD = "ahead of", "level with", "behind", "no interval beside"
#: A difference, ln units, that is none whatever its interval: half of the last digit that is written.
LEAST_DIFFERENCE = 5e-4
#: Places and events by cell (site role / event role), in the order in which a reader asks. Where site and
#: event both trained nothing is compared: rivals with a field do not score their own training records.
PLACES = {
    "training / validation": "new events at training sites",
    "validation / training": "known events at held-out sites",
    "validation / validation": "new events at held-out sites",
}
#: Headings of the findings that are not of one place.
NETWORKS, SIGMA, USE = "the networks", "sigma", "where to use it"
#: What stands in brackets behind a number.
BRACKETS = (
    "Differences of the pooled RMSE on the same records, ln units; in brackets the paired 90 % interval by "
    "the two-way bootstrap over events and sites, or over chunks where that is wider. Level: it holds 0; "
    "+ means ahead."
)
#: What the networks do, by verdict on the ensemble beside the same model without them; harm comes first.
_HELP = {
    BEHIND: "do harm",
    AHEAD: "help",
    LEVEL: "make no difference that these records can tell",
    UNTOLD: "no interval, so it cannot be told if they help,",
}
_EVERYWHERE = {
    BEHIND: "do harm everywhere",
    AHEAD: "help everywhere",
    LEVEL: "nowhere make a difference that these records can tell",
    UNTOLD: "no interval, so it cannot be told if they help",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was learned about a run.

    Attributes
    ----------
    what : str
        What it is about: one of `PLACES`, or `NETWORKS`, `SIGMA`, `USE`.
    short : str
        The finding in a few words.
    text : str
        The numbers behind it, as sentences; may be empty.
    """

    what: str
    short: str
    text: str


@dataclasses.dataclass(frozen=True)
class Scope:
    """State what the records of a run cover, and so where the run may be used.

    Attributes
    ----------
    learned_from : str
        Numbers and ranges of the training records.
    region : str
        Where the stations stand.
    new_events : str
        Which events are new, that is, did not train.
    simulated : bool
        True: the records are simulated.
    beyond : str
        What a prediction rests on outside these ranges.
    """

    learned_from: str
    region: str
    new_events: str
    simulated: bool
    beyond: str


def verdicts(differences: pd.DataFrame) -> pd.DataFrame:
    """Return for each compared model and place if the ensemble is ahead of, level with or behind it.

    Parameters
    ----------
    differences : pandas.DataFrame
        Result of `tfgmm.evaluation.comparison.between_models` for the ensemble.

    Returns
    -------
    pandas.DataFrame
        The rows on the RMSE in the cells of `PLACES`: ``im, cell, model``; ``first``, the RMSE of the
        ensemble; ``value``, ``low`` and ``high``, its difference with the wider of the two intervals (over
        events and sites, and over chunks), ln units, below 0 where the ensemble is better; ``verdict``,
        `AHEAD`, `LEVEL` (the interval holds 0, or the difference is below `LEAST_DIFFERENCE`), `BEHIND`
        or, without an interval, `UNTOLD`; ``narrow``, True where the interval is from too few events or
        sites.
    """
    rows = differences[(differences["statistic"] == "RMSE") & differences["cell"].isin(PLACES)]
    rows = comparison.with_wider_interval(rows)
    conditions = [
        rows["low"].isna(),
        rows["value"].abs() < LEAST_DIFFERENCE,
        rows["high"] < 0,
        rows["low"] > 0,
    ]
    verdict = np.select(conditions, [UNTOLD, LEVEL, AHEAD, BEHIND], LEVEL)
    columns = ["im", "cell", "model", "first", "value", "low", "high", "verdict", "narrow"]
    return rows.assign(verdict=verdict, narrow=bootstrap.is_narrow(rows))[columns].reset_index(drop=True)


def of_measure(
    im: str, differences: pd.DataFrame, score_table: pd.DataFrame, scope: Scope
) -> list[Finding]:
    """Return what was learned about one intensity measure, in words.

    Parameters
    ----------
    im : str
        Intensity measure.
    differences : pandas.DataFrame
        Result of `tfgmm.evaluation.comparison.between_models` for the ensemble.
    score_table : pandas.DataFrame
        Result of `tfgmm.evaluation.scores.score` by intensity measure, cell and model.
    scope : Scope
        What the records of the run cover.

    Returns
    -------
    list of Finding
        One for each of `PLACES` with records, then `NETWORKS`, `SIGMA` and `USE`.
    """
    table = verdicts(differences[differences["im"] == im])
    found = [_of_place(cell, rows) for cell in PLACES if len(rows := table[table["cell"] == cell])]
    sigma = _of_sigma(score_table[score_table["im"] == im])
    return [*found, _of_networks(table), sigma, _of_use(table, scope)]


def _of_place(cell: str, rows: pd.DataFrame) -> Finding:
    """Return how good the ensemble is in one cell, and beside which models.

    Models with a field know what the networks know; without any, the simpler ones are named.
    """
    informed = rows[rows["model"].str.endswith(WITH_FIELD)]
    rivals = "rival"
    if not (informed["model"] != scores.FIELD_ALONE).any():
        rivals = "model" if len(informed) else "simpler model"
        informed = informed if len(informed) else rows
    groups = [
        (verdict, group)
        for verdict in (AHEAD, LEVEL, BEHIND, UNTOLD)
        if len(group := informed[informed["verdict"] == verdict])
    ]
    counts = ", ".join(f"{verdict} {len(group)}" for verdict, group in groups)
    same = "" if rivals == "simpler model" else " with the same information"
    rmse = rows["first"].iloc[0]
    short = (
        f"RMSE {rmse:.3f} (a factor of {np.exp(rmse):.2f}), {counts} of {counted(len(informed), rivals)}"
    )
    text = ". ".join(
        verdict[0].upper() + verdict[1:] + " " + "; ".join(map(_beside, group.to_dict("records")))
        for verdict, group in groups
    )
    mark = f" {NARROW_NOTE}" if informed["narrow"].any() else ""
    return Finding(PLACES[cell], short + same, f"{text}.{mark}")


def _beside(row: dict) -> str:
    """Return a model by name with the difference from it and the interval of the difference.

    A difference is above 0 where the verdict says in which direction; of a level model it is above 0 where
    the ensemble is ahead.
    """
    sign = 1 if row["verdict"] == BEHIND else -1
    name = f"{row['model']} (no network)" if row["model"] == scores.FIELD_ALONE else row["model"]
    value, ends = sign * row["value"] + 0.0, sorted((sign * row["low"], sign * row["high"]))
    if row["verdict"] == UNTOLD:
        return f"{name} ({_signed(value)})"
    mark = NARROW_MARK * row["narrow"]
    if row["verdict"] == LEVEL:
        return f"{name}, {_signed(value)} ({_signed(ends[0])} to {_signed(ends[1])}){mark}"
    return f"{name} by {value:.3f} ({ends[0]:.3f} to {ends[1]:.3f}){mark}"


def _signed(value: float) -> str:
    """Return a difference with its sign and three decimals, 0 without a sign of its own."""
    return f"{value:+.3f}".replace("-0.000", "+0.000")


def _of_networks(table: pd.DataFrame) -> Finding:
    """Return what the networks add to backbone and field, place by place."""
    alone = table[table["model"] == scores.FIELD_ALONE]
    if alone.empty:
        return Finding(NETWORKS, "not told apart", "No twin without networks has records here beside them.")
    short, text = [], []
    for verdict, words in _HELP.items():
        rows = alone[alone["verdict"] == verdict]
        where = " and ".join(f"for {PLACES[cell]}" for cell in rows["cell"])
        if len(rows):
            short.append(f"{words} {where}")
        if len(rows) and verdict == BEHIND:
            text.append(f"The same model without them, {scores.FIELD_ALONE}, has smaller errors {where}.")
    if not alone["verdict"].isin([AHEAD, UNTOLD]).any():
        text.append("These records give no reason for networks: backbone and field suffice here.")
    if len(short) == 1 and set(alone["cell"]) == set(PLACES):
        short = [_EVERYWHERE[alone["verdict"].iloc[0]]]
    return Finding(NETWORKS, "; ".join(short), " ".join(text))


def _of_sigma(score_table: pd.DataFrame) -> Finding:
    """Return where the predicted standard deviation is right, too small or too large."""
    models = set(score_table["model"])
    predicted = scores.ENSEMBLE + CALIBRATED if scores.ENSEMBLE + CALIBRATED in models else scores.ENSEMBLE
    short, text = {}, []
    for cell, place in PLACES.items():
        rows = score_table[(score_table["cell"] == cell) & (score_table["model"] == predicted)]
        if rows.empty:
            continue
        statistics = rows.set_index("statistic")
        word = _word(statistics, scores.judge(statistics)["verdict"])
        short.setdefault(word, []).append(place)
        text.append(f"{place}: {_spread(statistics)}")
    if not short:
        return Finding(SIGMA, "not told: no records", "")
    if len(short) == 1:
        words = f"{next(iter(short))} everywhere"
    else:
        words = "; ".join(f"{word} for {' and '.join(places)}" for word, places in short.items())
    first = "Residuals spread, as a multiple of sigma, and share of records in the 90 % interval: "
    return Finding(SIGMA, words, first + "; ".join(text) + ".")


def _word(statistics: pd.DataFrame, verdict: str) -> str:
    """Return in words if sigma is right, from the verdict on the distribution; `statistics` are by name."""
    if np.isnan(statistics.loc["z std", "low"]):
        return "cannot be told (too few events or sites)"
    words = {
        "over-confident": "too small",
        "under-confident": "too large",
        "not Normal": "wrong in shape",
    }
    return words.get(verdict, "right")


def _spread(statistics: pd.DataFrame) -> str:
    """Return the spread of the standardised residuals and the coverage of the 90 % interval as text."""
    spread, coverage = statistics.loc["z std"], statistics.loc[f"coverage {scores.FLAGGED:.0%}"]
    if np.isnan(spread["low"]):
        return f"{spread['value']:.2f}, {coverage['value']:.0%}"
    return (
        f"{spread['value']:.2f} ({spread['low']:.2f} to {spread['high']:.2f}), "
        f"{coverage['value']:.0%} ({coverage['low']:.0%} to {coverage['high']:.0%})"
    )


def _of_use(table: pd.DataFrame, scope: Scope) -> Finding:
    """Return where the run may be used: simulated or real, ranges and region, and where rather not."""
    harmed = table[(table["model"] == scores.FIELD_ALONE) & (table["verdict"] == BEHIND)]
    if scope.simulated:
        short = "not for real ground motion: the records are simulated"
    else:
        short = f"within the ranges of its records, {scope.region}"
        short += "".join(f"; not for {PLACES[cell]}, where the networks do harm" for cell in harmed["cell"])
    region = f" Region: {scope.region}." if scope.simulated else ""
    return Finding(
        USE,
        short,
        f"The networks learned from {scope.learned_from}.{region} {scope.beyond} "
        f"New events: {scope.new_events}.",
    )
