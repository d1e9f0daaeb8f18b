"""Section of an evaluation on records outside the training range: bias and scatter beyond the data.

A fold is a station chunk of the run, held out from training. A validation record is beyond the data in a
fold if its magnitude or its hypocentral distance lies outside the range of the training records of the
fold. A residual is the observed minus the predicted ln IM.
"""

import functools
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfgmm.core import drawing
from tfgmm.data.schemas import TRAINING, VALIDATION, training_records
from tfgmm.evaluation import baselines, figures, scores
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import Section, format_intervals
from tfgmm.stats import bootstrap, calibration

NAME, TITLE = "beyond_data", "Beyond the data"
#: Bounds between the classes of the magnitudes above the training range, and of distances (km).
MAGNITUDE, DISTANCE_KM = (4, 4.5, 5, 5.5, 6, 6.5, 7), (50, 120)
#: Classes of magnitude that are not above the training range.
BELOW, INSIDE = "below training", "inside training"
#: Classes of distance: outside the training range, where the magnitude is inside; and all of them.
NEARER, FARTHER, ALL = "nearer than training", "farther than training", "all"
#: Cell (site role / event role) of all sites, whatever their role in a fold.
ALL_SITES = f"all / {VALIDATION}"

#: Statistics of the residuals by name, as functions of the means of residuals and of their squares.
STATISTICS: dict[str, bootstrap.Statistic] = {
    "bias": lambda mean: mean["residual"],
    "scatter": lambda mean: (mean["residual^2"] - mean["residual"] ** 2).clip(lower=0) ** 0.5,
    "RMSE": lambda mean: mean["residual^2"] ** 0.5,
}
_RANGE = ["lowest_magnitude", "highest_magnitude", "nearest_km", "farthest_km"]


def training_ranges(scored: pd.DataFrame) -> pd.DataFrame:
    """Return the ranges of magnitude and distance of the training records of each fold.

    Parameters
    ----------
    scored : pandas.DataFrame
        Scored table of one model for the records of all networks, see `tfgmm.evaluation.scores`.

    Returns
    -------
    pandas.DataFrame
        One row per intensity measure and fold: ``im, chunk``; ``lowest_magnitude, highest_magnitude``;
        ``nearest_km, farthest_km``, hypocentral distances. Folds without training records are left out.
    """
    folds = training_records(scored).groupby(["im", "chunk"], observed=True)
    magnitude, distance = folds["magnitude"], folds["r_hyp_km"]
    limits = [magnitude.min(), magnitude.max(), distance.min(), distance.max()]
    return pd.concat(limits, axis=1, keys=_RANGE).reset_index()


def select(scored: pd.DataFrame, ranges: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the records of validation events that lie outside the training range of their fold.

    Parameters
    ----------
    scored : pandas.DataFrame
        Scored table of any models, see `tfgmm.evaluation.scores`.
    ranges : pandas.DataFrame
        Result of `training_ranges`.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    pandas.DataFrame
        Rows of `scored` with the columns of `ranges` and ``residual``, ln units.
    """
    validates = (scored["network"] == reference) & (scored["event_role"] == VALIDATION)
    rows = scored[validates].merge(ranges, on=["im", "chunk"])
    rows = rows.assign(residual=rows["ln_im"] - rows["mean"])
    inside_distance = rows["r_hyp_km"].between(rows["nearest_km"], rows["farthest_km"])
    return rows[~(_is_inside_magnitude(rows) & inside_distance)]


def _is_inside_magnitude(rows: pd.DataFrame) -> pd.Series:
    """Return True for rows of `select` whose magnitude lies in the training range of the fold."""
    return rows["magnitude"].between(rows["lowest_magnitude"], rows["highest_magnitude"])


def _by_cell(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of all sites, of training sites and of held-out sites, by cell; no empty groups."""
    of_role = {f"{site} / {VALIDATION}": rows[rows["site_role"] == site] for site in (TRAINING, VALIDATION)}
    return _without_empty({ALL_SITES: rows} | of_role)


def _by_magnitude(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows in classes of magnitude above the training range, below it and inside it."""
    above = rows[rows["magnitude"] > rows["highest_magnitude"]]
    below = rows[rows["magnitude"] < rows["lowest_magnitude"]]
    inside = rows[_is_inside_magnitude(rows)]
    return scores.by_bin("magnitude", MAGNITUDE)(above) | _without_empty({BELOW: below, INSIDE: inside})


def _by_distance(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows in classes of distance, and all rows; `rows` are of one class of magnitude.

    Inside the training range of magnitude, the classes are nearer and farther than the training records.
    """
    if _is_inside_magnitude(rows).all():
        nearer = rows["r_hyp_km"] < rows["nearest_km"]
        classes = _without_empty({NEARER: rows[nearer], FARTHER: rows[~nearer]})
    else:
        classes = scores.by_bin("r_hyp_km", DISTANCE_KM)(rows)
    return classes | {ALL: rows}


def _without_empty(classes: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the groups that have rows."""
    return {name: rows for name, rows in classes.items() if len(rows)}


#: Groupings of the result of `select`, by name of column, see `tfgmm.evaluation.scores.groups`.
_GROUPINGS: dict[str, scores.Grouping] = {
    "im": scores.by_value("im"),
    "cell": _by_cell,
    "magnitude": _by_magnitude,
    "r_hyp_km": _by_distance,
    "model": scores.by_value("model"),
}


def score(rows: pd.DataFrame, **bootstrapped) -> pd.DataFrame:
    """Return bias, scatter and RMSE by cell, class of magnitude, class of distance and model.

    Every record counts once: its residual is the mean over the folds in which it belongs to the group. For
    the ensemble at all sites this is the residual of the mean of all members.

    Parameters
    ----------
    rows : pandas.DataFrame
        Result of `select`.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.intervals`.

    Returns
    -------
    pandas.DataFrame
        One row per group and statistic: ``im``; ``cell`` (site role / event role); ``magnitude`` and
        ``r_hyp_km``, names of classes; ``model``; ``statistic, value, low, high`` in ln units; ``n, events,
        sites``, numbers of records, events and sites.

    Raises
    ------
    DataError
        A residual is not finite.
    """
    parts = []
    for names, of_group in scores.groups(rows, _GROUPINGS):
        of_record = of_group.groupby(["event_id", "station_id"], sort=False, observed=True)
        records = of_record.agg({"site_id": "first", "residual": "mean"}).reset_index()
        values = records[["residual"]].assign(**{"residual^2": records["residual"] ** 2})
        clusters = records["event_id"], records["site_id"]
        scored = bootstrap.intervals(values, *clusters, STATISTICS, **bootstrapped)
        parts.append(scored.rename_axis("statistic").reset_index().assign(**names))
    table = pd.concat(parts, ignore_index=True)
    return table[[*_GROUPINGS, *table.columns.difference(list(_GROUPINGS), sort=False)]]


def gather_models(scored: ScoredRun) -> pd.DataFrame:
    """Return the predictions of all models that are compared beyond the data.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Returns
    -------
    pandas.DataFrame
        Scored table of the ensemble and the fitted baselines; of published models, as they are and
        re-centred by a constant and a slope with ln R (`tfgmm.evaluation.baselines.recentre_by_distance`).
        A calibrated ensemble, which has the same mean, is left out.
    """
    fitted = scored.models[~scored.models["model"].str.endswith(calibration.CALIBRATED)]
    if scored.published.empty:
        return fitted
    as_published = scored.published[~scored.published["model"].str.endswith(baselines.RECENTRED)]
    located = scored.run.with_places(as_published)
    return pd.concat([fitted, as_published, baselines.recentre_by_distance(located)], ignore_index=True)


def beyond_data_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report sections on records outside the training range; one sentence if there is none.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        Bias, scatter and RMSE of all models as a table, then a figure for each intensity measure with
        magnitudes outside the training range.
    """
    ranges = training_ranges(scored.ensemble)
    said = (
        f"magnitude {ranges['lowest_magnitude'].min().round(2):g} to "
        f"{ranges['highest_magnitude'].max().round(2):g}, "
        f"distance {ranges['nearest_km'].min():.0f} to {ranges['farthest_km'].max():.0f} km"
    )
    if select(scored.ensemble, ranges, scored.reference).empty:
        text = f"No validation record lies outside the range of the training records ({said})."
        yield Section(NAME, TITLE, text)
        return
    table = score(select(gather_models(scored), ranges, scored.reference))
    yield Section(
        NAME,
        TITLE,
        f"Records of validation events outside the range of their fold's training records ({said}, all "
        "folds together): bias (mean of observed minus predicted ln IM, with its 90 % interval by a "
        "two-way bootstrap over events and sites), bias by distance, scatter about the bias, and RMSE. "
        "Predicted is the mean of all members, none of which trained on these events, at all sites of "
        f"network {scored.reference}; other models are averaged over the folds too. The CSV file has all "
        "intervals, and training sites and held-out sites apart. Published models: as they are, and with a "
        "constant and a slope with ln R fitted to each fold's training records.",
        table,
        _format(table),
    )
    for im in scored.run.experiment.ims:
        drawn = _select_drawn(table, im)
        if len(drawn):
            yield Section(
                f"{NAME}_{im}",
                f"{TITLE}: bias of ln {im} for magnitudes that no network trained on",
                f"All sites; {bootstrap.LEVEL:.0%} intervals. Hollow: too few events or sites for one. The "
                "ensemble stands in every row.",
                draw=functools.partial(draw, drawn, f"{im}, {scored.note}"),
            )


def _format(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all sites as texts: a line per class of magnitude, then one line per model."""
    rows = table[table["cell"] == ALL_SITES]
    several = rows["im"].nunique() > 1
    lines = []
    for (im, magnitude), of_class in rows.groupby(["im", "magnitude"], sort=False):
        counts = of_class[of_class["r_hyp_km"] == ALL].iloc[0]
        heading = f"{magnitude}, {counts['events']} event{'s' * int(counts['events'] > 1)}"
        lines.append({"magnitude": f"{im}, {heading}" if several else heading})
        for model, of_model in of_class.groupby("model", sort=False):
            whole = of_model[of_model["r_hyp_km"] == ALL].set_index("statistic")
            bias = of_model[of_model["statistic"] == "bias"].set_index("r_hyp_km")["value"].drop(ALL)
            line = {"magnitude": f"  {model}", "bias": format_intervals(whole, digits=2)["bias"]}
            line |= {_shorten(name): f"{value:+.2f}" for name, value in bias.items()}
            lines.append(line | {name: f"{whole.loc[name, 'value']:.2f}" for name in ("scatter", "RMSE")})
    by_distance = [_shorten(name) for name in _distance_classes(rows) if name != ALL]
    return pd.DataFrame(lines, columns=["magnitude", "bias", *by_distance, "scatter", "RMSE"]).fillna("")


def _distance_classes(rows: pd.DataFrame) -> list[str]:
    """Return the classes of distance in `rows`, from near to far, then those outside the training range."""
    empty = pd.DataFrame({"r_hyp_km": [0.0, *DISTANCE_KM]})
    order = [*scores.by_bin("r_hyp_km", DISTANCE_KM)(empty), NEARER, FARTHER, ALL]
    return [name for name in order if (rows["r_hyp_km"] == name).any()]


def _shorten(distance: str) -> str:
    """Return the name of a class of distance in short form, with its unit.

    >>> [_shorten(name) for name in ("below 50", "50 to 120", "120 and above", "nearer than training")]
    ['< 50 km', '50–120 km', '≥ 120 km', 'nearer']
    """
    if distance in (NEARER, FARTHER):
        return distance.removesuffix(" than training")
    if distance.endswith(" and above"):
        distance = "≥ " + distance.removesuffix(" and above")
    return distance.replace("below ", "< ").replace(" to ", "–") + " km"


# ---- figure --------------------------------------------------------------------------------------


def _select_drawn(table: pd.DataFrame, im: str) -> pd.DataFrame:
    """Return the biases at all sites for magnitudes outside the training range."""
    kind = (table["im"] == im) & (table["cell"] == ALL_SITES) & (table["statistic"] == "bias")
    return table[kind & (table["magnitude"] != INSIDE)]


def _families(models: list[str]) -> dict[str, list[str]]:
    """Return the models besides the ensemble by family: fitted, published, and published and re-centred."""
    recentred = [name for name in models if name.endswith(baselines.RECENTRED_BY_DISTANCE)]
    published = [name.removesuffix(baselines.RECENTRED_BY_DISTANCE) for name in recentred]
    families = {
        "Fitted models": [m for m in models if m not in (*recentred, *published, scores.ENSEMBLE)],
        "Published models": published,
        "Published" + baselines.RECENTRED_BY_DISTANCE: recentred,
    }
    return {name: members for name, members in families.items() if members}


def draw(table: pd.DataFrame, note: str = "") -> plt.Figure:
    """Draw the bias of each model against distance, with intervals, by class of magnitude.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of `score` for one intensity measure, one cell and the statistic ``bias``, ln units.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        A column of panels per class of magnitude, and a row per family of models: fitted, published, and
        published and re-centred. The ensemble is in every panel.
    """
    magnitudes = list(table["magnitude"].unique())
    distances = [name for name in _distance_classes(table) if name != ALL]
    families = _families(list(table["model"].unique()))
    size = (2.1 * len(magnitudes) + 2.4, 2.1 * len(families) + 0.5)
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(
            len(families), len(magnitudes), figsize=size, sharex=True, sharey="row", squeeze=False
        )
        for of_row, (family, members) in zip(axes, families.items(), strict=True):
            for ax, magnitude in zip(of_row, magnitudes, strict=True):
                rows = table[table["magnitude"] == magnitude]
                _draw_panel(ax, rows, [scores.ENSEMBLE, *members], distances)
            of_row[0].set_ylabel("Bias (ln units)")
            of_row[-1].legend(
                *_legend_entries(of_row[-1]), title=family, loc="center left", bbox_to_anchor=(1.02, 0.5),
                frameon=False, fontsize=7, title_fontsize=8, alignment="left",
            )  # fmt: skip
        for ax, magnitude in zip(axes[0], magnitudes, strict=True):
            events = int(table.loc[table["magnitude"] == magnitude, "events"].max())
            ax.set_title(f"M {magnitude} ({events} event{'s' * (events > 1)})")
        figure.supxlabel("Hypocentral distance (km)", fontsize=9)
        figure.suptitle(note, fontsize=10)
    return figure


def _draw_panel(ax: plt.Axes, rows: pd.DataFrame, models: list[str], distances: list[str]) -> None:
    """Draw the bias of each model in each class of distance, models side by side in a class."""
    offsets = np.linspace(-0.3, 0.3, len(models))
    for number, (model, offset) in enumerate(zip(models, offsets, strict=True)):
        of_model = rows[rows["model"] == model].set_index("r_hyp_km").reindex(distances)
        place, value = np.arange(len(distances)) + offset, of_model["value"].to_numpy()
        sides = np.abs(of_model[["low", "high"]].to_numpy().T - value)
        is_ensemble = model == scores.ENSEMBLE
        colour = "black" if is_ensemble else figures.COLOURS[(number - 1) % len(figures.COLOURS)]
        marker = "o" if is_ensemble else "s^vD<>p"[(number - 1) % 7]
        known = np.isfinite(sides).all(axis=0)
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none"}
        style |= {"markersize": 4.5 if is_ensemble else 3.5, "markeredgewidth": 0.8}
        ax.plot(place, value, color=colour, linewidth=1.2 if is_ensemble else 0.6, alpha=0.6)
        ax.errorbar(place[known], value[known], sides[:, known], elinewidth=0.8, capsize=1.5, **style)
        ax.plot(place[~known], value[~known], markerfacecolor="white", **style)
        ax.plot([], [], label=model, **style)
    ax.axhline(0, color="0.5", linewidth=0.6, zorder=0)
    ax.set_xticks(range(len(distances)), [_shorten(name).removesuffix(" km") for name in distances])
    ax.set_xlim(-0.5, len(distances) - 0.5)
    ax.label_outer()


def _legend_entries(ax: plt.Axes) -> tuple[list, list[str]]:
    """Return the handles and labels of a legend, without what the title of the legend says."""
    handles, labels = ax.get_legend_handles_labels()
    return handles, [label.removesuffix(baselines.RECENTRED_BY_DISTANCE) for label in labels]
