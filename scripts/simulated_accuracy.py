#!/usr/bin/env python
"""Score a run on simulated records against what is planted, beside a regression and the oracle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
import xarray as xr
from result_page import head, of_run

from tfgmm.cli.console import console, import_tensorflow, run_script, say_simulated, show_table, tracked
from tfgmm.core import drawing, files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.data.dataset import Dataset
from tfgmm.evaluation import figures
from tfgmm.evaluation.baselines import ERGODIC
from tfgmm.evaluation.scores import ENSEMBLE
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import simulated, truth
from tfgmm.simulation.oracle import Oracle, map_errors
from tfgmm.simulation.simulated import SimulationSettings
from tfgmm.stats import ergodic

ORACLE = "oracle"
#: Events whose maps are in memory at once.
BLOCK = 10
FORMATS = dict.fromkeys(["RMSE", "RMSE, map means removed", "of ergodic", "of oracle"], ".3f") | {
    "bias": "+.3f"
}


class Scene:
    """A run on simulated records, the truth behind them, and where the two are compared.

    Attributes
    ----------
    trained : pandas.DataFrame
        Records of training events at all sites: what the members saw, each its share.
    validation, scored : pandas.DataFrame
        Validation events, and those of them that are scored.
    longitude, latitude : ndarray, [n_points]
        Pixels inside the station footprint, degrees.
    """

    def __init__(self, run: RunFolder, im: str, events: int | None) -> None:
        from tfgmm.core.coast import footprint
        from tfgmm.data.schemas import VALIDATION
        from tfgmm.network import batches as data_pipeline
        from tfgmm.prediction import ensemble
        from tfgmm.runs.folds import make_folds, stations_in_use

        self.run, self.im = run, im
        self.dataset, self.planted = dataset_and_truth(run)
        role = make_folds(self.dataset, run.experiment)[0].event_role
        table = data_pipeline.flat_table(self.dataset, run.experiment, im)
        seen = role.index[role != VALIDATION]  # the stopping events of a chunk train the others
        self.trained = table[table["event_id"].isin(seen)]
        validates = self.dataset.events["event_id"].isin(role.index[role == VALIDATION])
        self.validation = self.dataset.events[validates]
        self.scored = evenly(self.validation, events)
        self.stations = stations_in_use(self.dataset, run.experiment)
        grid = run.experiment.grid
        self.inside = footprint(self.stations, grid)
        self.longitude, self.latitude = (a[self.inside] for a in grid.lonlat(grid.output_size))
        self.ensemble = ensemble.load(run.path, im, condition="training")

    def in_blocks(self, median, what: str) -> np.ndarray:
        """A function of (events, longitude, latitude), called block by block, [n_events, n_points]."""
        parts = [
            median(block, self.longitude, self.latitude)
            for block in tracked(list(blocks(self.scored)), f"{self.im} {what}")
        ]
        return np.concatenate(parts)


def dataset_and_truth(run: RunFolder) -> tuple[Dataset, truth.Truth]:
    """The simulated records of a run, made anew, and what is planted in them."""
    if not run.simulated:
        raise UsageError(
            f"run {run.path} is on real records, in which nothing is planted: "
            "give a run without --data, or on a folder of tfgmm simulate"
        )
    folder, settings = run.experiment.data, SimulationSettings()
    if folder is not None:
        settings = SimulationSettings(**Dataset.read(Path(folder)).provenance.get("choices", {}))
    dataset, planted = simulated.simulate(settings)
    if dataset.digest() != run.data["digest"]:
        raise DataError(
            f"run {run.path} was trained on other simulated records than this version makes: train it again"
        )
    return dataset, planted


def evenly(events: pd.DataFrame, number: int | None) -> pd.DataFrame:
    """So many events, evenly picked in time; all for None."""
    events = events.sort_values("origin_time", ignore_index=True)
    if number is None or number >= len(events):
        return events
    return events.iloc[np.linspace(0, len(events) - 1, number).round().astype(int)]


def blocks(events: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """`BLOCK` events at a time."""
    for start in range(0, len(events), BLOCK):
        yield events.iloc[start : start + BLOCK]


def scores(scene: Scene, with_oracle: bool) -> pd.DataFrame:
    """A row a model: how far its median is from the planted one."""
    im, planted = scene.im, scene.planted
    regression = ergodic.fit(scene.trained)

    def ergodic_median(events, longitude, latitude):
        magnitude, depth = (events[c].to_numpy()[:, np.newaxis] for c in ("magnitude", "depth_km"))
        return regression.median(magnitude, truth.r_hyp_km(events, longitude, latitude), depth)

    models = {
        ENSEMBLE: lambda events, *_: scene.ensemble.maps(events)["mean"].to_numpy()[:, scene.inside],
        ERGODIC: ergodic_median,
    }
    if with_oracle:
        models[ORACLE] = fitted_oracle(scene).median
    goal = scene.in_blocks(lambda *pairs: planted.median(im, *pairs), "planted median")
    rows = [{"im": im, "model": m} | map_errors(scene.in_blocks(f, m), goal) for m, f in models.items()]
    table = pd.DataFrame(rows).rename(columns={"rmse": "RMSE", "rmse_pattern": "RMSE, map means removed"})
    for name in (ERGODIC, ORACLE)[: 1 + with_oracle]:
        table[f"of {name}"] = table["RMSE"] / table.loc[table["model"] == name, "RMSE"].item()
    return table


def fitted_oracle(scene: Scene) -> Oracle:
    """The oracle of the records that trained."""
    return Oracle.fit(
        scene.planted,
        scene.im,
        scene.trained,
        scene.dataset.events,
        scene.stations,
        watch=lambda parts: tracked(parts, f"{scene.im} oracle, reading records"),
    )


def one_event(scene: Scene) -> tuple[pd.Series, xr.Dataset]:
    """The largest validation event inside the box, with its planted and predicted maps."""
    west, south, east, north = truth.BOX
    events = scene.validation
    inside = events[events["longitude"].between(west, east) & events["latitude"].between(south, north)]
    event = (events if inside.empty else inside).nlargest(1, "magnitude")
    maps = scene.ensemble.maps(event).isel(event=0)
    places = (maps[name].to_numpy().ravel() for name in ("longitude", "latitude"))
    planted = scene.planted.median(scene.im, event, *places).reshape(maps["mean"].shape)
    return event.iloc[0], maps.assign(planted=(("row", "col"), planted))


def facts(scene: Scene) -> dict[str, str]:
    """What was scored, and against what."""
    return of_run(scene.run) | {
        "trained": f"{len(scene.ensemble.members)} members",
        "training": f"{len(scene.trained):,} records of {scene.trained['event_id'].nunique():,} events "
        f"at {scene.trained['station_id'].nunique():,} stations",
        "scored": f"{len(scene.scored):,} validation events, {len(scene.longitude):,} pixels each: "
        "on land inside the hull of the stations",
    }


EXPLANATION = f"""\
Errors are predicted minus planted median of ln IM; RMSE is over all pixels of all scored events.
The planted median is everything but event term, site nugget and record scatter.
*{ENSEMBLE}*: mean over all members, each with the backbone and the field of the training records of its
chunk. *{ERGODIC}*: regression with crossed event and site terms, fitted to
the records of the training events at all sites. *{ORACLE}*: kriging with the true covariance, given the
same records; no model can be expected to do better from them. *bias*: mean over events of the median
error of a map. *of {ERGODIC}*, *of {ORACLE}*: RMSE as a share of theirs.
"""


def report(table: pd.DataFrame, about: dict[str, str], stem: Path) -> None:
    """Write the table as Markdown, with what it rests on, and as CSV."""
    top = head(f"Accuracy on simulated records: {stem.name.removeprefix('simulated-')}", about)
    picture = (
        f"\n![One earthquake of the simulated records]({stem.name}.png)\n\n"
        "The largest validation event inside the study area. Star: epicentre; triangles: stations, inside "
        "their dashed hull.\n"
    )
    formats = [FORMATS.get(column, "") for column in table]
    rows = table.to_markdown(index=False, floatfmt=formats) + "\n"
    with files.whole_file(stem.with_name(stem.name + ".md")) as temporary:
        temporary.write_text("\n".join([top, rows, EXPLANATION + picture]))
    with files.whole_file(stem.with_name(stem.name + ".csv")) as temporary:
        table.assign(simulated=True).to_csv(temporary, index=False)


def main(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Run on simulated records, finished or not.")],
    events: Annotated[
        int | None, typer.Option(min=1, help="Score so many events, evenly picked (default: all).")
    ] = None,
    oracle: Annotated[bool, typer.Option(help="Also krige with the true covariance (minutes).")] = True,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
    picture: Annotated[Path | None, typer.Option(help="Also save a small figure here, .png.")] = None,
) -> None:
    """Score a run on simulated records against the planted median."""
    run = RunFolder.open(path)
    say_simulated(run.simulated)
    import_tensorflow()
    scenes = [Scene(run, im, events) for im in run.experiment.ims]
    about = facts(scenes[0])
    for name, text in about.items():
        console.print(f"{name}: {text}", markup=False)
    table = pd.concat([scores(scene, oracle) for scene in scenes], ignore_index=True)
    show_table("Predicted against planted median, ln units (simulated records)", table, FORMATS)
    stem = out / f"simulated-{'-'.join(run.experiment.networks)}"
    report(table, about, stem)
    event, maps = one_event(scenes[0])
    drawn = maps, event, scenes[0].stations, scenes[0].im
    drawing.save(figures.simulated_event(*drawn), stem, (".png",))
    if picture:
        small = figures.simulated_event(*drawn, panels=("planted", "predicted", "stddev"))
        drawing.save(small, picture.with_suffix(""), (".png",), dpi=130)
    console.print(f"Written: {stem}.md, .csv and .png")


if __name__ == "__main__":
    run_script(main)
