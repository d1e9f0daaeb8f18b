"""Sections of an evaluation on sigma and residuals: calibration, parts of sigma, trends of residuals.

A section is a table, a figure and a text, see `tfgmm.evaluation.sections.Section`.
"""

import dataclasses
from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfgmm.core import drawing
from tfgmm.evaluation import figures, residuals, scores, variability
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import HELD_OUT, Section, format_intervals, statistics_as_columns
from tfgmm.evaluation.variability import Decomposition
from tfgmm.stats import bootstrap, calibration
from tfgmm.stats.random_effects import read


def residual_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report sections on sigma and residuals of a run; each section is computed on demand.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        Calibration, parts of sigma, random effects, terms and trends, as far as the run has them.
    """
    ims = list(scored.run.experiment.ims)
    if scored.calibrations:
        yield calibrated(scored)
    decompositions = variability.decompositions(scored.models, scored.reference)
    yield decomposition(scored, decompositions)
    if scored.run.experiment.random_effects != "none":
        yield random_effects(scored, decompositions)
        yield floor(scored)
        if (correlation := within_event(scored)) is not None:
            yield correlation
        yield from path_terms(scored)
    for im in ims:
        if (im, scores.ENSEMBLE, HELD_OUT) in decompositions:
            yield _make_terms(scored, decompositions[im, scores.ENSEMBLE, HELD_OUT], im)
    trends = residuals.trends(scored.ensemble, scored.reference)
    yield Section(
        "residual_trends",
        "Residuals against what may explain them: all cells",
        "Binned mean and standard deviation of the partial ensembles' residuals in all four cells, with "
        "90 % intervals that know that events and sites repeat; the numbers are in the CSV file.",
        trends,
    )
    for im in ims:
        yield _make_trends(scored, trends, im)


def calibrated(scored: ScoredRun) -> Section:
    """Return the report section on the calibration of sigma by the residuals of stopping records.

    Stopping records decide when the training ends.

    Parameters
    ----------
    scored : ScoredRun
        A run with calibrations.

    Returns
    -------
    Section
        Factors of the calibration, and the epistemic variance of partial and full ensembles.
    """
    table = pd.DataFrame(
        [{"im": im} | dataclasses.asdict(fitted) for im, fitted in scored.calibrations.items()]
    ).merge(calibration.epistemic_change(scored.ensemble, scored.full), on="im")
    return Section(
        "calibration",
        "Calibration of the predicted standard deviation",
        "sigma^2 = a^2 aleatory + (b (1 - exp(-d / L)))^2 + c epistemic, d the distance to the nearest "
        "trained site; fitted to the stopping cells of all folds, shown beside the raw one in every table. "
        "The last columns are the mean epistemic variance of partial and full ensembles.",
        table,
        table.round(3).astype(str),
    )


def decomposition(scored: ScoredRun, decompositions: dict[tuple[str, str, str], Decomposition]) -> Section:
    """Return the report section on tau, phi_S2S and phi_SS of the residuals of validation events.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.
    decompositions : dict of (str, str, str) to Decomposition
        Result of `tfgmm.evaluation.variability.decompositions`.

    Returns
    -------
    Section
        tau, phi_S2S, phi_SS and sigma (ln units) of each model in each cell; a figure for held-out sites.
    """
    table = variability.tidy(decompositions)
    table = table[~table["model"].str.endswith(calibration.CALIBRATED)]
    held_out = table[table["cell"] == HELD_OUT]

    def draw() -> plt.Figure:
        ims = list(held_out["im"].unique())
        with mpl.rc_context(drawing.STYLE):
            figure, axes = plt.subplots(len(ims), 1, figsize=(6.2, 3.2 * len(ims)), squeeze=False)
            for ax, im in zip(axes.flat, ims, strict=True):
                figures.decomposition(ax, held_out[held_out["im"] == im])
                ax.set_title(f"{im}, {scored.note}")
        return figure

    renamed = table.rename(columns={"part": "statistic", "estimate": "value"})
    return Section(
        "decomposition",
        "Between-event, between-site and remaining variability of the residuals",
        "Crossed mixed-effects fit (tau, phi_S2S, phi_SS) of the out-of-fold residuals of validation "
        "events, with an offset for each fold; 90 % intervals.",
        table,
        statistics_as_columns(renamed, ["im", "cell", "model"], [*variability.PARTS, variability.SIGMA]),
        draw if len(held_out) else None,
    )


def random_effects(scored: ScoredRun, decompositions: dict[tuple[str, str, str], Decomposition]) -> Section:
    """Return the report section on the parts of sigma, as predicted and as estimated from the residuals.

    Parameters
    ----------
    scored : ScoredRun
        A run with random effects.
    decompositions : dict of (str, str, str) to Decomposition
        Result of `tfgmm.evaluation.variability.decompositions`.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.variability.compare_parts` as a table, ln units.
    """
    table = variability.compare_parts(scored.ensemble, variability.tidy(decompositions), scored.reference)
    intervals = format_intervals(table.rename(columns={"estimate": "value"}))
    shown = table[["im", "cell", "part"]].assign(
        predicted=table["predicted"].map("{:.3f}".format),
        residuals=intervals.mask(table["estimate"].isna(), ""),
    )
    return Section(
        "random_effects",
        "Parts of sigma: predicted, and found in the residuals of validation events",
        "Predicted: root mean squares; phi_s2s of a known site is what is unknown of its term. Found: "
        "crossed mixed-effects fit with 90 % intervals, which hold the spread of the members.",
        table,
        shown,
    )


def path_terms(scored: ScoredRun) -> Iterator[Section]:
    """Yield a report section per intensity measure on the covariance of residuals of different events.

    Parameters
    ----------
    scored : ScoredRun
        A run with random effects.

    Yields
    ------
    Section
        Fitted standard deviations (ln units) and ranges (km) of source and path terms, and a figure of the
        covariance by distance.
    """
    effects = read(scored.run.path)
    for im, rows in variability.path_covariance(effects).groupby("im", sort=False):

        def draw(rows=rows) -> plt.Figure:
            with mpl.rc_context(drawing.STYLE):
                figure, ax = plt.subplots(figsize=(4.2, 3.0))
                figures.path_covariance(ax, rows)
                ax.set_title(scored.note)
            return figure

        fitted = dataclasses.asdict(effects[im].paths.covariance)
        shown = {
            name: f"{value:.1f}" if name.endswith("_km") else f"{np.sqrt(value):.3f}"
            for name, value in fitted.items()
        }
        yield Section(
            f"path_terms_{im}",
            f"Source and path terms of {im}: covariance of the residuals of different events",
            "Covariance of the residuals at trained sites after median and site terms. Fitted, as standard "
            "deviations: the part that an event has alone (event), shares with near sources at all sites "
            "(source), at the same station (own), at near stations (path); the part of one event that near "
            "stations share (within) and the remainder (noise); ranges in km. New events are predicted "
            "with the second to fourth.",
            rows,
            pd.DataFrame([{"im": im} | shown]),
            draw,
        )


def within_event(scored: ScoredRun) -> Section | None:
    """Return the report section on within-event correlation, or None if too few events have pairs of sites.

    Parameters
    ----------
    scored : ScoredRun
        A run with random effects.

    Returns
    -------
    Section or None
        Correlation by distance (km) with the fitted curve, as a table and a figure.
    """
    table = variability.within_event_correlation(scored.ensemble)
    if table.empty:
        return None

    def draw() -> plt.Figure:
        with mpl.rc_context(drawing.STYLE):
            figure, ax = plt.subplots(figsize=(4.2, 3.0))
            figures.within_event_correlation(ax, table)
            ax.set_title(scored.note)
        return figure

    fitted = table.drop_duplicates("im")[["im", "share", "range_km"]]
    return Section(
        "within_event",
        "Within-event residuals: correlation with distance",
        "Correlation of the standardised residuals of one event at two trained sites, and a exp(-d / l) "
        "fitted to it: the share a that sites next to each other have in common, and the range l. "
        "A site that did not train is predicted with the residuals of its neighbours, for events that did.",
        table,
        fitted.round({"share": 2, "range_km": 1}).astype(str).rename(columns={"range_km": "range [km]"}),
        draw,
    )


def floor(scored: ScoredRun) -> Section:
    """Return the report section on the RMSE that better interpolation, or only more stations, could reach.

    Parameters
    ----------
    scored : ScoredRun
        A run with random effects.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.variability.floor` as a table.
    """
    table = variability.floor(scored.ensemble, scored.reference)
    named = {
        "known_site": "known site",
        "unknown_site": "unknown site",
        "interpolated": "interpolated at best",
        "floor": "floor",
        "nugget": "nugget",
        "field": "field",
        "range_km": "range [km]",
    }
    digits = {name: 1 if name == "range_km" else 3 for name in named}
    return Section(
        "floor",
        "What is left to gain between stations: RMSE for validation events",
        "Residuals of the map part at trained sites are kriged: a field that neighbouring sites share and "
        "a nugget that each site has alone. Unknown sites could come down to *interpolated at best* by "
        "better interpolation between the stations there are, to the *floor* by more stations, and below "
        "it only by records of their own. Both add the error at known sites to the kriging variance, or to "
        "the nugget.",
        table,
        table[["im", *named]].round(digits).astype(str).rename(columns=named),
    )


def _make_terms(scored: ScoredRun, fit: Decomposition, im: str) -> Section:
    """Return the report section on site and event terms (ln units) of a decomposition, with maps."""
    placed = [
        variability.place_terms(terms, scored.ensemble).assign(kind=kind).reset_index(names="id")
        for kind, terms in (("site", fit.site_terms), ("event", fit.event_terms))
    ]
    return Section(
        f"terms_{im}",
        f"Site and event terms of the residuals of ln {im}, held-out sites and validation events",
        "What the networks did not know of places and earthquakes.",
        pd.concat(placed, ignore_index=True),
        draw=lambda: figures.terms(fit, scored.ensemble, im, _held_out_note(im, scored)),
    )


def _make_trends(scored: ScoredRun, trends: pd.DataFrame, im: str) -> Section:
    """Return the report section on residuals against explanatory variables, for one intensity measure.

    `trends` is the result of `tfgmm.evaluation.residuals.trends`. The section covers the records of
    validation events at held-out sites.
    """
    ensemble = scored.ensemble[scored.ensemble["im"] == im]
    rows = scores.cells(ensemble, scored.reference)[HELD_OUT]
    of_cell = trends[(trends["im"] == im) & (trends["cell"] == HELD_OUT)]
    return Section(
        f"residual_trends_{im}",
        f"Residuals of ln {im} against what may explain them, held-out sites and validation events",
        f"Partial ensembles; {bootstrap.LEVEL:.0%} intervals. Hollow: too few events or sites for one; "
        "grey: the residuals themselves.",
        draw=lambda: figures.trends(rows, of_cell, im, _held_out_note(im, scored)),
    )


def _held_out_note(im: str, scored: ScoredRun) -> str:
    """Return the title of a figure of the records of validation events at held-out sites."""
    return f"{im}, {scored.note}: held-out sites, validation events"
