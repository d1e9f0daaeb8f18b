#!/usr/bin/env python
"""Score the site amplification of a run on simulated records against what is planted."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
import xarray as xr
from result_page import head, of_run
from scipy.stats import t
from simulated_accuracy import ORACLE, dataset_and_truth

from tfgmm.cli.console import console, import_tensorflow, run_script, say_simulated, show_table, tracked
from tfgmm.core import files
from tfgmm.core.errors import UsageError
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import truth
from tfgmm.simulation.oracle import Oracle
from tfgmm.site_amplification.estimate import Z90
from tfgmm.site_amplification.site_terms import SiteTerms, correlation

KRIGED = "kriged site terms"
#: Share of the pixels, the deepest ones, that are the deep basin.
DEEP = 0.25
FORMATS = dict.fromkeys(["r", "RMSE", "coverage of 90 %"], ".3f") | dict.fromkeys(
    ["deep basin", "low", "high", "planted there"], "+.3f"
)


def score(estimate: np.ndarray, error: np.ndarray, planted: np.ndarray, deep: np.ndarray) -> dict:
    """How near a map is to the planted one; both are centred on the pixels that are scored.

    Parameters
    ----------
    estimate, planted : ndarray, [pixel]
        ln amplification.
    error : ndarray, [pixel]
        Standard error; NaN where it is unknown.
    deep : ndarray of bool, [pixel]
    """
    estimate, planted = estimate - estimate.mean(), planted - planted.mean()
    wrong = np.abs(estimate - planted)
    return {
        "r": correlation(estimate, planted),
        "RMSE": float(np.sqrt((wrong**2).mean())),
        "coverage of 90 %": float((wrong <= Z90 * error).mean()) if np.isfinite(error).all() else np.nan,
        "deep basin": float(estimate[deep].mean()),
        "planted there": float(planted[deep].mean()),
    }


def regional_interval(without_chunk: np.ndarray, deep: np.ndarray) -> dict:
    """Central 90 % interval of the mean over the deep basin, by the delete-a-chunk jackknife.

    Parameters
    ----------
    without_chunk : ndarray, [chunk, pixel]
    deep : ndarray of bool, [pixel]
    """
    means = (without_chunk - without_chunk.mean(axis=1, keepdims=True))[:, deep].mean(axis=1)
    chunks = len(means)
    error = np.sqrt((chunks - 1) / chunks * ((means - means.mean()) ** 2).sum())
    half = t.ppf(0.95, chunks - 1) * error
    return {"low": means.mean() - half, "high": means.mean() + half}


def scores(study, maps: xr.Dataset, planted: truth.Truth, with_oracle: bool) -> pd.DataFrame:
    """A row a model, of one intensity measure, over the taught pixels of the footprint."""
    im = maps["im"].item()
    where = (maps["taught"] * maps["footprint"]).to_numpy().astype(bool)
    lon, lat = (maps[name].to_numpy()[where] for name in ("longitude", "latitude"))
    goal, depth = planted.site_map(im, lon, lat), planted.z_bedrock(lon, lat)
    deep = depth >= np.quantile(depth, 1 - DEEP)
    rows = []
    for name in maps["estimator"].to_numpy():
        one = maps.sel(estimator=name)
        found = (one[variable].to_numpy()[where] for variable in ("amplification", "standard_error"))
        interval = regional_interval(one["without_chunk"].to_numpy()[:, where], deep)
        rows.append({"model": name} | score(*found, goal, deep) | interval)
    trained = seen_records(study, im)
    kriged = SiteTerms.fit(trained).kriged()
    mean, variance = kriged.at(study.pixels_km[where])
    error = np.sqrt(np.maximum(variance - kriged.nugget_variance, 0))
    rows.append({"model": KRIGED} | score(mean, error, goal, deep))
    if with_oracle:
        known = oracle_map(study, planted, im, trained, (lon, lat))
        rows.append({"model": ORACLE} | score(known, np.full(len(goal), np.nan), goal, deep))
    return pd.DataFrame(rows).assign(im=im)


def seen_records(study, im: str) -> pd.DataFrame:
    """Records of the events that do not validate."""
    records, role = study.records(im), study.folds[0].event_role
    return records[records["event_id"].isin(role.index[role != "validation"])]


def oracle_map(study, planted: truth.Truth, im: str, trained: pd.DataFrame, places) -> np.ndarray:
    """Planted layer-driven term plus the posterior mean of the correlated one, [pixel]."""
    fitted = Oracle.fit(
        planted,
        im,
        trained,
        study.dataset.events,
        study.stations,
        watch=lambda parts: tracked(parts, f"{im} oracle, reading records"),
    )
    layers = planted.site_parts(*places)[0, :, truth.IMS.index(im)]
    return layers + fitted.site.at(truth.project(*places))[:, 0]


EXPLANATION = f"""\
Maps of ln site amplification against the planted map part of the site term (layer-driven plus correlated),
over the pixels of the station footprint that the networks were taught at, each map less its mean there.
*{KRIGED}*: event-corrected station means of the same records, kriged. *{ORACLE}*: kriging with the true
covariance and the true layer-driven term. *coverage of 90 %*: share of the pixels where the planted value
lies inside the interval. *deep basin*: mean over the deepest quarter of the pixels, with a 90 % interval by
the delete-a-chunk jackknife: below zero is de-amplification.
"""


def main(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Run on simulated records.")],
    maps: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that tfgmm site-amp wrote; repeatable (default: in the run)."),
    ] = None,
    oracle: Annotated[bool, typer.Option(help="Also krige with the true covariance (minutes).")] = True,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Score the site amplification of a run against the planted one."""
    run = RunFolder.open(path)
    folders = maps or [path / "site_amplification"]
    files_of_maps = [folder / "site_amplification.nc" for folder in folders]
    for file in files_of_maps:
        if not file.is_file():
            raise UsageError(f"{file} does not exist: give tfgmm site-amp {path} first")
    _, planted = dataset_and_truth(run)
    say_simulated(run.simulated)
    import_tensorflow()
    from tfgmm.site_amplification.site_study import Options, Study

    study = Study(run, Options(arms=()))
    parts = []
    for file in files_of_maps:
        with xr.open_dataset(file) as found:
            parts += [scores(study, found.sel(im=im), planted, oracle) for im in found["im"].to_numpy()]
            events = found.attrs["events"]
    columns = ["im", "model", "r", "RMSE", "coverage of 90 %", *list(FORMATS)[3:]]
    table = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    show_table("Site amplification against the planted one, ln units (simulated records)", table, FORMATS)
    name = f"site-amplification-{'-'.join(run.experiment.networks)}"
    top = head("Site amplification on simulated records", of_run(run) | {"averaged over": events})
    shown = table.astype(object).where(table.notna(), None)
    formats = [FORMATS.get(column, "") for column in table]
    rows = shown.to_markdown(index=False, floatfmt=formats, missingval="")
    with files.whole_file(out / f"{name}.md") as temporary:
        temporary.write_text(f"{top}\n{rows}\n\n{EXPLANATION}")
    with files.whole_file(out / f"{name}.csv") as temporary:
        table.assign(simulated=True).to_csv(temporary, index=False)
    console.print(f"Written: {out / name}.md and .csv")


if __name__ == "__main__":
    run_script(main)
