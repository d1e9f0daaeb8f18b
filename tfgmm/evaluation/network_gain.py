"""Section of a comparison of runs on added networks: what they gain by distance to their nearest station.

Of two runs of the same reference network, the dense run trains on the networks of the sparse run and on
others, whose stations are the added ones.
"""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfgmm.core import drawing
from tfgmm.core.sphere import EARTH_RADIUS_KM
from tfgmm.data.schemas import TRAINING, VALIDATION
from tfgmm.evaluation import comparison, figures, scores
from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import Section, format_intervals
from tfgmm.runs.folds import nearest_km

#: Bounds between the classes of the distance to the nearest added station, km.
DISTANCE_KM = (1, 2.5, 5, 10)
#: Cells (site role / event role) of held-out sites, and what their events are.
CELLS = {f"{VALIDATION} / {VALIDATION}": "new events", f"{VALIDATION} / {TRAINING}": "known events"}
#: Coarse grids of station coordinates by name: cells of a grid per degree.
COARSE_GRIDS = {"whole minutes of arc": 60, "hundredths of a degree": 100}

_ON_GRID = 1e-6  # degrees: above what rounding in the sixth decimal does, far below any grid


def is_denser(first: ScoredRun, second: ScoredRun) -> bool:
    """Return True if the first run trains on all networks of the second and on others.

    Parameters
    ----------
    first, second : ScoredRun
        Two runs.

    Returns
    -------
    bool
        False if the reference networks differ.
    """
    networks = [set(run.run.experiment.networks) for run in (first, second)]
    return first.reference == second.reference and networks[0] > networks[1]


def gain_by_distance(
    dense: pd.DataFrame, sparse: pd.DataFrame, reference: str, names: tuple[str, str], **bootstrapped
) -> pd.DataFrame:
    """Return scores of a dense minus a sparse run by distance to the nearest added station, paired.

    Parameters
    ----------
    dense, sparse : pandas.DataFrame
        Scored tables of the runs, see `tfgmm.evaluation.scores`; ``nearest_added_km`` of `dense` is the
        distance to the nearest added station.
    reference : str
        Name of the reference network, whose held-out sites are compared.
    names : tuple of str
        Names of the two runs, for messages.
    **bootstrapped
        ``level, resamples, seed``, as for `tfgmm.stats.bootstrap.paired`.

    Returns
    -------
    pandas.DataFrame
        Result of `tfgmm.evaluation.comparison.between_runs` for `tfgmm.evaluation.scores.ENSEMBLE` at
        held-out sites; ``nearest_added_km`` names the class of distance, and ``mean_km`` is the mean
        distance of its records, km. Classes without records are left out.

    Raises
    ------
    UsageError
        The runs do not score the same event-station pairs in the same roles, or have no record of
        `reference` in common.
    """
    # Distances of the sparse run are to other stations than the added ones.
    runs = dense, sparse.assign(nearest_added_km=np.nan)
    first, second = (
        run[(run["model"] == scores.ENSEMBLE) & (run["site_role"] == VALIDATION)] for run in runs
    )
    by_class = scores.by_bin("nearest_added_km", DISTANCE_KM)
    table = comparison.between_runs(
        first, second, reference, names, {"nearest_added_km": by_class}, **bootstrapped
    )
    mean_km = {
        (cell, name): rows["nearest_added_km"].mean()
        for cell, records in scores.cells(first, reference).items()
        for name, rows in by_class(records).items()
    }
    table = table[table["cell"].isin(CELLS) & (table["nearest_added_km"] != "unknown")]
    keys = zip(table["cell"], table["nearest_added_km"], strict=True)
    table = table.assign(mean_km=[mean_km[key] for key in keys])
    cell, im = table["cell"].map(list(CELLS).index).to_numpy(), table["im"].factorize()[0]
    return table.iloc[np.lexsort([np.arange(len(table)), cell, im])].reset_index(drop=True)


def coarse_grid(stations: pd.DataFrame) -> str:
    """Return a sentence on the resolution of station coordinates; empty if they are on no coarse grid.

    >>> coarse_grid(pd.DataFrame({"longitude": [139.5, 140 + 7 / 60], "latitude": [35.1, 36 + 1 / 60]}))
    'Coordinates of the stations are whole minutes of arc (1.9 km): shorter distances cannot be told apart.'

    Parameters
    ----------
    stations : pandas.DataFrame, [n, ...]
        Stations with ``longitude`` and ``latitude``, degrees.

    Returns
    -------
    str
        Sentence that names the grids of `COARSE_GRIDS` on which all stations are, with their spacing
        from south to north, km.
    """
    degrees = stations[["longitude", "latitude"]].to_numpy(float)
    left, needed = np.ones(len(degrees), dtype=bool), []
    for name, per_degree in COARSE_GRIDS.items():
        steps = degrees * per_degree
        is_on = (np.abs(steps - np.round(steps)) < _ON_GRID * per_degree).all(axis=1) & left
        if is_on.any():
            needed.append(f"{name} ({np.radians(1 / per_degree) * EARTH_RADIUS_KM:.1f} km)")
        left &= ~is_on
    if left.any() or not needed:
        return ""
    return f"Coordinates of the stations are {' or '.join(needed)}: shorter distances cannot be told apart."


def section(dense: ScoredRun, sparse: ScoredRun) -> Section:
    """Return the report section on what the added networks gain, by distance to their nearest station.

    Parameters
    ----------
    dense, sparse : ScoredRun
        Two runs of the same records of the reference network, see `is_denser`.

    Returns
    -------
    Section
        Differences of scores with intervals as a table; the difference of RMSE (ln units) as a figure.

    Raises
    ------
    UsageError
        The runs do not score the same records.
    """
    added = sorted(set(dense.run.experiment.networks) - set(sparse.run.experiment.networks))
    names = dense.run.path.name, sparse.run.path.name
    models = _measure_to_added(dense.models, added)
    table = gain_by_distance(models, sparse.models, dense.reference, names)
    rows = table[table["statistic"] == "RMSE"]
    grid = coarse_grid(dense.ensemble.drop_duplicates("station_id"))
    note = f"Added: {', '.join(added)}" + f" ({drawing.SIMULATED})" * dense.run.simulated
    return Section(
        f"gain_{names[0]}_minus_{names[1]}",
        f"Gain of {', '.join(added)} by distance to the nearest added station",
        f"RMSE of {names[0]} minus RMSE of {names[1]} on the same records at held-out sites of "
        f"{dense.reference}, ln units: below 0 the added stations help. 90 % intervals by the paired "
        "two-way bootstrap over events and sites; by chunks: sites of one chunk resampled together. "
        f"{grid}".rstrip(),
        table,
        _format(rows),
        lambda: draw(rows, note),
    )


def _measure_to_added(models: pd.DataFrame, added: list[str]) -> pd.DataFrame:
    """Return the records with ``nearest_added_km`` to the stations of the networks `added` alone, km.

    A sparse run may itself train on more than the reference network; those stations are not added ones.
    """
    stations = models.drop_duplicates("station_id")
    distance = nearest_km(stations, stations[stations["network"].isin(added)])
    by_station = pd.Series(distance, stations["station_id"])
    return models.assign(nearest_added_km=models["station_id"].map(by_station))


def _format(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the differences of RMSE as texts, a line per cell and class of distance."""
    by_chunk = rows.assign(low=rows["low_chunks"], high=rows["high_chunks"])
    return pd.DataFrame(
        {
            "im": rows["im"],
            "held-out sites": rows["cell"].map(CELLS),
            "nearest added [km]": rows["nearest_added_km"],
            "dense": rows["first"].map("{:.3f}".format),
            "sparse": rows["second"].map("{:.3f}".format),
            "difference": format_intervals(rows),
            "by chunks": format_intervals(by_chunk).where(by_chunk["low"].notna(), ""),
            "records": rows["n"],
            "events": rows["events"],
            "sites": rows["sites"],
        }
    )


def draw(rows: pd.DataFrame, note: str = "") -> plt.Figure:
    """Draw the difference of RMSE with its interval against the distance to the nearest added station.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of `gain_by_distance` for the statistic ``RMSE``, ln units.
    note : str
        Title of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per intensity measure. Thick bars are intervals over events and sites; thin bars with
        caps resample the sites of a chunk together. Hollow: too few events or sites for an interval.
    """
    ims = list(rows["im"].unique())
    with mpl.rc_context(drawing.STYLE):
        figure, axes = plt.subplots(len(ims), 1, figsize=(4.6, 3.2 * len(ims)), squeeze=False)
        for ax, im in zip(axes.flat, ims, strict=True):
            _draw_panel(ax, rows[rows["im"] == im])
            ax.set_title(im)
        axes[0, 0].legend(frameon=False, fontsize=7)
        figure.suptitle(note, fontsize=10)
    return figure


def _draw_panel(ax: plt.Axes, rows: pd.DataFrame) -> None:
    """Draw the differences of one intensity measure: new and known events side by side in each class."""
    names = list(scores.by_bin("x", DISTANCE_KM)(pd.DataFrame({"x": [0, *DISTANCE_KM]})))
    names = [name for name in names if (rows["nearest_added_km"] == name).any()]
    for number, (cell, events) in enumerate(CELLS.items()):
        of_cell = rows[rows["cell"] == cell].set_index("nearest_added_km").reindex(names)
        place, value = np.arange(len(names)) + 0.24 * number - 0.12, of_cell["value"].to_numpy()
        style: dict[str, Any] = {"color": figures.COLOURS[number], "marker": "os"[number]}
        style |= {"linestyle": "none", "markersize": 4.5}
        known = of_cell["low"].notna().to_numpy()
        for ends, width, cap in ((["low", "high"], 2.2, 0), (["low_chunks", "high_chunks"], 0.8, 3)):
            drawn = of_cell[ends].notna().all(axis=1).to_numpy()
            low, high = of_cell[ends].to_numpy()[drawn].T
            ax.vlines(place[drawn], low, high, color=style["color"], linewidth=width)
            if cap:
                for end in (low, high):
                    ax.plot(place[drawn], end, color=style["color"], marker="_", ls="none", ms=2 * cap)
        ax.plot(place[known], value[known], label=events, **style)
        ax.plot(place[~known], value[~known], markerfacecolor="white", **style)
    ax.axhline(0, color="0.5", linewidth=0.6, zorder=0)
    labels = [name.replace(" to ", "–").replace("below", "<") for name in names]
    labels = ["≥ " + name.removesuffix(" and above") if "above" in name else name for name in labels]
    ax.set_xticks(range(len(names)), labels)
    ax.set(xlim=(-0.5, len(names) - 0.5), xlabel="Distance to the nearest added station (km)")
    ax.set_ylabel("Difference of RMSE (ln units)")
