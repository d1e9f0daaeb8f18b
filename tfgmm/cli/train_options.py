"""The options of the command ``train``, in the panels of its help."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import tfgmm
from tfgmm.cli import options
from tfgmm.cli.configuration import read_configuration

if TYPE_CHECKING:
    from tfgmm.network.executors import Launch
    from tfgmm.runs.experiment import Experiment

_run = functools.partial(typer.Option, rich_help_panel="Run")
_data = functools.partial(typer.Option, rich_help_panel="Data and split")
_model = functools.partial(typer.Option, rich_help_panel="Model")
_training = functools.partial(typer.Option, rich_help_panel="Training")
_map = functools.partial(typer.Option, rich_help_panel="Map")
_launch = functools.partial(typer.Option, rich_help_panel="Where to train")

Config = Annotated[
    Path | None,
    _run(
        "--config",
        is_eager=True,
        callback=read_configuration,
        help="TOML file with options of this command, as pixel-km = 1.0; the command line wins. tfgmm show "
        "RUN --config FILE writes that of a run.",
    ),
]
Networks = Annotated[str, _data(help="Networks whose records form the training set, as kik,meso.")]
Data = Annotated[str | None, _data(help="Dataset folder (default: embedded simulated records).")]
Reference = Annotated[
    str | None,
    _data(help="Network whose sites are held out in chunks and scored (default: the first)."),
]
Preset = Annotated[str, _run(help="quick (minutes), standard, or paper (for GPUs).")]
Overwrite = Annotated[bool, _run("--overwrite", help="Replace the run folder if it exists.")]
RunOut = Annotated[Path | None, _run(help="Run folder (default: runs/NETWORKS-PRESET).")]
Split = Annotated[
    str | None,
    _data(
        help="Validation events: time:FROM,TO (TO excluded), random-events:SHARE, or magnitude:M (M and "
        "above, of all times) (default: time:2015-01-01,2018-01-01)."
    ),
]
Chunks = Annotated[
    int | None, _data(help="Number of chunks of reference sites; each chunk is held out once.")
]
Inits = Annotated[int | None, _model(help="Number of initialisations per chunk.")]
Chunk = Annotated[list[int] | None, _run(help="Train only this chunk now (counted from 0); repeatable.")]
Drop = Annotated[
    str | None,
    _data(help="Input channels, or groups of channels (source, path, site), to leave out."),
]
Backbone = Annotated[
    str | None,
    _model(
        help="Median to which the network adds. auto: published models, weighted and re-centred on the "
        "records (default of quick and standard); a model's NAME, as BSSA14; ergodic: a regression; none."
    ),
]
BackboneRegion = Annotated[
    str | None,
    _model(help="Region of the published models: auto (where the map is), japan, california, global, ..."),
]
Target = Annotated[str | None, typer.Option(hidden=True)]
Weighting = Annotated[
    str | None,
    _training(
        help="record: every record has the same weight; event: every event has; correlated: every record "
        "has, and the records of an event have a correlation of 0.3 in the loss."
    ),
]
ShiftPixels = Annotated[int | None, _training(help="Largest random shift of the grid in training, pixels.")]
Stopping = Annotated[
    str | None,
    _data(
        help="Records that decide when training ends. sites, or blocks (of consecutive events; default of "
        "standard): a separate set; paper: the validation events."
    ),
]
Field = Annotated[
    str | None,
    _model(
        help="yes: a Gaussian process of events, sites, sources and paths about the backbone (default of "
        "quick and standard); no."
    ),
]
RandomEffects = Annotated[str | None, typer.Option(hidden=True)]
MaxEvents = Annotated[
    int | None, _data(help="Largest number of events, drawn at random (0: all; default of quick: 280).")
]
MinStddev = Annotated[float | None, _model(help="Smallest sigma of a record that the network predicts.")]
MaxSteps = Annotated[
    int | None, _training(help="Largest number of training steps (0: no limit; default of standard: 4000).")
]
Warmup = Annotated[float | None, _training(help="Share of the steps in which the learning rate rises.")]
Clipnorm = Annotated[float | None, _training(help="Largest norm of a gradient.")]
WeightDecay = Annotated[float | None, _training(help="Decoupled weight decay (default: 0).")]
Turns = Annotated[
    bool | None,
    _training(help="Turn and mirror maps at random; only with --drop site (default: --no-turns)."),
]
Epochs = Annotated[int | None, _training(help="Largest number of passes over the training events.")]
BatchSize = Annotated[int | None, _training(help="Number of events per training step.")]
LearningRate = Annotated[float | None, _training(help="Largest learning rate of the schedule.")]
Patience = Annotated[
    int | None,
    _training(
        help="Epochs without a better stopping loss before training ends; the best weights are kept "
        "(0: all epochs are trained, the last weights kept; default of standard)."
    ),
]
Im = Annotated[
    list[str] | None,
    _data(
        help="Intensity measure, PGA, PGV or SA(T), T in s, repeatable; all or spectrum: every one of the "
        "data. One network predicts them all (default: PGA)."
    ),
]
Base = Annotated[int | None, _model(help="Number of filters of the first level of the U-Net.")]
Depth = Annotated[int | None, _model(help="Number of levels of the U-Net.")]
Precision = Annotated[
    str | None,
    _training(help="float32, bfloat16 or float16 (default: the fastest on the processor or GPU)."),
]
Crs = Annotated[str | None, _map(help="Metric map projection (default: EPSG:6677, Kanto).")]
Center = Annotated[str | None, _map(help="Centre of the map, LON,LAT (default: 139.95,35.75).")]
PixelKm = Annotated[float | None, _map(help="Side of a pixel, km.")]
InputSize = Annotated[int | None, _map(help="Number of pixels along a side of the input maps.")]
Seed = Annotated[int | None, _training(help="Seed of all random numbers.")]

Executor = Annotated[
    str | None,
    _launch(
        help="Where members are trained: local (processes on this machine), dask, slurm (default: local; "
        "with one worker this process itself)."
    ),
]
Workers = Annotated[
    int | None,
    _launch(help="Members trained at a time (default: one per GPU of --gpus, or per 4 cores)."),
]
Threads = Annotated[int | None, _launch(help="Threads of each worker (default: cores / workers).")]
Gpus = Annotated[
    str | None,
    _launch(help="GPUs that local workers share out, as 0,1; with slurm the number per job, as 1."),
]
MemoryGb = Annotated[float | None, _launch(help="Largest memory of each worker, GB.")]
Retries = Annotated[int, _launch(help="Times that a killed member is tried again.")]
Address = Annotated[
    str | None,
    _launch(help="Dask scheduler, tcp://HOST:PORT (default: a cluster of this machine)."),
]
Partition = Annotated[str | None, _launch(help="Partition of Slurm.")]
Minutes = Annotated[int, _launch(help="Time limit of a job of Slurm, after which it goes on anew.")]
Begin = Annotated[
    bool, _launch("--begin", help="Make the run folder and end; tfgmm stage trains its members.")
]


def launch_options(
    executor: Executor = None,
    workers: Workers = None,
    threads: Threads = None,
    gpus: Gpus = None,
    memory_gb: MemoryGb = None,
    retries: Retries = 2,
    address: Address = None,
    partition: Partition = None,
    minutes: Minutes = 240,
    begin: Begin = False,
) -> None:
    """Declare the options of the command ``train`` that say where, as parameters for `options.taking`."""


def train_options(
    networks: Networks,
    config: Config = None,
    preset: Preset = "standard",
    out: RunOut = None,
    overwrite: Overwrite = False,
    chunk: Chunk = None,
    data: Data = None,
    im: Im = None,
    reference: Reference = None,
    split: Split = None,
    chunks: Chunks = None,
    stopping: Stopping = None,
    max_events: MaxEvents = None,
    drop: Drop = None,
    backbone: Backbone = None,
    backbone_region: BackboneRegion = None,
    field: Field = None,
    inits: Inits = None,
    base: Base = None,
    depth: Depth = None,
    min_stddev: MinStddev = None,
    target: Target = None,
    random_effects: RandomEffects = None,
    epochs: Epochs = None,
    max_steps: MaxSteps = None,
    patience: Patience = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    warmup: Warmup = None,
    clipnorm: Clipnorm = None,
    weight_decay: WeightDecay = None,
    weighting: Weighting = None,
    shift_pixels: ShiftPixels = None,
    turns: Turns = None,
    precision: Precision = None,
    seed: Seed = None,
    crs: Crs = None,
    center: Center = None,
    pixel_km: PixelKm = None,
    input_size: InputSize = None,
) -> None:
    """Declare the options of the command ``train``, as parameters for `options.taking`."""


def launch_of(settings: dict[str, Any]) -> "Launch":
    """Take the options that say where members are trained out of the options of ``train``.

    Parameters
    ----------
    settings : dict
        Options by name; those of `launch_options`, but ``begin``, are removed.

    Returns
    -------
    Launch
    """
    from tfgmm.network.executors import Launch

    settings["gpus"] = options.names(settings["gpus"]) or ()
    return Launch(**{field.name: settings.pop(field.name) for field in dataclasses.fields(Launch)})


def experiment_of(*, networks, im, drop, center, **settings) -> "Experiment":
    """Return the settings of a run that the other options of ``train`` state."""
    options.one_of(settings["field"], ("yes", "no"), "--field")
    return tfgmm.experiment(
        options.names(networks),
        ims=im,
        drop=options.names(drop),
        center=options.numbers(center, 2, "--center"),
        **settings,
    )
