#!/usr/bin/env python
"""Score the random effects of a run on simulated records against what is planted."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from result_page import head, of_run
from simulated_accuracy import dataset_and_truth

from tfgmm.cli.console import console, run_script, say_simulated, show_table
from tfgmm.core import files
from tfgmm.core.errors import UsageError
from tfgmm.evaluation import scores, variability
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import truth
from tfgmm.stats import random_effects
from tfgmm.stats.random_effects import SITE, RandomEffects

#: Numbers of records between which station terms are compared.
CUTS = (10, 30, 100)
FORMATS = {
    "sigma": dict.fromkeys(["planted", "with the unlearned", "found"], ".3f"),
    "terms": {"sites": "d"} | dict.fromkeys(["correlation", "RMSE", "stated", "slope"], ".2f"),
}


def sigma(effects: RandomEffects, table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Standard deviations: planted, planted with all that f could have learned, and found.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles with places.
    """
    stopping = table[table["event_role"].eq("stopping") & table["site_role"].eq("training")]
    of_event, of_site = (stopping[name] ** 2 for name in ("event_stddev", "site_stddev"))
    within = stopping["stddev"] ** 2 - of_event - of_site - stopping["epistemic"]
    floor = variability.floor(table, reference).iloc[0]
    map_part = truth.PHI_S2S * np.sqrt(1 - truth.SITE_SHARES["nugget"])
    rows = [
        ("tau", truth.TAU, truth.PHI_SOURCE, effects.tau),
        ("phi_S2S of an unknown place", truth.PHI_NUGGET, map_part, effects.phi_s2s),
        ("its nugget", truth.PHI_NUGGET, 0.0, floor["nugget"]),
        ("phi_SS", truth.PHI_SS, truth.PHI_PATH, np.sqrt(within.mean())),
    ]
    return pd.DataFrame(
        [
            {"part": name, "planted": own, "with the unlearned": np.hypot(own, map_of), "found": found}
            for name, own, map_of, found in rows
        ]
    )


def site_terms(effects: RandomEffects, table: pd.DataFrame, nuggets: pd.Series) -> pd.DataFrame:
    """Site terms, mean of the members, against the planted nuggets, by the number of records.

    Parameters
    ----------
    table : pandas.DataFrame
        Partial ensembles.
    nuggets : pandas.Series
        By site id.
    """
    of_site = effects.mean_terms(SITE)
    trained = table[table["event_role"].eq("training") & table["site_role"].eq("training")]
    found = pd.DataFrame(
        {
            "term": of_site["term"],
            "stddev": of_site["stddev"],
            "planted": nuggets,
            "records": trained.drop_duplicates(["site_id", "event_id"]).groupby("site_id").size(),
        }
    ).dropna()
    grouped = scores.by_bin("records", CUTS)(found) | {"all": found}
    return pd.DataFrame([{"records": name} | _agreement(rows) for name, rows in grouped.items()])


def _agreement(rows: pd.DataFrame) -> dict[str, float]:
    term, planted = rows["term"] - rows["term"].mean(), rows["planted"] - rows["planted"].mean()
    return {
        "sites": len(rows),
        "correlation": float(np.corrcoef(term, planted)[0, 1]),
        "RMSE": float(np.sqrt(((term - planted) ** 2).mean())),
        "stated": float(np.sqrt((rows["stddev"] ** 2).mean())),
        "slope": float((term * planted).sum() / (planted**2).sum()),
    }


EXPLANATION = """\
*planted*: the standard deviation of the random part. *with the unlearned*: what a network would leave that
has learned nothing of the source-region term, the map part of the site term, or the path term. *found*: by
the run; tau and phi_S2S are those of its predictions, phi_SS the root mean square of what they say of a new
record at a known site, the nugget is that of the kriged residuals. Site terms (means of the members that
know the site) are compared with the planted nuggets, either less its mean: *stated* is their standard
deviation as the run says it, *slope* that of the term on the nugget.
"""


def main(
    path: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run with random effects on simulated records.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Score the random effects of a run on simulated records."""
    run = RunFolder.open(path)
    say_simulated(run.simulated)
    dataset, planted = dataset_and_truth(run)
    if run.experiment.random_effects == "none":
        raise UsageError(f"run {path} has no random effects: train one with --random-effects site,event")
    found, reference = random_effects.read(run.path), run.experiment.reference
    partial = run.with_places(scores.partial_ensembles(run.read_predictions()))
    site_of = dataset.stations.set_index("station_id")["site_id"]
    stem = out / f"random-effects-{'-'.join(run.experiment.networks)}"
    lines = [
        head(f"Random effects on simulated records: {', '.join(run.experiment.networks)}", of_run(run)),
    ]
    for im, effects in found.items():
        table = partial[partial["im"] == im]
        nuggets = planted.nuggets[im].groupby(site_of).first()
        results = {
            "sigma": ("standard deviations, ln units", sigma(effects, table, reference)),
            "terms": ("site terms against planted nuggets", site_terms(effects, table, nuggets)),
        }
        for name, (title, one) in results.items():
            show_table(f"{im}: {title} (simulated records)", one, FORMATS[name])
            formats = [FORMATS[name].get(column, "") for column in one]
            lines += [f"## {im}: {title}\n", one.to_markdown(index=False, floatfmt=formats) + "\n"]
    with files.whole_file(stem.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join([*lines, EXPLANATION]))
    console.print(f"Written: {stem}.md")


if __name__ == "__main__":
    run_script(main)
