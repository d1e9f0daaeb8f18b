"""Sections of an evaluation (a question with its table, figure and text), and the sections on scores.

A cell is a combination of site role and event role, see `tfgmm.evaluation.scores`. z is the residual
divided by the predicted standard deviation.
"""

import dataclasses
from collections.abc import Callable, Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfgmm.core import drawing
from tfgmm.data.schemas import VALIDATION
from tfgmm.evaluation import comparison, figures, scores
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.stats import bootstrap, calibration

#: The cell that matters most: validation sites and validation events, on which no network trained.
HELD_OUT = "validation / validation"
#: Bounds between the bins of distance (km) and of magnitude in which scores are given.
DISTANCE_KM, MAGNITUDE = (50, 100, 150, 200), (5, 5.5, 6)
#: Largest uncertainty of the coverage of 90 % intervals, a share of records; above it, the evaluation says
#: how many sites would be necessary.
WANTED_HALF_WIDTH = 0.05
#: Mark behind an interval from few events or sites; `NARROW_NOTE` explains the mark.
NARROW_MARK = "*"
NARROW_NOTE = f"{NARROW_MARK} Too narrow: from fewer than {bootstrap.FEW_CLUSTERS} events or sites."


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of an evaluation: a table, a figure, and an explanation of both.

    Attributes
    ----------
    name : str
        Name of the files without ending: ``tables/NAME.csv``, ``figures/NAME.png``.
    title : str
        Heading of the section.
    text : str
        Explanation of the table and the figure. If an interval in `shown` has the mark `NARROW_MARK`, the
        note `NARROW_NOTE` is appended.
    table : pandas.DataFrame or None
        Table with all numbers, as written to the CSV file.
    shown : pandas.DataFrame or None
        Shorter table with rounded numbers as text, for the terminal and the report.
    draw : callable or None
        Function without arguments that draws and returns the figure.
    """

    name: str
    title: str
    text: str
    table: pd.DataFrame | None = None
    shown: pd.DataFrame | None = None
    draw: Callable[[], plt.Figure] | None = None

    def __post_init__(self) -> None:
        if self.shown is not None and has_narrow(self.shown):
            object.__setattr__(self, "text", f"{self.text} {NARROW_NOTE}")


def format_intervals(table: pd.DataFrame, digits: int = 3) -> pd.Series:
    """Return each row of a table as a text ``value [low, high]``, marked if from few events or sites.

    Parameters
    ----------
    table : pandas.DataFrame
        ``value, low, high``, and optionally ``events`` and ``sites``, the numbers of events and sites. The
        text ends with `NARROW_MARK` if either number is below `tfgmm.stats.bootstrap.FEW_CLUSTERS`. Where
        ``low`` is NaN, the text is the value alone.
    digits : int
        Number of decimals.

    Returns
    -------
    pandas.Series of str, [n_rows]
        Texts, with the index of the table.
    """
    number = f"{{:.{digits}f}}".format
    narrow = {"events", "sites"} <= {*table} and bootstrap.is_narrow(table)
    return table.assign(mark=np.where(narrow, NARROW_MARK, "")).apply(
        lambda row: (
            number(row["value"])
            if np.isnan(row["low"])
            else f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]{row['mark']}"
        ),
        axis=1,
    )


def has_narrow(shown: pd.DataFrame) -> bool:
    """Return True if any text in a table ends with the mark of an interval from few events or sites.

    Parameters
    ----------
    shown : pandas.DataFrame
        Table with texts from `format_intervals`.

    Returns
    -------
    bool
        True if a text ends with ``]`` and `NARROW_MARK`.
    """
    texts = shown.select_dtypes(exclude="number").astype(str)
    return bool(texts.apply(lambda column: column.str.endswith("]" + NARROW_MARK)).any(axis=None))


def statistics_as_columns(table: pd.DataFrame, index: list[str], statistics: list[str]) -> pd.DataFrame:
    """Return a table of scores with one column per statistic, as texts of value and interval.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per group and statistic: ``statistic, value, low, high`` and the columns `index`.
    index : list of str
        Columns that identify a row of the result.
    statistics : list of str
        Names of the statistics that become columns, in this order.

    Returns
    -------
    pandas.DataFrame
        One row per group, in the order of the groups in `table`: the columns `index`, and a column of texts
        (`format_intervals`) for each statistic.
    """
    chosen = table[table["statistic"].isin(statistics)]
    text = chosen.assign(text=format_intervals(chosen))
    order = text[index].drop_duplicates()
    across = text.pivot(index=index, columns="statistic", values="text")[statistics].reset_index()
    return order.merge(across, on=index)


# ---- scores of a run -----------------------------------------------------------------------------


def score_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report sections on scores of a run, the most important first; each is computed on demand.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        Four-way table, residuals, scores, coverage, and differences from baselines and published models.
    """
    ims = list(scored.run.experiment.ims)
    yield four_way(scored)
    for im in ims:
        yield _make_four_cells(scored, im)
        yield full_ensemble(scored, im)
    score_table = scores.score(scored.models, scores.by_cell(scored.reference))
    yield probabilistic_scores(score_table)
    for im in ims:
        yield _make_coverage(scored, score_table, im)
        yield _make_pit(scored, im)
    yield from _make_binned_scores(scored)
    if scored.models["model"].nunique() > 1:
        yield differences(scored)
    if len(scored.published):
        yield published_models(scored)


def four_way(scored: ScoredRun) -> Section:
    """Return the report section on the RMSE at known and unknown sites and events.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.scores.four_way`, beside values of the Kanto study; RMSE in ln units.
    """
    table = scores.four_way(scored.models, scored.reference)
    networks = comparison.networks_of_study(scored.run.experiment)
    beside_study = comparison.side_by_side({"": table}, {"": networks}).drop(columns="run")
    text = (
        "RMSE of ln IM: mean and standard deviation over the chunks' partial ensembles, then pooled over "
        "all chunks. z is the residual over the predicted standard deviation. Four cells hold records of "
        f"network {scored.reference} only, the same for every model, once per chunk. Training sites of "
        "training events are no test: each model has seen these records, and ensemble and field give them "
        "back. Added: stations of the other networks."
    )
    if beside_study["published_rmse"].notna().any():
        text += f" Published: {comparison.SOURCE}; other records, so only the pattern compares."
    return Section("four_way", "Four-way table", text, beside_study, _format_four_way(beside_study))


def _format_four_way(table: pd.DataFrame) -> pd.DataFrame:
    """Return the four-way table as texts: a line per intensity measure and cell, then one per model."""
    lines = []
    several = table["im"].nunique() > 1
    for (im, cell), rows in table.groupby(["im", "cell"], sort=False, observed=True):
        lines += [{"sites / events": f"{im}, {cell}" if several else cell}]
        lines += [_format_model(row) for _, row in rows.iterrows()]
    return pd.DataFrame(lines).fillna("").dropna(axis=1, how="all")


def _format_model(row: pd.Series) -> dict[str, str]:
    """Return one row of the four-way table as texts, by title of column."""
    line = {
        "sites / events": f"  {row['model']}",
        "RMSE (chunks)": _format_spread(row["rmse"], row["rmse_std"]),
        "pooled": f"{row['rmse_pooled']:.3f}",
        "bias": f"{row['bias']:+.3f}",
        "z mean": f"{row['z_mean']:+.2f}",
        "z std": f"{row['z_std']:.2f}",
        "records": f"{row['records']:,}",
    }
    if not np.isnan(row["published_rmse"]):
        line["published"] = _format_spread(row["published_rmse"], row["published_rmse_std"])
    return line


def _format_spread(value: float, spread: float) -> str:
    """Return ``value ± spread`` as text, or the value alone if the spread is NaN."""
    return f"{value:.3f}" if np.isnan(spread) else f"{value:.3f} ± {spread:.3f}"


def _make_four_cells(scored: ScoredRun, im: str) -> Section:
    """Return the report section, a figure, on standardised residuals in the four cells.

    A cell is a combination of site role and event role.
    """
    rows = scored.ensemble[scored.ensemble["im"] == im]
    return Section(
        f"standardised_residuals_{im}",
        f"Standardised residuals of ln {im} in the four cells",
        "Partial ensembles, each predicting sites that it never saw (published Figures 6 and 7).",
        draw=lambda: figures.four_cells(rows, scored.reference, f"{im}, {scored.note}"),
    )


def full_ensemble(scored: ScoredRun, im: str) -> Section:
    """Return the report section on all members combined: scores for validation events, and a figure.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.
    im : str
        Intensity measure.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.scores.score` for validation events, by network of the stations, and a
        figure of standardised residuals.
    """
    full, partial = (table[table["im"] == im] for table in (scored.full, scored.ensemble))
    z = (full["ln_im"] - full["mean"]) / full["stddev"]
    validates = full["event_id"].isin(partial.loc[partial["event_role"] == VALIDATION, "event_id"])
    groups = {"im": scores.by_value("im"), "network": scores.by_value("network")}
    table = scores.score(full[validates], groups)
    statistics = ["RMSE", "bias", "z std", "NLL", "CRPS", "coverage 90%"]
    return Section(
        f"full_ensemble_{im}",
        f"Standardised residuals of ln {im}: full ensemble and out of fold",
        "Table: validation events, which no member saw, at stations that all chunks but one may have seen, "
        "with 90 % intervals; sigma holds what differs between the chunks. "
        f"Figure: the full ensemble (published Figure 5; standard deviation here {z.std():.2f}, published "
        f"{comparison.FULL_ENSEMBLE_Z_STD:.2f} for PGA in the Kanto basin) mixes networks that trained on "
        "a record with networks that did not. The distribution out of fold is the honest one.",
        table,
        statistics_as_columns(table, ["im", "network"], statistics),
        draw=lambda: figures.standardised(full, partial, scored.reference, f"{im}, {scored.note}"),
    )


def probabilistic_scores(score_table: pd.DataFrame) -> Section:
    """Return the report section on NLL, CRPS, coverage and other scores, and on over-confident models.

    Parameters
    ----------
    score_table : pandas.DataFrame
        Result of `tfgmm.evaluation.scores.score`, grouped by intensity measure, cell and model.

    Returns
    -------
    Section
        Scores with intervals per cell and model; the text names over-confident models.
    """
    verdicts = scores.confidence(score_table)
    sentences = [
        f"{row['model']}, {row['cell']} ({row['im']}): {row['verdict']}; {row['why']}."
        for row in verdicts[verdicts["model"].str.startswith(scores.ENSEMBLE)].to_dict("records")
    ]
    sentences += _count_sites_needed(score_table)
    text = (
        "Each with its 90 % interval by a two-way bootstrap over events and sites. "
        "NLL, CRPS: the smaller the better; coverage of the central 90 % interval should be 0.9, the "
        "standard deviation of z 1. "
        + (" ".join(sentences) or "No cell of the ensemble is over-confident.")
    )
    statistics = ["RMSE", "bias", "z std", "NLL", "CRPS", "coverage 90%"]
    shown = statistics_as_columns(score_table, ["im", "cell", "model"], statistics)
    return Section("scores", "Scores of the predicted distributions", text, score_table, shown)


def _count_sites_needed(score_table: pd.DataFrame) -> list[str]:
    """Return a sentence for each cell that has too few sites to determine the coverage of the ensemble.

    The sentence says how many sites would narrow the interval to `WANTED_HALF_WIDTH` on either side.
    """
    rows = score_table[
        score_table["model"].str.startswith(scores.ENSEMBLE)
        & score_table["cell"].isin(["training / validation", HELD_OUT])
        & (score_table["statistic"] == "coverage 90%")
    ]
    half = rows["high"].sub(rows["value"]).combine(rows["value"].sub(rows["low"]), max)
    needed = np.ceil(rows["sites"] * (half / WANTED_HALF_WIDTH) ** 2)
    return [
        f"{row.model}, {row.cell} ({row.im}): the 90 % coverage is known to {width:.1%} with {row.sites} "
        f"sites; to {WANTED_HALF_WIDTH:.0%} it would take about {count:.0f} if their terms are the reason."
        for row, width, count in zip(rows.itertuples(), half, needed, strict=True)
        if width > WANTED_HALF_WIDTH
    ]


def _make_coverage(scored: ScoredRun, score_table: pd.DataFrame, im: str) -> Section:
    """Return the report section, a figure, on the coverage of central prediction intervals of ln IM."""
    rows = score_table[(score_table["im"] == im) & (score_table["cell"] == HELD_OUT)]

    def draw() -> plt.Figure:
        with mpl.rc_context(drawing.STYLE):
            figure, ax = plt.subplots(figsize=(6.4, 3.8))
            figures.coverage(ax, rows)
            figure.suptitle(f"{im}, {scored.note}", fontsize=10)
        return figure

    return Section(
        f"coverage_{im}",
        f"Coverage of central intervals of ln {im}, held-out sites and validation events",
        "On the dashed line a model says how sure it may be; below it, it is over-confident.",
        draw=draw,
    )


def _make_pit(scored: ScoredRun, im: str) -> Section:
    """Return the report section on the probability integral transform of ln IM at held-out sites."""
    ensembles = scored.models[
        scored.models["model"].str.startswith(scores.ENSEMBLE) & (scored.models["im"] == im)
    ]
    rows = scores.cells(ensembles, scored.reference)[HELD_OUT]
    histograms = {
        model: scores.pit_histogram(records) for model, records in rows.groupby("model", sort=False)
    }
    table = pd.concat([bins.assign(im=im, model=model) for model, bins in histograms.items()])

    def draw() -> plt.Figure:
        with mpl.rc_context(drawing.STYLE):
            figure, axes = plt.subplots(1, len(histograms), figsize=(7.2, 2.8), sharey=True, squeeze=False)
            for ax, (model, bins) in zip(axes.flat, histograms.items(), strict=True):
                figures.pit_histogram(ax, bins)
                ax.set_title(model)
                ax.label_outer()
            figures.legend_beside(axes.flat[-1])
            figure.suptitle(f"{im}, {scored.note}", fontsize=10)
        return figure

    return Section(
        f"pit_{im}",
        f"Probability integral transform of ln {im}, held-out sites and validation events",
        "Flat if calibrated; high at both ends if over-confident. The band holds all bins at once with "
        "90 % probability.",
        table,
        draw=draw,
    )


def _make_binned_scores(scored: ScoredRun) -> Iterator[Section]:
    """Yield two report sections, on scores in bins of hypocentral distance and in bins of magnitude."""
    ensemble = scored.models[scored.models["model"].str.startswith(scores.ENSEMBLE)]
    for name, column, cuts in (
        ("distance", "r_hyp_km", DISTANCE_KM),
        ("magnitude", "magnitude", MAGNITUDE),
    ):
        groups = scores.by_cell(scored.reference, **{column: scores.by_bin(column, cuts)})
        score_table = scores.score(ensemble, groups)
        held_out = score_table[score_table["cell"] == HELD_OUT]
        statistics = ["RMSE", "bias", "z std", "CRPS", "coverage 90%"]
        yield Section(
            f"scores_by_{name}",
            f"Scores by {name}, held-out sites and validation events",
            "The other cells are in the CSV file.",
            score_table,
            statistics_as_columns(held_out, ["im", column, "model"], statistics),
        )


def differences(scored: ScoredRun) -> Section:
    """Return the report section on the scores of the ensemble minus the scores of each other model.

    Parameters
    ----------
    scored : ScoredRun
        A run with models besides the ensemble.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.comparison.between_models`; calibrated ensembles are left out.
    """
    models = scored.models[~scored.models["model"].str.endswith(calibration.CALIBRATED)]
    models = models[models["network"] == scored.reference]
    table = comparison.between_models(models, scores.ENSEMBLE, scores.by_cell(scored.reference))
    return Section(
        "differences",
        f"{scores.ENSEMBLE} minus each baseline, on the same records",
        "Negative: the ensemble is better. 90 % intervals by the two-way bootstrap, paired; intervals that "
        "resample the sites of a chunk together are in the CSV file.",
        table,
        statistics_as_columns(table, ["im", "cell", "model"], ["RMSE", "CRPS", "NLL"]),
    )


def published_models(scored: ScoredRun) -> Section:
    """Return the report section on published ergodic models, as published and re-centred.

    Parameters
    ----------
    scored : ScoredRun
        A run with published models.

    Returns
    -------
    Section
        RMSE and bias (ln units), and standard deviation of z, per cell and model.
    """
    columns = ["im", "cell", "model", "rmse_pooled", "bias", "z_std"]
    table = scores.four_way(scored.published, scored.reference)
    table = table[table["cell"].isin([f"{site} / {event}" for site, event in scores.CELLS])]
    formats = {"rmse_pooled": "{:.3f}", "bias": "{:+.3f}", "z_std": "{:.2f}"}
    shown = table[columns].assign(**{name: table[name].map(form.format) for name, form in formats.items()})
    worst = "; ".join(
        f"{row['model']} ({row['im']}) {row['outside_range']:.0%}"
        for row in scored.ranges.to_dict("records")
    )
    return Section(
        "published_models",
        "Published ergodic models on the same records",
        "As published, and with a constant fitted to each fold's training records. Rupture distance is "
        f"taken as hypocentral. Records outside a model's stated range: {worst}.",
        table,
        shown,
    )
