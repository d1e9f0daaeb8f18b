"""What a reviewer asks of a run: a table and a figure a question."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tfgmm.core import drawing
from tfgmm.evaluation import (
    comparison,
    figures,
    probabilistic,
    published,
    residual_figures,
    residual_sections,
    scores,
)
from tfgmm.evaluation.scored import Scored
from tfgmm.evaluation.section import HELD_OUT, Section, wide
from tfgmm.stats import calibration

DISTANCE_KM, MAGNITUDE = (50, 100, 150, 200), (5, 5.5, 6)
#: Share of records that the 90 % intervals may miss it by, before more sites are asked for.
WANTED_HALF_WIDTH = 0.05


def all_of(scored: Scored) -> Iterator[Section]:
    """All sections, the most asked for first; each is computed when its turn comes."""
    ims = list(scored.run.experiment.ims)
    yield four_way(scored)
    for im in ims:
        yield _four_cells(scored, im)
        yield _full_ensemble(scored, im)
    found = probabilistic.score(scored.models, scores.by_cell(scored.reference))
    yield probabilistic_scores(scored, found)
    for im in ims:
        yield _coverage(scored, found, im)
        yield _pit(scored, im)
    yield from _binned_scores(scored)
    if scored.models["model"].nunique() > 1:
        yield differences(scored)
    if len(scored.published):
        yield published_models(scored)
    yield from residual_sections.all_of(scored)


def four_way(scored: Scored) -> Section:
    """RMSE of known and unknown sites and events, beside the publication's."""
    table = scores.four_way(scored.models, scored.reference)
    networks = scored.run.experiment.networks
    together = comparison.side_by_side({"": table}, {"": networks}).drop(columns="run")
    text = (
        "RMSE of ln IM: mean and standard deviation over the partial ensembles, then pooled. z is the "
        "residual over the predicted standard deviation. Four cells hold records of network "
        f"{scored.reference} only, the same for every model."
    )
    if together["published_rmse"].notna().any():
        text += f" Published: {published.SOURCE}; other records, so only the pattern compares."
    return Section("four_way", "Four-way table", text, together, _lines(together))


def _lines(table: pd.DataFrame) -> pd.DataFrame:
    """A line a measure and cell, and a line a model below it."""
    lines = []
    several = table["im"].nunique() > 1
    for (im, cell), rows in table.groupby(["im", "cell"], sort=False, observed=True):
        lines += [{"sites / events": f"{im}, {cell}" if several else cell}]
        lines += [_line(row) for _, row in rows.iterrows()]
    return pd.DataFrame(lines).fillna("").dropna(axis=1, how="all")


def _line(row: pd.Series) -> dict[str, str]:
    line = {
        "sites / events": f"  {row['model']}",
        "RMSE (chunks)": _with_spread(row["rmse"], row["rmse_std"]),
        "pooled": f"{row['rmse_pooled']:.3f}",
        "bias": f"{row['bias']:+.3f}",
        "z mean": f"{row['z_mean']:+.2f}",
        "z std": f"{row['z_std']:.2f}",
        "records": f"{row['records']:,}",
    }
    if not np.isnan(row["published_rmse"]):
        line["published"] = _with_spread(row["published_rmse"], row["published_rmse_std"])
    return line


def _with_spread(value: float, spread: float) -> str:
    return f"{value:.3f}" if np.isnan(spread) else f"{value:.3f} ± {spread:.3f}"


def _four_cells(scored: Scored, im: str) -> Section:
    rows = scored.ensemble[scored.ensemble["im"] == im]
    return Section(
        f"standardised_residuals_{im}",
        f"Standardised residuals of ln {im} in the four cells",
        "Partial ensembles, each predicting sites that it never saw (published Figures 6 and 7).",
        draw=lambda: figures.four_cells(rows, scored.reference, f"{im}, {scored.note}"),
    )


def _full_ensemble(scored: Scored, im: str) -> Section:
    full, partial = (table[table["im"] == im] for table in (scored.full, scored.ensemble))
    z = (full["ln_im"] - full["mean"]) / full["stddev"]
    return Section(
        f"full_ensemble_{im}",
        f"Standardised residuals of ln {im}: full ensemble and out of fold",
        f"The full ensemble (published Figure 5; standard deviation here {z.std():.2f}, published "
        f"{published.FULL_ENSEMBLE_Z_STD:.2f} for PGA in the Kanto basin) mixes networks that trained on a "
        "record with networks that did not. The distribution out of fold is the honest one.",
        draw=lambda: residual_figures.standardised(full, partial, scored.reference, f"{im}, {scored.note}"),
    )


def probabilistic_scores(scored: Scored, found: pd.DataFrame) -> Section:
    """Log score, CRPS, coverage and the rest, with intervals, and who is over-confident."""
    verdicts = probabilistic.confidence(found)
    said = [
        f"{row['model']}, {row['cell']} ({row['im']}): {row['verdict']}; {row['why']}."
        for row in verdicts[verdicts["model"].str.startswith(scores.ENSEMBLE)].to_dict("records")
    ]
    said += _sites_needed(found)
    text = (
        "Each with its 90 % interval by a two-way bootstrap over events and sites. "
        "NLL, CRPS: the smaller the better; coverage of the central 90 % interval should be 0.9, the "
        "standard deviation of z 1. " + (" ".join(said) or "No cell of the ensemble is over-confident.")
    )
    statistics = ["RMSE", "bias", "z std", "NLL", "CRPS", "coverage 90%"]
    shown = wide(found, ["im", "cell", "model"], statistics)
    return Section("scores", "Scores of the predicted distributions", text, found, shown)


def _sites_needed(found: pd.DataFrame) -> list[str]:
    """Where the coverage of the ensemble is not known well enough, and how many sites would do."""
    rows = found[
        found["model"].str.startswith(scores.ENSEMBLE)
        & found["cell"].isin(["training / validation", HELD_OUT])
        & (found["statistic"] == "coverage 90%")
    ]
    half = rows["high"].sub(rows["value"]).combine(rows["value"].sub(rows["low"]), max)
    needed = np.ceil(rows["sites"] * (half / WANTED_HALF_WIDTH) ** 2)
    return [
        f"{row.model}, {row.cell} ({row.im}): the 90 % coverage is known to {width:.1%} with {row.sites} "
        f"sites; to {WANTED_HALF_WIDTH:.0%} it would take about {count:.0f} if their terms are the reason."
        for row, width, count in zip(rows.itertuples(), half, needed, strict=True)
        if width > WANTED_HALF_WIDTH
    ]


def _coverage(scored: Scored, found: pd.DataFrame, im: str) -> Section:
    rows = found[(found["im"] == im) & (found["cell"] == HELD_OUT)]

    def draw() -> plt.Figure:
        with mpl.rc_context(drawing.STYLE):
            figure, ax = plt.subplots(figsize=(4.6, 3.8))
            residual_figures.coverage(ax, rows)
            figure.suptitle(f"{im}, {scored.note}", fontsize=10)
        return figure

    return Section(
        f"coverage_{im}",
        f"Coverage of central intervals of ln {im}, held-out sites and validation events",
        "On the dashed line a model says how sure it may be; below it, it is over-confident.",
        draw=draw,
    )


def _pit(scored: Scored, im: str) -> Section:
    held_out = scored.models[
        scored.models["model"].str.startswith(scores.ENSEMBLE) & (scored.models["im"] == im)
    ]
    rows = scores.cells(held_out, scored.reference)[HELD_OUT]
    histograms = {model: probabilistic.pit_histogram(of) for model, of in rows.groupby("model", sort=False)}
    table = pd.concat([one.assign(im=im, model=model) for model, one in histograms.items()])

    def draw() -> plt.Figure:
        with mpl.rc_context(drawing.STYLE):
            figure, axes = plt.subplots(1, len(histograms), figsize=(7.2, 2.8), sharey=True, squeeze=False)
            for ax, (model, one) in zip(axes.flat, histograms.items(), strict=True):
                residual_figures.pit_histogram(ax, one)
                ax.set_title(model)
                ax.label_outer()
            axes.flat[0].legend(frameon=False, fontsize=7)
            figure.suptitle(f"{im}, {scored.note}", fontsize=10)
        return figure

    return Section(
        f"pit_{im}",
        f"Probability integral transform of ln {im}, held-out sites and validation events",
        "Flat if calibrated; high at both ends if over-confident. The band holds all bins at once with "
        "90 % probability.",
        table,
        draw=draw,
    )


def _binned_scores(scored: Scored) -> Iterator[Section]:
    ensemble = scored.models[scored.models["model"].str.startswith(scores.ENSEMBLE)]
    for name, column, cuts in (
        ("distance", "r_hyp_km", DISTANCE_KM),
        ("magnitude", "magnitude", MAGNITUDE),
    ):
        groups = scores.by_cell(scored.reference, **{column: scores.bins(column, cuts)})
        found = probabilistic.score(ensemble, groups)
        held_out = found[found["cell"] == HELD_OUT]
        yield Section(
            f"scores_by_{name}",
            f"Scores by {name}, held-out sites and validation events",
            "The other cells are in the CSV file.",
            found,
            wide(held_out, ["im", column, "model"], ["RMSE", "bias", "z std", "CRPS", "coverage 90%"]),
        )


def differences(scored: Scored) -> Section:
    """The ensemble minus each other model on the same records."""
    models = scored.models[~scored.models["model"].str.endswith(calibration.CALIBRATED)]
    models = models[models["network"] == scored.reference]
    found = comparison.between_models(models, scores.ENSEMBLE, scores.by_cell(scored.reference))
    return Section(
        "differences",
        f"{scores.ENSEMBLE} minus each baseline, on the same records",
        "Negative: the ensemble is better. 90 % intervals by the two-way bootstrap, paired.",
        found,
        wide(found, ["im", "cell", "model"], ["RMSE", "CRPS", "NLL"]),
    )


def published_models(scored: Scored) -> Section:
    """Ergodic models of the literature, as published and re-centred."""
    columns = ["im", "cell", "model", "rmse_pooled", "bias", "z_std"]
    found = scores.four_way(scored.published, scored.reference)
    found = found[found["cell"].isin([f"{site} / {event}" for site, event in scores.CELLS])]
    shown = found[columns].assign(
        **{
            name: found[name].map(form.format)
            for name, form in (("rmse_pooled", "{:.3f}"), ("bias", "{:+.3f}"), ("z_std", "{:.2f}"))
        }
    )
    worst = "; ".join(
        f"{row['model']} ({row['im']}) {row['outside_range']:.0%}"
        for row in scored.ranges.to_dict("records")
    )
    return Section(
        "published_models",
        "Published ergodic models on the same records",
        "As published, and with a constant fitted to each fold's training records. Rupture distance is "
        f"taken as hypocentral. Records outside a model's stated range: {worst}.",
        found,
        shown,
    )
