"""Write the settings of a run as a file that ``tfgmm train --config`` reads."""

import json
from pathlib import Path
from typing import Any

from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder
from tfgmm.simulation import simulated


def options(experiment: Experiment) -> dict[str, Any]:
    """Return the options of ``tfgmm train`` that make an experiment, by name.

    Settings that are None, no limit, are 0.

    Parameters
    ----------
    experiment : Experiment
        Settings of a run.

    Returns
    -------
    dict
        Values of the options, numbers, texts and lists of texts.

    Examples
    --------
    >>> from tfgmm.runs.experiment import preset
    >>> options(preset("quick", networks=("kik",), reference="kik"))["max-events"]
    280
    """
    grid, network, training = experiment.grid, experiment.network, experiment.training
    values: dict[str, Any] = {
        "preset": experiment.preset,
        "data": experiment.data,
        "networks": [*experiment.networks],
        "reference": experiment.reference,
        "im": [*experiment.ims],
        "split": experiment.split.text,
        "chunks": experiment.chunks,
        "inits": experiment.inits,
        "stopping": experiment.stopping,
        "drop": [*experiment.drop],
        "backbone": experiment.backbone,
        "backbone-region": experiment.backbone_region,
        "field": "yes" if experiment.field else "no",
        "seed": experiment.seed,
        "crs": grid.crs,
        "center": [grid.longitude, grid.latitude],
        "pixel-km": grid.pixel_km,
        "input-size": grid.input_size,
    }
    for settings in (network, training):
        for name, value in settings.model_dump().items():
            values[name.replace("_", "-")] = 0 if value is None else value
    return {name: value for name, value in values.items() if value not in (None, [])}


def text(run: RunFolder) -> str:
    """Return the settings of a run as a file in TOML that ``tfgmm train --config`` reads.

    A run on records that were in memory names the copy of its dataset in the run folder.

    Parameters
    ----------
    run : RunFolder
        The run.

    Returns
    -------
    str
        Lines ``name = value``, with comments.
    """
    values = options(run.experiment)
    if run.experiment.data is None and run.data["digest"] != simulated.embedded().digest():
        values["data"] = str(run.data_folder)
    lines = [
        f"# Settings of the run {_commented(run.path)}, for tfgmm train --config FILE --out RUN.",
        "# Options on the command line win. Relative paths are relative to the working folder.",
        f"# Data hash of its records: {run.data['digest']}",
        *(f"{name} = {_toml(value)}" for name, value in values.items()),
    ]
    return "\n".join(lines) + "\n"


def _commented(path: Path) -> str:
    """Return a path as a part of one line, whatever characters it has."""
    return json.dumps(str(path), ensure_ascii=False)[1:-1]


def _toml(value: Any) -> str:
    """Return a value in TOML. Texts, numbers, lists and truth values are written as in JSON."""
    return json.dumps(value)
