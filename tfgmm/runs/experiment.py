"""The validated, serialisable description of a run, and its presets."""

from datetime import UTC, date, datetime
from typing import Literal, Self

import numpy as np
import pydantic

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid, check_size


class FrozenSettings(pydantic.BaseModel):
    """Settings that cannot change; an unknown name is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Split(FrozenSettings):
    """Choice of the events that validate.

    ``time``: those with an origin time in [start, end), everything before and after trains.
    ``random-events``: a random share `fraction` of all events.
    """

    kind: Literal["time", "random-events"] = "time"
    start: date = date(2015, 1, 1)
    end: date = date(2018, 1, 1)
    fraction: float = pydantic.Field(0.2, gt=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.kind == "time" and self.start >= self.end:
            raise ValueError(f"the validation window is empty: {self.start} is not before {self.end}")
        return self

    def window(self) -> tuple[datetime, datetime]:
        """Return the validation window in UTC."""
        start, end = (datetime(d.year, d.month, d.day, tzinfo=UTC) for d in (self.start, self.end))
        return start, end

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``time:2015-01-01,2018-01-01`` or ``random-events:0.2``."""
        kind, _, value = text.partition(":")
        usage = "write time:FROM,TO (dates) or random-events:FRACTION"
        try:
            if kind == "time":
                start, _, end = value.partition(",")
                return cls(start=date.fromisoformat(start), end=date.fromisoformat(end))
            if kind == "random-events":
                return cls(kind="random-events", fraction=float(value))
        except ValueError as error:
            raise UsageError(f"--split {text}: {reason(error)}; {usage}") from error
        raise UsageError(f"--split {text}: {usage}")


class Network(FrozenSettings):
    """Size and number format of the U-Net.

    ``base`` is the number of filters of the first level, doubled at each level down. With
    ``precision`` bfloat16 or float16 the convolutions compute in it; weights, the parameter map and the
    likelihood stay float32. ``auto`` is the fastest that the device of the training has.
    """

    depth: int = pydantic.Field(3, ge=1, le=6)
    base: int = pydantic.Field(16, ge=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    min_stddev: float = pydantic.Field(0.05, gt=0)


class Training(FrozenSettings):
    """Settings of the training of a member.

    Attributes
    ----------
    epochs : int
        At most so many passes over the training events.
    max_steps : int or None
        At most about so many optimiser steps, in whole epochs: more passes over more events do not
        teach more, they memorise the training sites.
    batch_size : int
        Events a step.
    learning_rate : float
        Peak of the schedule: linear warm-up over `warmup` of all steps, then a cosine to zero.
    warmup : float
        Share of the steps.
    patience : int or None
        Epochs without a better stopping loss before training ends; the best epoch's weights are kept. None:
        all epochs, and the last one's weights: a few stopping sites and events tell epochs apart by chance.
    clipnorm : float
        Largest global norm of a gradient.
    weight_decay : float
        Decoupled weight decay; 0 is Adam.
    weighting : str
        ``record``: every record weighs the same; ``event``: every event does.
    target : str
        ``im``: the network learns ln IM; ``residual``: ln IM minus the fitted ergodic median.
    shift_pixels : int
        The grid is shifted at random by up to so many pixels, anew for every event and epoch.
    turns : bool
        Maps are turned by quarters and mirrored at random, anew for every event and epoch, which hides
        the direction to the source; only without site channels, which would be turned off their place.
    max_events : int or None
        Train and score only so many events of the reference network, drawn at random.
    """

    epochs: int = pydantic.Field(20, ge=1)
    max_steps: int | None = pydantic.Field(None, ge=1)
    batch_size: int = pydantic.Field(4, ge=1)
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    warmup: float = pydantic.Field(0.1, ge=0, lt=1)
    patience: int | None = pydantic.Field(None, ge=1)
    clipnorm: float = pydantic.Field(1.0, gt=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    weighting: Literal["record", "event"] = "record"
    target: Literal["im", "residual"] = "im"
    shift_pixels: int = pydantic.Field(3, ge=0)
    turns: bool = False
    max_events: int | None = pydantic.Field(None, ge=10)

    def epochs_of(self, steps: int) -> int:
        """Return how many epochs, of `steps` optimiser steps each, a member is trained at most."""
        limit = self.epochs if self.max_steps is None else max(1, round(self.max_steps / steps))
        return min(self.epochs, limit)


class Experiment(FrozenSettings):
    """A run: everything that is needed to repeat it.

    Attributes
    ----------
    data : str or None
        Dataset folder; None stands for the embedded simulated records.
    networks : tuple of str
        Networks whose records train, the reference among them.
    reference : str
        Network whose sites are drawn into chunks and whose records are scored.
    ims : tuple of str
        Intensity measures; one ensemble each.
    drop : tuple of str
        Channels, or groups of channels (source, path, site), that are left out.
    chunks, inits : int
        Station chunks x initialisations: the members of an ensemble.
    stopping : str
        ``sites``: a stopping set of sites and events of its own; ``blocks``: the same, with events that
        follow each other in time; ``paper``: the validation events.
    random_effects : str
        ``none``: all variance is the network's; ``site,event``: the network learns what site and event
        terms leave, whose variances are estimated.
    seed : int
        Root of all random numbers.
    """

    data: str | None = None
    networks: tuple[str, ...]
    reference: str
    ims: tuple[str, ...] = ("PGA",)
    drop: tuple[str, ...] = ()
    preset: str = "standard"
    chunks: int = pydantic.Field(5, ge=2)
    inits: int = pydantic.Field(2, ge=1)
    stopping: Literal["sites", "blocks", "paper"] = "sites"
    random_effects: Literal["none", "site,event"] = "none"
    seed: int = pydantic.Field(1, ge=0)
    grid: Grid = Grid()
    split: Split = Split()
    network: Network = Network()
    training: Training = Training()

    @pydantic.field_validator("ims")
    @classmethod
    def _canonical(cls, ims: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(imt.canonical(name) for name in ims))

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.reference not in self.networks:
            raise UsageError(
                f"the reference network {self.reference} is not among the networks "
                f"{','.join(self.networks)}: add it, or name another with --reference"
            )
        if self.random_effects != "none" and self.stopping == "paper":
            raise UsageError(
                "random effects are estimated on the stopping set, which --stopping paper does without: "
                "give --random-effects none with it"
            )
        expected = check_size(self.grid.input_size, self.network.depth)
        if self.grid.output_size != expected:
            raise UsageError(
                f"a U-Net of depth {self.network.depth} turns {self.grid.input_size} pixels into "
                f"{expected}, not {self.grid.output_size}"
            )
        if self.training.turns and "site" not in self.drop:
            raise UsageError("maps can be turned only without the site channels: drop site as well")
        return self

    @property
    def arm(self) -> str:
        """Return the name of the set of channels in folder names and tables."""
        channels = "-".join(["drop", *sorted(self.drop)]) if self.drop else "all"
        return channels + "-isotropic" * self.training.turns

    def without_site(self, isotropic: bool = False) -> Self:
        """Return the experiment without the site channels, whose networks cannot know the site.

        Parameters
        ----------
        isotropic : bool
            Also hide the direction to the source, from which the network could guess the place.

        Raises
        ------
        UsageError
            This experiment has no site channels itself.
        """
        if "site" in self.drop:
            raise UsageError(
                "the run was trained without site channels: it has learned no site amplification"
            )
        training = self.training.model_copy(update={"turns": isotropic})
        return self.model_copy(update={"drop": (*self.drop, "site"), "training": training})

    def computed_in(self, precision: str) -> Self:
        """Return the experiment with another number format of the network."""
        return self.model_copy(update={"network": self.network.model_copy(update={"precision": precision})})

    def member_seed(self, chunk: int, init: int) -> int:
        """Derive the seed of one member from the root seed; it is the same in every arm."""
        return int(np.random.SeedSequence([self.seed, chunk, init]).generate_state(1)[0])


def reason(error: Exception) -> str:
    """Return why settings are refused, in one line."""
    if isinstance(error, pydantic.ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
    return str(error)


_PRESETS: dict[str, dict] = {
    "quick": {
        "inits": 1,
        "network": {"base": 8},
        # So few steps do not learn attenuation: start from the fitted ergodic median.
        "training": {"epochs": 10, "max_events": 280, "target": "residual", "patience": 6},
    },
    "standard": {
        "random_effects": "site,event",
        "stopping": "blocks",
        "training": {"max_steps": 4000},
    },
    "paper": {
        "inits": 10,
        "grid": {"pixel_km": 0.5, "input_size": 572, "output_size": 388},
        "network": {"depth": 4, "base": 64},
        "training": {"epochs": 100, "batch_size": 1, "patience": 10, "shift_pixels": 0},
    },
}
PRESETS = tuple(_PRESETS)


def _given(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if value is not None}


def preset(name: str, **changes) -> Experiment:
    """Make an experiment from a preset, with some settings changed.

    Parameters
    ----------
    name : str
        ``quick``, ``standard`` or ``paper``.
    **changes
        Fields of `Experiment`; a dict changes single fields of a nested settings object, None leaves
        the preset's value. Precision, if not given, is ``auto``.

    Raises
    ------
    UsageError
        Unknown preset, settings that do not fit together, or a map projection that is not true to
        scale over the input window.
    """
    if name not in _PRESETS:
        raise UsageError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    merged: dict = {"preset": name, "network": {"precision": "auto"}}
    for source in (_PRESETS[name], changes):
        for key, value in _given(source).items():
            merged[key] = merged.get(key, {}) | _given(value) if isinstance(value, dict) else value
    try:
        grid, network = Grid(**merged.get("grid", {})), Network(**merged["network"])
        fitting = {"output_size": check_size(grid.input_size, network.depth)}
        grid.refuse_distortion()
        return Experiment(**merged | {"grid": grid.model_copy(update=fitting), "network": network})
    except pydantic.ValidationError as error:
        raise UsageError(reason(error)) from error
