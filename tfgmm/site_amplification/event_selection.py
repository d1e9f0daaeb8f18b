"""Which events a map is averaged over."""

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import pandas as pd
import pydantic

from tfgmm.core.errors import UsageError
from tfgmm.core.grid import Grid
from tfgmm.runs.experiment import Settings, reason

_USAGE = (
    "write role:validation, role:training or role:all, magnitude:FROM,TO, distance:FROM,TO (km from the "
    "centre of the map) or region:WEST,SOUTH,EAST,NORTH"
)


class Selection(Settings):
    """Limits of events; both ends belong to a range.

    Attributes
    ----------
    role : str
        ``validation``, ``training`` (with those that stop training) or ``all``.
    magnitude, distance : (float, float), optional
        Moment magnitude; epicentral distance from the centre of the map, km.
    region : (float, float, float, float), optional
        West, south, east, north, degrees.
    """

    role: Literal["validation", "training", "all"] = "validation"
    magnitude: tuple[float, float] | None = None
    distance: tuple[float, float] | None = None
    region: tuple[float, float, float, float] | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read ``role:all``, ``magnitude:5,7``, ``distance:0,100``, ``region:139,35,141,36``.

        Raises
        ------
        UsageError
            A text is none of these.
        """
        given = {}
        for text in texts:
            name, _, value = text.partition(":")
            given[name.strip()] = value.strip() if name.strip() == "role" else value.split(",")
        try:
            return cls(**given)
        except pydantic.ValidationError as error:
            raise UsageError(f"--events {' '.join(texts)}: {reason(error)}; {_USAGE}") from error

    def of(self, events: pd.DataFrame, validates: Sequence[str], grid: Grid) -> pd.DataFrame:
        """The events within the limits, in the order of their times.

        Parameters
        ----------
        events : pandas.DataFrame
            Of a dataset.
        validates : sequence of str
            Ids of the validation events.
        grid : Grid

        Raises
        ------
        UsageError
            There are fewer than two.
        """
        keep = np.ones(len(events), bool)
        if self.role != "all":
            keep &= events["event_id"].isin(validates) == (self.role == "validation")
        if self.magnitude:
            keep &= events["magnitude"].between(*self.magnitude)
        if self.distance:
            x, y = grid.project(events["longitude"], events["latitude"])
            keep &= (np.hypot(x, y) >= self.distance[0]) & (np.hypot(x, y) <= self.distance[1])
        if self.region:
            west, south, east, north = self.region
            keep &= events["longitude"].between(west, east) & events["latitude"].between(south, north)
        if keep.sum() < 2:
            raise UsageError(
                f"{keep.sum()} of {len(events)} events are {self}: at least 2 are needed, "
                "choose others with --events"
            )
        return events[keep].sort_values("origin_time", ignore_index=True)

    def __str__(self) -> str:
        """In words, for titles and attributes."""
        parts = ["of any role" if self.role == "all" else f"{self.role} events"]
        parts += [f"magnitude {self.magnitude[0]:g} to {self.magnitude[1]:g}"] if self.magnitude else []
        distance = self.distance
        parts += [f"{distance[0]:g} to {distance[1]:g} km from the centre"] if distance else []
        parts += ["in the region " + ",".join(f"{n:g}" for n in self.region)] if self.region else []
        return ", ".join(parts)
