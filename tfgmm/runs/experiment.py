"""Settings of a run, validated and serialisable, and their presets."""

import math
from datetime import UTC, date, datetime
from typing import Literal, Self

import numpy as np
import pydantic

from tfgmm.core import imt
from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid, check_size
from tfgmm.stats import tectonics


class FrozenSettings(pydantic.BaseModel):
    """Settings whose values cannot change; an unknown setting is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Split(FrozenSettings):
    """Choice of the validation events, which are held out from the training and scored.

    Attributes
    ----------
    kind : str
        ``time``: events with an origin time in [`start`, `end`) are validation events, all earlier and
        later events are training events. ``random-events``: a random share `fraction` of the events with
        records of the reference network are validation events. ``magnitude``: all events of magnitude
        `min_magnitude` or more, of all times, are validation events; networks train on smaller ones only.
    start, end : datetime.date
        Begin and end of the validation window, UTC; the end is excluded.
    fraction : float
        Share of the events, 0 to 1.
    min_magnitude : float
        Smallest magnitude of a validation event.
    """

    kind: Literal["time", "random-events", "magnitude"] = "time"
    start: date = date(2015, 1, 1)
    end: date = date(2018, 1, 1)
    fraction: float = pydantic.Field(0.2, gt=0, lt=1)
    min_magnitude: float = pydantic.Field(6.0, ge=-1, le=10, allow_inf_nan=False)

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        """Return this split; raise `ValueError` if `kind` is ``time`` and `start` is not before `end`."""
        if self.kind == "time" and self.start >= self.end:
            raise ValueError(f"the validation window is empty: {self.start} is not before {self.end}")
        return self

    def window(self) -> tuple[datetime, datetime]:
        """Return the begin and the end of the validation window, as two datetimes in UTC.

        Returns
        -------
        start, end : datetime.datetime
            Midnight of the dates `start` and `end`.
        """
        start, end = (datetime(d.year, d.month, d.day, tzinfo=UTC) for d in (self.start, self.end))
        return start, end

    @property
    def description(self) -> str:
        """Return in words which events are validation events, for the head of a report."""
        if self.kind == "time":
            return f"from {self.start} to {self.end} (excluded)"
        if self.kind == "random-events":
            return f"{100 * self.fraction:g} % of all, at random"
        return f"magnitude {self.min_magnitude:g} and above, of all times: none trains"

    @property
    def text(self) -> str:
        """Return the text that states the split, which `parse` reads.

        >>> Split(kind="magnitude").text
        'magnitude:6.0'
        """
        values = {
            "time": f"{self.start},{self.end}",
            "random-events": self.fraction,
            "magnitude": self.min_magnitude,
        }
        return f"{self.kind}:{values[self.kind]}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the split that a text states, as ``time:2015-01-01,2018-01-01`` or ``magnitude:6.0``.

        Parameters
        ----------
        text : str
            Kind and value of the split, divided by a colon.

        Returns
        -------
        Split
            The split.

        Raises
        ------
        UsageError
            The text is no split.
        """
        kind, _, value = text.partition(":")
        usage = "write time:FROM,TO (dates), random-events:FRACTION or magnitude:M"
        try:
            if kind == "time":
                start, _, end = value.partition(",")
                return cls(start=date.fromisoformat(start), end=date.fromisoformat(end))
            if kind == "random-events":
                return cls(kind="random-events", fraction=_between(value, 0, 1, "a share"))
            if kind == "magnitude":
                return cls(kind="magnitude", min_magnitude=_between(value, -1, 10, "a magnitude"))
        except ValueError as error:
            raise UsageError(f"--split {text}: {reason(error)}; {usage}") from error
        raise UsageError(f"--split {text}: {usage}")


def _between(text: str, low: float, high: float, what: str) -> float:
    """Return the number in a text; raise `ValueError` if it is none, or not between two numbers."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low < number < high:
        raise ValueError(f"{text or 'nothing'} is not {what} between {low} and {high}")
    return number


class Network(FrozenSettings):
    """Size and number format of the U-Net.

    Attributes
    ----------
    depth : int
        Number of levels below the first.
    base : int
        Number of filters of the first level, doubled at each level down.
    precision : str
        Number format of the convolutions; weights, the parameter map and the likelihood stay ``float32``.
        ``auto``: the fastest format of the device that trains.
    min_stddev : float
        Smallest standard deviation that the network predicts, ln units.
    """

    depth: int = pydantic.Field(3, ge=1, le=6)
    base: int = pydantic.Field(16, ge=1)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    min_stddev: float = pydantic.Field(0.05, gt=0)


class Training(FrozenSettings):
    """Settings of the training of a member, one network.

    Attributes
    ----------
    epochs : int
        Largest number of passes over the training events.
    max_steps : int or None
        Largest number of optimiser steps, rounded to whole epochs. More passes over many events do not
        improve the network, but memorise the training sites. 0 means no
        limit, for `patience` and `max_events` too.
    batch_size : int
        Events in one optimiser step.
    learning_rate : float
        Peak of the schedule: linear warm-up over the share `warmup` of all steps, then a cosine to zero.
    warmup : float
        Share of the steps in the warm-up, 0 to 1.
    patience : int or None
        Epochs without a smaller loss of the stopping records before the training ends; the weights of the
        best epoch are kept. None: all epochs are trained and the last weights are kept, because the few
        stopping sites and events distinguish between epochs by chance.
    clipnorm : float
        Largest global norm of a gradient.
    weight_decay : float
        Decoupled weight decay; 0 is Adam.
    weighting : str
        ``record``: all records have the same weight in the loss; ``event``: all events have the same
        weight; ``correlated``: all records have the same weight, and those of one event the correlation
        `tfgmm.stats.support.RHO`, so that an event's mean counts as that of few independent records.
    shift_pixels : int
        Largest random shift of the grid, pixels, drawn anew for every event and epoch.
    turns : bool
        Whether maps are turned by quarters and mirrored at random, anew for every event and epoch, which
        hides the direction to the source; only without site channels, which would not match their places.
    max_events : int or None
        Number of events with records of the reference network that are used, drawn at random; None: all.
        With a split by magnitude, it is the number of training events: the few large events are all scored.
    """

    epochs: int = pydantic.Field(20, ge=1)
    max_steps: int | None = pydantic.Field(None, ge=1)
    batch_size: int = pydantic.Field(4, ge=1)
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    warmup: float = pydantic.Field(0.1, ge=0, lt=1)
    patience: int | None = pydantic.Field(None, ge=1)
    clipnorm: float = pydantic.Field(1.0, gt=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    weighting: Literal["record", "event", "correlated"] = "record"
    shift_pixels: int = pydantic.Field(3, ge=0)
    turns: bool = False
    max_events: int | None = pydantic.Field(None, ge=10)

    @pydantic.field_validator("max_steps", "patience", "max_events", mode="before")
    @classmethod
    def _unlimited(cls, number: int | None) -> int | None:
        """Return None, no limit, for 0."""
        return None if number == 0 else number

    def epochs_of(self, steps: int) -> int:
        """Return the largest number of epochs of the training of a member.

        Parameters
        ----------
        steps : int
            Optimiser steps of one epoch.

        Returns
        -------
        int
            `epochs`, or fewer if `max_steps` allows fewer.
        """
        limit = self.epochs if self.max_steps is None else max(1, round(self.max_steps / steps))
        return min(self.epochs, limit)


class Experiment(FrozenSettings):
    """All settings of a run that are needed to repeat it.

    An arm is a set of input channels; a run has one arm, and studies add other arms for comparison. A
    member is one trained network of the ensemble: a chunk of stations that is held out, and an
    initialisation of the weights (init).

    Attributes
    ----------
    data : str or None
        Dataset folder; None stands for the embedded simulated records.
    networks : tuple of str
        Recording networks whose records train, the reference network among them.
    reference : str
        Recording network whose sites are drawn into chunks and whose records are scored.
    ims : tuple of str
        Intensity measures; one network predicts them all.
    drop : tuple of str
        Channels, or groups of channels (source, path, site), that are left out.
    preset : str
        Preset from which the settings were made.
    chunks, inits : int
        Number of station chunks and of initialisations; an ensemble has chunks times inits members.
    stopping : str
        Records that decide when the training of a member ends. ``sites``: the records of stopping events at
        training and stopping sites; stopping events and stopping sites do not train. ``blocks``: the same,
        with stopping events that follow each other in time. ``paper``: the records of the validation events
        at training sites.
    backbone : str
        Median of ln IM to which the network adds what the region has beyond it. ``auto``: published models,
        weighted and re-centred on the training records; the name of a published model: this model,
        re-centred; ``ergodic``: a regression fitted to the training records; ``none``: no backbone, the
        network predicts ln IM itself.
    backbone_region : str
        Region for which the published models have terms: ``japan``, ``california``, ``global``, ...;
        ``auto``: the region in which the centre of the map lies.
    field : bool
        Whether a Gaussian process of the residuals from the backbone (`tfgmm.stats.field`) holds the terms
        of events, sites, sources and paths, and the network learns what it cannot tell; it needs a
        backbone.
    seed : int
        Root of all random numbers.
    grid : Grid
        Map projection, input window and output window.
    split : Split
        Choice of the validation events.
    network : Network
        Size and number format of the U-Net.
    training : Training
        Settings of the training of a member.
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
    backbone: str = "none"
    backbone_region: str = "auto"
    field: bool = False
    seed: int = pydantic.Field(1, ge=0)
    grid: Grid = Grid()
    split: Split = Split()
    network: Network = Network()
    training: Training = Training()

    @pydantic.field_validator("ims")
    @classmethod
    def _canonical(cls, ims: tuple[str, ...]) -> tuple[str, ...]:
        """Return the intensity measures in one spelling, each once."""
        return tuple(dict.fromkeys(imt.canonical(name) for name in ims))

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Raise `UsageError` if the settings do not fit together; return the experiment."""
        if self.reference not in self.networks:
            raise UsageError(
                f"the reference network {self.reference} is not among the networks "
                f"{','.join(self.networks)}: add it, or name another with --reference"
            )
        if self.field and self.backbone == "none":
            raise UsageError(
                "the field is that of the residuals from a backbone, and --backbone none has none: give "
                "--field no with it"
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
        """Return the name of the arm (set of input channels), as in folder names and tables: ``drop-site``.

        It is ``all`` without dropped channels; ``-isotropic`` is added if maps are turned at random.
        """
        channels = "-".join(["drop", *sorted(self.drop)]) if self.drop else "all"
        return channels + "-isotropic" * self.training.turns

    @property
    def hides_vs30(self) -> bool:
        """Return True if Vs30 is left out of the channels; it is hidden from the backbone too."""
        return bool({"site", "vs30"} & set(self.drop))

    @property
    def region(self) -> str:
        """Return the region of the published models: `backbone_region`, or that of the map's centre.

        Raises
        ------
        UsageError
            There is no such region.
        """
        if self.backbone_region == "auto":
            return tectonics.region_at(self.grid.longitude, self.grid.latitude)
        if self.backbone_region not in ("global", *tectonics.REGIONS):
            raise UsageError(
                f"--backbone-region {self.backbone_region}: choose auto, global, "
                f"{', '.join(tectonics.REGIONS)}"
            )
        return self.backbone_region

    def without_site(self, isotropic: bool = False) -> Self:
        """Return the experiment without the site channels, whose networks cannot know the site.

        Parameters
        ----------
        isotropic : bool
            Whether maps are turned at random too, which hides the direction to the source: from it the
            network could guess the place of the site.

        Returns
        -------
        Experiment
            The changed experiment.

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

    def of_arm(self, name: str) -> Self:
        """Return the experiment of an arm of the run by its name.

        Parameters
        ----------
        name : str
            This experiment's own `arm`, or one of `without_site`.

        Returns
        -------
        Experiment
            This experiment, or the changed one.

        Raises
        ------
        UsageError
            The run has no such arm.
        """
        arms = {self.arm: self}
        if "site" not in self.drop:
            further = [self.without_site(isotropic) for isotropic in (False, True)]
            arms |= {one.arm: one for one in further}
        if name not in arms:
            raise UsageError(f"no arm {name}: choose {' or '.join(arms)}")
        return arms[name]

    def computed_in(self, precision: str) -> Self:
        """Return the experiment with another number format of the networks.

        Parameters
        ----------
        precision : str
            Number format, see `Network`.

        Returns
        -------
        Experiment
            The changed experiment.
        """
        return self.model_copy(update={"network": self.network.model_copy(update={"precision": precision})})

    def member_seed(self, chunk: int, init: int) -> int:
        """Return the seed of one member, derived from `seed`; it is the same in every arm.

        Parameters
        ----------
        chunk : int
            Chunk of held-out stations, from 0.
        init : int
            Initialisation of the network, from 0.

        Returns
        -------
        int
            Seed of the member.
        """
        return int(np.random.SeedSequence([self.seed, chunk, init]).generate_state(1)[0])


def reason(error: Exception) -> str:
    """Return the reason for which settings are refused, in one line.

    Parameters
    ----------
    error : Exception
        Error of the validation of the settings, or any other error.

    Returns
    -------
    str
        Setting and message, for each refused setting.
    """
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
        "backbone": "auto",
        "field": True,
        "training": {"epochs": 10, "max_events": 280, "patience": 6},
    },
    "standard": {
        "backbone": "auto",
        "field": True,
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
    """Return the settings without those whose value is None."""
    return {key: value for key, value in settings.items() if value is not None}


def preset(name: str, **changes) -> Experiment:
    """Return the experiment of a preset, with some settings changed.

    Parameters
    ----------
    name : str
        ``quick``, ``standard`` or ``paper``.
    **changes
        Attributes of `Experiment`. A dict changes single settings of a nested object; None leaves the
        value of the preset. The precision is ``auto`` if it is not given.

    Returns
    -------
    Experiment
        Validated settings.

    Raises
    ------
    UsageError
        The preset is unknown, the settings do not fit together, or the map projection distorts lengths
        in the input window by more than 1 %.
    """
    if name not in _PRESETS:
        raise UsageError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    merged: dict = {"preset": name, "network": {"precision": "auto"}}
    # A preset's field goes with a backbone; without one there is none unless it is asked for.
    without = {"field": False} if changes.get("backbone") == "none" else {}
    for source in (_PRESETS[name], without, changes):
        for key, value in _given(source).items():
            merged[key] = merged.get(key, {}) | _given(value) if isinstance(value, dict) else value
    try:
        grid, network = Grid(**merged.get("grid", {})), Network(**merged["network"])
        fitting = {"output_size": check_size(grid.input_size, network.depth)}
        grid.refuse_distortion()
        return Experiment(**merged | {"grid": grid.model_copy(update=fitting), "network": network})
    except pydantic.ValidationError as error:
        raise UsageError(reason(error)) from error
