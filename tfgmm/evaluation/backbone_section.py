"""Section of an evaluation on the backbone: which published models it took and why, and what is assumed."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfgmm.evaluation.scored_run import ScoredRun
from tfgmm.evaluation.sections import Section
from tfgmm.stats.backbone import Backbone, averaged_report
from tfgmm.stats.support import Shrinkage

NAME, TITLE = "backbone", "Backbone"
#: Name of the row on the weighted and re-centred models together.
RECENTRED = "weighted and re-centred"
_STDDEVS = {"tau": "tau", "phi_s2s": "phi_S2S", "phi_ss": "phi_SS"}


def backbone_sections(scored: ScoredRun) -> Iterator[Section]:
    """Yield the report section on the backbone of a run; nothing for a run without backbone.

    Parameters
    ----------
    scored : ScoredRun
        The run with all predictions of its records.

    Yields
    ------
    Section
        A row per intensity measure, tectonic class and published model, averaged over the station chunks,
        and a row on what was made of them.
    """
    run = scored.run
    if run.experiment.backbone == "none":
        return
    fitted = {im: list(run.backbones(im).values()) for im in run.experiment.ims}
    fitted = {im: backbones for im, backbones in fitted.items() if backbones}
    if not fitted:  # networks of version 0.1 hold their regression themselves
        return
    table = pd.concat([tabulate(im, backbones) for im, backbones in fitted.items()], ignore_index=True)
    shrinkages = {im: run.shrinkage(im) for im in fitted}
    yield Section(NAME, TITLE, _text(fitted, shrinkages), table, _format(table))


def tabulate(im: str, backbones: list[Backbone]) -> pd.DataFrame:
    """Return the report on the published models of one intensity measure, and a row on the backbone itself.

    Parameters
    ----------
    im : str
        Intensity measure.
    backbones : list of Backbone
        Backbones of the station chunks.

    Returns
    -------
    pandas.DataFrame
        Result of `tfgmm.stats.backbone.averaged_report`; in the last row tau, phi_S2S and phi_SS of the
        backbones, ln units.
    """
    stddevs = np.mean([one.stddevs[one.ims.index(im)] for one in backbones], axis=0)
    whole = pd.DataFrame([dict(zip(_STDDEVS, stddevs, strict=True))])
    whole = whole.assign(im=im, tectonic_class="all", model=RECENTRED, chunks=len(backbones))
    report = averaged_report(backbones)
    return pd.concat([report[report["im"] == im], whole], ignore_index=True)


def _text(fitted: dict[str, list[Backbone]], shrinkages: dict[str, Shrinkage | None]) -> str:
    """Return the explanation of the table, with region, truncation, assumptions and shrinkage."""
    first = next(iter(fitted.values()))[0]
    if first.hypocentral:
        text = (
            "An ergodic regression, fitted to the training records of each chunk; values are means over "
            "the chunks. tau, phi_S2S and phi_SS: what it leaves, before any network. "
        )
    else:
        text = (
            f"Published models of the region {first.region}, fitted to the training records of each chunk; "
            "values are means over the chunks. Bias of each model as published, and RMSE about the bias, "
            "with the site response of the backbone (ln units); tau, phi_S2S and phi_SS: what is left "
            f"after re-centring, before any network. Row '{RECENTRED}': the backbone itself. "
        )
    if first.listing is not None:
        text += (
            "The records are truncated: half of those with a PGA of "
            f"{np.exp(first.listing.level):.2g} g are listed (spread {first.listing.spread:g} ln units), "
            "which the fit allows for. "
        )
    for im, shrinkage in shrinkages.items():
        if shrinkage is not None:
            text += (
                f"{im}: {shrinkage.share(0.0):.0%} (without support) to {shrinkage.full_share:.0%} of what "
                f"the networks say is added, half of the rise at {shrinkage.n0:.1f} records; prior "
                f"standard deviation of it {np.sqrt(shrinkage.variance_u):.2f}. "
            )
    return text + "Assumed: " + "; ".join(first.assumptions) + "."


def _format(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as texts, with blank cells where there is no value."""
    formats = {"weight": "{:.2f}", "bias": "{:+.2f}", "rmse": "{:.2f}"} | dict.fromkeys(_STDDEVS, "{:.2f}")
    texts = {
        name: table[name].map(form.format).where(table[name].notna(), "") for name, form in formats.items()
    }
    shown = table[["im", "tectonic_class", "model"]].assign(**texts, note=table["note"].fillna(""))
    shown = shown if table["im"].nunique() > 1 else shown.drop(columns="im")
    return shown.rename(columns={"tectonic_class": "class", "rmse": "RMSE"} | _STDDEVS)
