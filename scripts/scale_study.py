#!/usr/bin/env python
"""Train and evaluate runs of more and more simulated records: time and memory of each stage."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import growth
import numpy as np
import pandas as pd
import psutil
import typer
from result_page import head, made, markdown

from tfgmm.cli.console import console, run_script, show_table
from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.data.dataset import Dataset

#: Records of an event. There are as many stations as events, a fifth of them of the reference network.
RECORDS_PER_EVENT, REFERENCE_SHARE = 200, 0.2
#: Corners of the region, degrees, and its size, km per degree.
WEST, EAST, SOUTH, NORTH, KM_PER_DEGREE = 139.0, 140.9, 35.0, 36.5, (90.0, 111.0)
#: Standard deviations of the planted terms, ln units, and the range of the site terms, km.
TAU, PHI_S2S, PHI_SS, SITE_RANGE_KM = 0.4, 0.4, 0.5, 20.0
#: Steps of training; a step takes the same time for any number of records (`benchmark.py --case growth`).
STEPS = 20
FORMATS = {"size": ",d", "s": ",.1f", "GB": ".2f", "exponent of s": ".2f", "exponent of GB": ".2f"}
EXPLANATION = f"""\
Simulated records, {RECORDS_PER_EVENT} of each event at random stations, as many stations as events, a fifth
of them of the reference network. One member of one chunk of five; {STEPS} steps of training. *s*: time of
the command, with its start of some seconds. *GB*: largest resident memory of all its processes together.
*exponent*: slope of the logarithm against that of the number of records, from the two largest sizes.
*prepare*: backbone and out-of-fold field; *finish*: field of the chunk, predictions of all records, field
of all records; *evaluate*: without the baselines of earlier versions.
"""


def simulated(records: int, seed: int = 0) -> Dataset:
    """Return simulated records with event, site and record terms.

    Parameters
    ----------
    records : int
        Number of records.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    Dataset
        ``records / RECORDS_PER_EVENT`` events and as many stations.
    """
    rng = np.random.default_rng(seed)
    count = max(records // RECORDS_PER_EVENT, RECORDS_PER_EVENT)
    place = rng.uniform([WEST, SOUTH], [EAST, NORTH], (count, 2))
    source = rng.uniform([WEST, SOUTH], [EAST, NORTH], (count, 2))
    ids = [f"S{number:05d}" for number in range(count)]
    stations = pd.DataFrame(
        {
            "station_id": ids,
            "site_id": ids,
            "network": np.where(np.arange(count) < REFERENCE_SHARE * count, "sparse", "dense"),
            "longitude": place[:, 0],
            "latitude": place[:, 1],
            "elevation_m": np.nan,
            "sensor_depth_m": 0.0,
            "vs30_m_s": rng.uniform(150, 900, count),
        }
    )
    magnitude = np.minimum(4.0 + rng.exponential(0.5, count), 7.5)
    depth_km = rng.uniform(5, 80, count)
    days = pd.to_timedelta(np.sort(rng.uniform(0, 6500, count)), "D")
    events = pd.DataFrame(
        {
            "event_id": [f"E{number:05d}" for number in range(count)],
            "origin_time": (pd.Timestamp("2000-01-01", tz="UTC") + days).floor("s"),
            "longitude": source[:, 0],
            "latitude": source[:, 1],
            "depth_km": depth_km,
            "magnitude": magnitude.round(2),
            "magnitude_source": "simulated",
        }
    )
    chosen = [rng.choice(count, RECORDS_PER_EVENT, replace=False) for _ in range(count)]
    event, station = np.repeat(np.arange(count), RECORDS_PER_EVENT), np.concatenate(chosen)
    east_north_km = (source[event] - place[station]) * KM_PER_DEGREE
    r_hyp_km = np.hypot(np.hypot(*east_north_km.T), depth_km[event])
    # Random Fourier features of a squared exponential covariance.
    wave = rng.normal(0, 1 / SITE_RANGE_KM, (2, 300))
    site_term = np.cos(place * KM_PER_DEGREE @ wave + rng.uniform(0, 2 * np.pi, 300)) @ rng.normal(size=300)
    ln_pga = 1.2 * (magnitude[event] - 6) - 1.3 * np.log(r_hyp_km) - 0.004 * r_hyp_km + 2
    ln_pga += rng.normal(0, TAU, count)[event] + rng.normal(0, PHI_SS, len(event))
    ln_pga += PHI_S2S * np.sqrt(2 / 300) * site_term[station]
    table = pd.DataFrame(
        {
            "event_id": events["event_id"].to_numpy()[event],
            "station_id": stations["station_id"].to_numpy()[station],
            "PGA": np.exp(ln_pga),
            "component": "geometric_mean",
        }
    )
    return Dataset(events, stations, table, {"name": f"{len(table):,} records", "simulated": True})


def measured(words: list[str]) -> tuple[float, float]:
    """Return the time, s, and the largest memory of all its processes, GB, of a command of tfgmm.

    Raises
    ------
    DataError
        The command fails.
    """
    largest, ended = 0, threading.Event()

    def watch(process: psutil.Process) -> None:
        nonlocal largest
        while not ended.wait(0.2):
            now = 0
            with contextlib.suppress(psutil.NoSuchProcess):  # one has ended in between
                for one in [process, *process.children(recursive=True)]:
                    now += one.memory_info().rss
            largest = max(largest, now)

    begun = time.perf_counter()
    command = [sys.executable, "-c", "from tfgmm.cli.app import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        watcher = threading.Thread(target=watch, args=[psutil.Process(process.pid)], daemon=True)
        watcher.start()
        printed = process.communicate()[0]
        ended.set()
        watcher.join()
    if process.returncode:
        raise DataError(f"tfgmm {' '.join(words)}: {printed[-2000:]}")
    return time.perf_counter() - begun, largest / 1e9


def stages(records: int, scratch: Path) -> pd.DataFrame:
    """Return time and memory of every stage of a run of simulated records, one row per stage."""
    data, run = scratch / f"data-{records}", scratch / f"run-{records}"
    simulated(records).write(data)
    train = ["train", "--data", str(data), "--networks", "sparse,dense", "--reference", "sparse"]
    train += ["--preset", "standard", "--inits", "1", "--max-steps", str(STEPS), "--workers", "1"]
    train += ["--out", str(run), "--chunk", "0"]
    commands = {
        "begin": [*train, "--begin"],
        "prepare": ["stage", "prepare", str(run), "0"],
        "member": ["stage", "member", str(run), "all", "0", "0"],
        "finish": train,
        "evaluate": ["evaluate", str(run), "--no-baselines"],
    }
    rows = []
    for stage, words in commands.items():
        seconds, gigabytes = measured(words)
        console.print(f"{records:,} records, {stage}: {seconds:.0f} s, {gigabytes:.2f} GB")
        rows.append({"stage": stage, "size": records, "s": seconds, "GB": gigabytes})
    return pd.DataFrame(rows)


def main(
    records: Annotated[list[int] | None, typer.Option(help="Numbers of records.")] = None,
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Train and evaluate runs of more and more simulated records; say what each stage takes."""
    sizes = sorted(records or [62_500, 250_000, 1_000_000])
    with tempfile.TemporaryDirectory() as scratch:
        table = pd.concat([stages(size, Path(scratch)) for size in sizes], ignore_index=True)
    if len(sizes) > 1:
        largest = table[table["size"].isin(sizes[-2:])].rename(columns={"stage": "what"})
        slopes = growth.exponents(largest).rename(
            columns={"what": "stage", "s": "exponent of s", "GB": "exponent of GB"}
        )
        table = table.merge(slopes, on="stage")
    title = "Time and memory by number of records"
    show_table(title, table, FORMATS)
    if out:
        with files.whole_file(out) as temporary:
            temporary.write_text(f"{head(title, made())}\n{markdown(table, FORMATS)}\n\n{EXPLANATION}")


if __name__ == "__main__":
    run_script(main)
