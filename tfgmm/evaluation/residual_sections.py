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


def residual_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report sections on sigma and residuals of a run; each section is computed on demand.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        Calibration, parts of sigma, the field, terms and trends, as far as the run has them.
    """
    ims = list(scored.run.experiment.ims)
    if scored.calibrations:
        yield calibrated(scored)
    decompositions = variability.decompositions(scored.models, scored.reference)
    yield decomposition(scored, decompositions)
    if scored.run.experiment.field:
        yield sigma_parts(scored, decompositions)
        yield floor(scored)
        for im in ims:
            yield field(scored, im)
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
            figure, axes = plt.subplots(len(ims), 1, figsize=(7.6, 3.2 * len(ims)), squeeze=False)
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


def sigma_parts(scored: ScoredRun, decompositions: dict[tuple[str, str, str], Decomposition]) -> Section:
    """Return the report section on the parts of sigma, as predicted and as found in the residuals.

    Parameters
    ----------
    scored : ScoredRun
        A run with the field.
    decompositions : dict of (str, str, str) to Decomposition
        Result of `tfgmm.evaluation.variability.decompositions`.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.variability.compare_parts` as a table, ln units.
    """
    of_ensemble, reference = scored.ensemble, scored.reference
    shared = variability.shared_in_events(of_ensemble, scored.run.field, reference)
    table = variability.compare_parts(of_ensemble, shared, variability.tidy(decompositions), reference)
    texts = {}
    for name, columns in (
        ("predicted", ["predicted", "predicted_low", "predicted_high"]),
        ("found", ["estimate", "low", "high"]),
    ):
        values = table[columns].set_axis(["value", "low", "high"], axis=1)
        intervals = format_intervals(values.join(table[["events", "sites"]]))
        texts[name] = intervals.mask(values["value"].isna(), "")
    texts["expected"] = table["expected"].map("{:.3f}".format).mask(table["expected"].isna(), "")
    return Section(
        "sigma_parts",
        "Parts of sigma: predicted, and found in the residuals of validation events",
        "Predicted: root mean squares; phi_s2s and phi_p2p (path and source terms) are what the training "
        "records do not tell of the terms. Found: crossed mixed-effects fit to the residuals, which counts "
        "as tau all that the records of an event share (source terms, and path and within-event terms of a "
        "long range), and in phi_ss what is left of them; its parts hold the spread of the members. "
        "Expected: what this fit would find if the predictions were right. 90 % intervals.",
        table,
        table[["im", "cell", "part"]].join(pd.DataFrame(texts)[["predicted", "expected", "found"]]),
    )


def floor(scored: ScoredRun) -> Section:
    """Return the report section on the RMSE that more stations could reach at places without records.

    Parameters
    ----------
    scored : ScoredRun
        A run with the field.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.variability.floor` as a table.
    """
    table = variability.floor(scored.ensemble, scored.covariances, scored.reference)
    named = {
        "known_site": "known site",
        "unknown_site": "unknown site",
        "floor": "floor",
        "site_own": "own",
        "site_shared": "shared",
        "site_km": "range [km]",
    }
    digits = {name: 1 if name == "site_km" else 3 for name in named}
    return Section(
        "floor",
        "What is left to gain between stations: RMSE for validation events",
        "The site term has a part that near sites share and a part that each site has alone (standard "
        "deviations and range of the field). More stations could bring unknown sites down to the *floor*; "
        "below it only records of their own.",
        table,
        table[["im", *named]].round(digits).astype(str).rename(columns=named),
    )


def field(scored: ScoredRun, im: str) -> Section:
    """Return the report section on the covariance of the field of one intensity measure.

    Parameters
    ----------
    scored : ScoredRun
        A run with the field.
    im : str
        Intensity measure.

    Returns
    -------
    Section
        Result of `tfgmm.evaluation.variability.field_parts` as a table, and a figure of the covariance by
        distance.
    """
    of_all = scored.run.field(im)
    of_chunks = [covariance for (name, _), covariance in scored.covariances.items() if name == im]
    table = variability.field_parts(of_all.covariance, of_chunks)
    classes = variability.field_classes(of_all)
    digits = np.where(table["unit"] == "km", 1, 3)
    shown = table.assign(
        **{
            name: [f"{value:.{count}f}" for value, count in zip(table[name], digits, strict=True)]
            for name in ("all_records", "mean", "lowest", "highest")
        }
    )

    def draw() -> plt.Figure:
        with mpl.rc_context(drawing.STYLE):
            figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.0))
            figures.covariance_within_events(axes[0], classes)
            axes[0].set_title("(a) One event", loc="left")
            figures.covariance_between_events(axes[1], classes)
            axes[1].set_title("(b) Different events", loc="left")
            figure.suptitle(f"{im}, {scored.note}", fontsize=10)
        return figure

    return Section(
        f"field_{im}",
        f"Field of {im}: standard deviations and ranges of its parts",
        "Fitted to the covariance of the residuals from the backbone by distance of hypocentres and of "
        "stations: of all records, on which predictions are based, and of the training records of each "
        "chunk. event: tau; site_own and site_shared: phi_S2S; source: shared by near hypocentres at all "
        "sites; path_own and path_shared: phi_P2P, at one site and at near ones; within: shared by near "
        "stations in one event; noise: a single record alone. Figure: points are means over the pairs of "
        "all records, lines the fit.",
        table,
        shown,
        draw,
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
