"""Sections on several intensity measures: correlation of their residuals, smoothness of their spectra."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.image import AxesImage
from matplotlib.ticker import StrMethodFormatter

from tfgmm.core import drawing, imt
from tfgmm.core.errors import DataError
from tfgmm.data.schemas import VALIDATION
from tfgmm.evaluation import figures, scores
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import HELD_OUT, Section, format_intervals
from tfgmm.runs.run import IM_CORRELATION
from tfgmm.stats import bootstrap, im_correlation
from tfgmm.stats.im_correlation import PARTS, ImCorrelation

#: Parts of the residuals that the figure of correlations shows.
DRAWN_PARTS = ("total", "between_event", "within_event")
#: Smallest number of spectral periods of which smoothness is told.
FEWEST_PERIODS = 4
#: Width of the running mean of the records' spectra, in log10 of the period.
WIDTH = 0.1
#: Name of the row of `smoothness` on all periods together.
ALL_PERIODS = "all"


def spectra_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report sections on several intensity measures; nothing for a run of one.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        Correlation between the measures; smoothness of the spectra, for a run with a backbone and at least
        `FEWEST_PERIODS` spectral periods.
    """
    ims = sorted(scored.run.experiment.ims, key=imt.order)
    if len(ims) > 1:
        yield correlation(scored)
    spectral = [im for im in ims if im.startswith("SA")]
    if len(spectral) >= FEWEST_PERIODS and scored.run.experiment.backbone != "none":
        table = smoothness(scored.ensemble, spectral, scored.reference)
        if len(table):
            yield _make_smoothness(scored, table)


# ---- correlation between intensity measures ------------------------------------------------------


def correlation(scored: ScoredRun) -> Section:
    """Return the report section on the correlation between intensity measures.

    Parameters
    ----------
    scored : ScoredRun
        A run with at least two intensity measures.

    Returns
    -------
    Section
        Result of `cross_fitted` as a table with the hash of the data, and heat maps; a text alone where the
        records are too few.
    """
    title = "Correlation between intensity measures, held-out sites and validation events"
    try:
        fitted = cross_fitted(scored.ensemble, scored.reference)
    except DataError as error:
        return Section(IM_CORRELATION, title, f"Not estimated. {error}.")
    table = fitted.table().assign(data_hash=scored.run.data["digest"])
    return Section(
        IM_CORRELATION,
        title,
        "Residuals of the partial ensembles, of records whose event and site no member of the chunk has "
        "seen, split by moments into between-event, site and single-station parts; within-event is the sum "
        f"of the last two. Table: correlation with {fitted.ims[0]}; the CSV file has all pairs, and the "
        f"standard deviations. From {_range(fitted.records)} records of {_range(fitted.events)} events at "
        f"{_range(fitted.sites)} sites a pair. Published: Baker & Jayaram (2008), total residuals, without "
        f"PGV. {_differences(fitted)}",
        table,
        _format_correlation(fitted),
        lambda: draw_correlation(fitted, scored.note),
    )


def cross_fitted(ensemble: pd.DataFrame, reference: str) -> ImCorrelation:
    """Estimate the correlation between intensity measures from the cross-fitted residuals of ensembles.

    Parameters
    ----------
    ensemble : pandas.DataFrame
        Scored table (see `tfgmm.evaluation.scores`) of the partial ensembles. Its records of validation
        events at held-out sites count: each stands there once, predicted by members that have seen neither
        its event nor its site, so that no part of its residual has been fitted.
    reference : str
        Name of the reference network, whose records are scored.

    Returns
    -------
    ImCorrelation
        Correlations; measures in the order of `tfgmm.core.imt.order`.

    Raises
    ------
    DataError
        There are too few records, see `tfgmm.stats.im_correlation.estimate`.
    """
    rows = scores.cells(ensemble, reference)[HELD_OUT]
    ims = sorted(ensemble["im"].unique(), key=imt.order)
    residuals = _spectra(rows.assign(residual=rows["ln_im"] - rows["mean"]), "residual").reindex(
        columns=ims
    )
    places = residuals.index.to_frame()
    return im_correlation.estimate(residuals.to_numpy().T, ims, places["event_id"], places["site_id"])


def _spectra(rows: pd.DataFrame, values: str) -> pd.DataFrame:
    """Return a column of a scored table with a row per record and chunk, and a column per measure."""
    index = ["chunk", "event_id", "station_id", "site_id"]
    texts = {name: rows[name].astype(object) for name in ("im", *index[1:])}  # categories make all pairs
    return rows.assign(**texts).pivot(index=index, columns="im", values=values)


def _range(counts: np.ndarray) -> str:
    """Return the smallest and the largest count of pairs of measures as a text."""
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _differences(fitted: ImCorrelation) -> str:
    """Return a sentence on how far the correlations are from the published ones; empty without a pair."""
    first, second = np.triu_indices(len(fitted.ims), 1)
    published = im_correlation.baker_jayaram_2008(fitted.ims)[first, second]
    known = np.isfinite(published)
    if not known.any():
        return ""
    pairs = [f"{fitted.ims[i]} and {fitted.ims[j]}" for i, j in zip(first, second, strict=True)]
    texts = []
    for part in DRAWN_PARTS:
        difference = fitted.correlation[PARTS.index(part)][first, second] - published
        largest = int(np.nanargmax(np.abs(difference)))
        texts.append(
            f"{part} {np.sqrt(np.mean(difference[known] ** 2)):.2f}, at most {difference[largest]:+.2f} "
            f"({pairs[largest]})"
        )
    return f"Root mean square difference from the published ones: {'; '.join(texts)}."


def _format_correlation(fitted: ImCorrelation) -> pd.DataFrame:
    """Return the correlations of every measure with the first one as texts, a row per measure."""
    published = im_correlation.baker_jayaram_2008(fitted.ims)[0]
    columns = dict(zip(PARTS, fitted.correlation[:, 0], strict=True)) | {"published": published}
    texts = {
        name: ["" if np.isnan(value) else f"{value:.2f}" for value in values[1:]]
        for name, values in columns.items()
    }
    return pd.DataFrame({"im": fitted.ims[1:]} | texts)


def draw_correlation(fitted: ImCorrelation, note: str = "") -> plt.Figure:
    """Draw heat maps of the correlation of total, between-event and within-event residuals.

    Parameters
    ----------
    fitted : ImCorrelation
        Correlations.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per part of `DRAWN_PARTS`, with measures or periods on the axes: below the diagonal the
        estimate, above it Baker & Jayaram (2008), grey for PGV.
    """
    order = sorted(range(len(fitted.ims)), key=lambda number: imt.order(fitted.ims[number]))
    labels = [fitted.ims[number].removeprefix("SA(").removesuffix(")") for number in order]
    published = im_correlation.baker_jayaram_2008(fitted.ims)
    matrices = {part: fitted.correlation[PARTS.index(part)] for part in DRAWN_PARTS}
    lowest = min(0.0, np.nanmin([published, *matrices.values()]))
    above = np.triu(np.ones_like(published, bool), 1)
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(1, len(matrices), figsize=(10.2, 3.9))
        for ax, (part, matrix) in zip(axes, matrices.items(), strict=True):
            shown = np.where(above, published[np.ix_(order, order)], matrix[np.ix_(order, order)])
            image = _heat_map(ax, shown, labels, lowest)
            ax.set_title(f"{part.replace('_', '-')}; above: Baker & Jayaram (2008)", fontsize=7.5)
            ax.set_xlabel("Measure, or period of SA (s)")
        figure.colorbar(image, ax=axes, label="Correlation", shrink=0.8)
        figure.suptitle(note, fontsize=10)
    return figure


def _heat_map(ax: plt.Axes, matrix: np.ndarray, labels: list[str], lowest: float) -> AxesImage:
    """Draw a correlation matrix, grey where NaN, and return the image."""
    ax.set_facecolor("0.85")
    image = ax.imshow(matrix, vmin=lowest, vmax=1, cmap="viridis", interpolation="none")
    size = min(8.0, 130 / len(labels))
    ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    ax.set_yticks(range(len(labels)), labels, fontsize=size)
    return image


# ---- smoothness over periods ---------------------------------------------------------------------


def second_differences(spectra: np.ndarray, periods_s: np.ndarray) -> np.ndarray:
    r"""Return the second divided differences of spectra in x = ln T, the curvature of ln SA.

    .. math:: c_k = \frac{2}{x_{k+1} - x_{k-1}} \left(\frac{u_{k+1} - u_k}{x_{k+1} - x_k}
        - \frac{u_k - u_{k-1}}{x_k - x_{k-1}}\right)

    Parameters
    ----------
    spectra : ndarray, [record, period]
        Spectra u, ln units.
    periods_s : ndarray, [period]
        Ascending periods T, s; at least three.

    Returns
    -------
    ndarray, [record, period - 2]
        Curvature at all periods but the first and the last, ln units. A parabola with the coefficient a of
        the square has 2 a everywhere, wherever the periods are.
    """
    x = np.log(periods_s)
    slopes = np.diff(spectra, axis=1) / np.diff(x)
    return 2 * np.diff(slopes, axis=1) / (x[2:] - x[:-2])


def smoothed(spectra: np.ndarray, periods_s: np.ndarray) -> np.ndarray:
    """Return running means of spectra over a window of `WIDTH` in log10 of the period.

    Between its periods a spectrum is taken as linear in log10 T, beyond the first and the last as constant.
    The window has half its width on either side of a period.

    Parameters
    ----------
    spectra : ndarray, [record, period]
        Spectra, ln units.
    periods_s : ndarray, [period]
        Ascending periods, s.

    Returns
    -------
    ndarray, [record, period]
        Smoothed spectra at the same periods.
    """
    x = np.log10(periods_s)
    window = x[:, None] + WIDTH * ((np.arange(100) + 0.5) / 100 - 0.5)  # middles of a hundred steps
    weights = np.array([np.interp(window, x, unit).mean(axis=1) for unit in np.eye(len(x))])
    return spectra @ weights


def smoothness(ensemble: pd.DataFrame, ims: list[str], reference: str, **bootstrapped) -> pd.DataFrame:
    """Return how rough the spectra are that ensembles add to the backbone, beside those of the records.

    Parameters
    ----------
    ensemble : pandas.DataFrame
        Scored table (see `tfgmm.evaluation.scores`) of the partial ensembles, with ``backbone``.
    ims : list of str
        Spectral accelerations by period, at least three. Records that lack one are left out.
    reference : str
        Name of the reference network, whose records are scored.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.intervals`.

    Returns
    -------
    pandas.DataFrame
        A row per cell (site role / event role) that validates and inner period, and a row `ALL_PERIODS`:
        ``cell, period_s``; ``value, low, high``, the ratio of the root mean squares of
        `second_differences`, of the predicted residuals (mean minus backbone) over those of the records
        (observed minus backbone, `smoothed`), with its interval; ``predicted, records_smoothed``, the two
        root mean squares, ln units; ``n, events, sites``, numbers of records, events and sites.
    """
    periods_s = np.array([imt.period(im) for im in ims])
    names = [ALL_PERIODS, *(f"{period:g}" for period in periods_s[1:-1])]
    parts = []
    for site, event in scores.CELLS:
        if VALIDATION not in (site, event):
            continue
        cell = f"{site} / {event}"
        rows = scores.cells(ensemble, reference)[cell]
        rows = rows[rows["im"].isin(ims)]
        both = pd.concat(
            {
                name: _spectra(rows.assign(added=rows[of] - rows["backbone"]), "added").reindex(columns=ims)
                for name, of in (("predicted", "mean"), ("records", "ln_im"))
            },
            axis=1,
        ).dropna()
        if both.empty:
            continue
        rough = {
            "predicted": second_differences(both["predicted"].to_numpy(), periods_s),
            "records": second_differences(smoothed(both["records"].to_numpy(), periods_s), periods_s),
        }
        parts.append(_ratios(rough, both.index.to_frame(), names, **bootstrapped).assign(cell=cell))
    columns = ["cell", "period_s", "value", "low", "high", "predicted", "records_smoothed"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table[[*columns, *table.columns.difference(columns, sort=False)]]


def _ratios(
    rough: dict[str, np.ndarray], places: pd.DataFrame, names: list[str], **bootstrapped
) -> pd.DataFrame:
    """Return ratios of root mean squares of second differences, a row per name: all periods, then each.

    `rough` has the second differences of the predictions and of the records, [record, period].
    """
    squares = pd.DataFrame(
        {
            (of, name): column
            for of, values in rough.items()
            for name, column in zip(names, [(values**2).mean(axis=1), *(values**2).T], strict=True)
        }
    )
    ratio = {
        name: lambda mean, name=name: np.sqrt(mean["predicted", name] / mean["records", name])
        for name in names
    }
    table = bootstrap.intervals(
        squares, places["event_id"], places["site_id"], ratio, **bootstrapped
    ).rename_axis("period_s")
    root_mean_squares = np.sqrt(squares.mean())
    return table.reset_index().assign(
        predicted=root_mean_squares["predicted"].loc[names].to_numpy(),
        records_smoothed=root_mean_squares["records"].loc[names].to_numpy(),
    )


def _make_smoothness(scored: ScoredRun, table: pd.DataFrame) -> Section:
    """Return the report section on the result of `smoothness`."""
    whole = table[table["period_s"] == ALL_PERIODS]
    shown = pd.DataFrame(
        {
            "sites / events": whole["cell"],
            "predicted": whole["predicted"].map("{:.3f}".format),
            "records, smoothed": whole["records_smoothed"].map("{:.3f}".format),
            "ratio": format_intervals(whole),
            "records": whole["n"].map("{:,}".format),
        }
    )
    return Section(
        "smoothness",
        "Smoothness of spectra over periods",
        "Root mean square of the second differences in ln T of what the ensemble adds to the backbone, "
        "beside that of the records minus the backbone, as running means over "
        f"{WIDTH} in log10 T. Ratio above 1: predicted spectra are rougher than those of single records. "
        f"{bootstrap.LEVEL:.0%} intervals; single periods are in the CSV file.",
        table.assign(data_hash=scored.run.data["digest"]),
        shown,
        lambda: draw_smoothness(table, scored.note),
    )


def draw_smoothness(table: pd.DataFrame, note: str = "") -> plt.Figure:
    """Draw the root mean square of second differences against the period, at held-out sites.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `smoothness`.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Lines of the predictions and of the records, for validation events.
    """
    cell = HELD_OUT if (table["cell"] == HELD_OUT).any() else table["cell"].iloc[0]
    rows = table[(table["cell"] == cell) & (table["period_s"] != ALL_PERIODS)]
    with mpl.rc_context(drawing.STYLE):
        figure, ax = plt.subplots(figsize=(4.6, 3.4))
        for number, (column, label) in enumerate(
            (("records_smoothed", "records, smoothed"), ("predicted", "predicted"))
        ):
            ax.semilogx(
                rows["period_s"].astype(float),
                rows[column],
                color=figures.COLOURS[1 - number],
                marker="so"[number],
                markersize=4,
                label=label,
            )
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.set_ylim(bottom=0)
        ax.set(xlabel="Period (s)", ylabel="rms second difference in ln T (ln units)")
        ax.legend(frameon=False, fontsize=7)
        ax.set_title(f"Sites / events: {cell}")
        figure.suptitle(note, fontsize=10)
    return figure
