#!/usr/bin/env python
"""Score the field of a run on simulated records against what is planted."""

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
from tfgmm.evaluation import scores
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import truth
from tfgmm.stats.backbone import MedianTables
from tfgmm.stats.field import Field
from tfgmm.stats.field_covariance import Covariance
from tfgmm.stats.field_records import Cells

#: Numbers of records between which station terms are compared.
CUTS = (10, 30, 100)
#: PGA in g on rock, low enough for the linear site response.
WEAK_G = 0.01
FORMATS = {
    "sigma": dict.fromkeys(["planted", "all records", "mean", "lowest", "highest"], ".3f"),
    "terms": {"sites": "d"} | dict.fromkeys(["correlation", "RMSE", "stated", "slope"], ".2f"),
}


def planted_values() -> dict[str, float]:
    """Standard deviations in ln units, and ranges in km, by name."""
    on_map = truth.PHI_S2S * np.sqrt(1 - truth.SITE_SHARES["nugget"])
    return {
        "tau": truth.TAU,
        "phi_S2S": truth.PHI_S2S,
        "its own part": truth.PHI_NUGGET,
        "its shared part": on_map,
        "source": truth.PHI_SOURCE,
        "path": truth.PHI_PATH,
        "phi_P2P": np.hypot(truth.PHI_SOURCE, truth.PHI_PATH),
        "phi_SS": truth.PHI_SS,
        "range of sites [km]": truth.SITE_RANGE_KM,
        "range of sources [km]": truth.SOURCE_RANGE_KM,
        "range of paths [km]": truth.PATH_RANGES_KM[1],
    }


def found_values(fitted: Covariance) -> dict[str, float]:
    """The same of a fitted covariance; phi_P2P is source and path terms together."""
    parts = fitted.stddevs
    return {
        "tau": parts["tau"],
        "phi_S2S": parts["phi_s2s"],
        "its own part": np.sqrt(fitted.site_own),
        "its shared part": np.sqrt(fitted.site_shared),
        "source": parts["source"],
        "path": parts["path"],
        "phi_P2P": np.hypot(parts["source"], parts["path"]),
        "phi_SS": parts["phi_ss"],
        "range of sites [km]": fitted.site_km,
        "range of sources [km]": fitted.source_km,
        "range of paths [km]": fitted.path_km,
    }


def sigma(of_all: Covariance, of_chunks: list[Covariance]) -> pd.DataFrame:
    """Planted standard deviations and ranges beside those of all records and of the chunks."""
    chunks = pd.DataFrame([found_values(one) for one in of_chunks])
    table = pd.DataFrame(
        {
            "planted": planted_values(),
            "all records": found_values(of_all),
            "mean": chunks.mean(),
            "lowest": chunks.min(),
            "highest": chunks.max(),
        }
    )
    return table.rename_axis("part").reset_index()


def site_terms(field: Field, backbone: MedianTables, vs30, planted: pd.Series) -> pd.DataFrame:
    """Site terms of backbone and field at stations against the planted ones, by the number of records.

    Parameters
    ----------
    vs30 : array_like, [station]
        m/s at the stations of the records; NaN where unknown.
    planted : pandas.Series
        Site term by station id, ln units.
    """
    records = field.records
    count = len(records.station_ids)
    cells = Cells(np.zeros((count, 3)), records.station_km, np.full(count, -1), records.site)
    parts = field.parts(cells)
    known = np.where(np.isnan(vs30), backbone.vs30_m_s, vs30)
    response = backbone.site.amplification(known, np.full(count, np.log(WEAK_G)))
    found = pd.DataFrame(
        {
            "site": records.site,
            "term": response + parts["site_own"] + parts["site_shared"],
            "stddev": np.sqrt(field.site_variance(cells)),
            "planted": planted.reindex(records.station_ids).to_numpy(),
            "records": np.bincount(records.site[records.station], minlength=count)[records.site],
        }
    ).drop_duplicates("site")
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
*planted*: standard deviation in the simulated records. *all records*: of the field on which predictions are
based; *mean*, *lowest*, *highest*: over the fields of the chunks. The backbone may hold a share of the
planted terms, as of site terms by Vs30. Site terms of all records, with the site response of the backbone,
are compared with the planted ones, either less its mean: *stated* is their standard deviation as the field
says it, *slope* that of the term on the planted one.
"""


def main(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="Run with the field on simulated records.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("docs/results"),
) -> None:
    """Score the field of a run on simulated records."""
    run = RunFolder.open(path)
    say_simulated(run.simulated)
    dataset, planted = dataset_and_truth(run)
    if not run.experiment.field:
        raise UsageError(f"run {path} has no field: train one with --field yes")
    stations = dataset.stations.set_index("station_id")
    lines = [head(f"Field on simulated records: {', '.join(run.experiment.networks)}", of_run(run))]
    for im in run.experiment.ims:
        field = run.field(im)
        chunks = sorted({chunk for chunk, _ in run.trained(im)})
        of_chunks = [run.field(im, chunk).covariance for chunk in chunks]
        on_map = planted.site_map(im, stations["longitude"], stations["latitude"])
        terms = pd.Series(on_map, stations.index) + planted.nuggets[im]
        vs30 = run.stations(field.records.station_ids)["vs30"]
        of_sites = site_terms(field, run.whole_backbone(im), vs30, terms)
        results = {
            "sigma": ("standard deviations, ln units, and ranges", sigma(field.covariance, of_chunks)),
            "terms": ("site terms against planted ones", of_sites),
        }
        for name, (title, one) in results.items():
            show_table(f"{im}: {title} (simulated records)", one, FORMATS[name])
            formats = [FORMATS[name].get(column, "") for column in one]
            lines += [f"## {im}: {title}\n", one.to_markdown(index=False, floatfmt=formats) + "\n"]
    page = out / f"field-{'-'.join(run.experiment.networks)}.md"
    with files.whole_file(page) as temporary:
        temporary.write_text("\n".join([*lines, EXPLANATION]))
    console.print(f"Written: {page}")


if __name__ == "__main__":
    run_script(main)
