"""Counts of the events, stations and records that a reader reads, and of those it drops, with reasons."""

import dataclasses

from tfgmm.core.errors import counted
from tfgmm.core.shown import Shown


@dataclasses.dataclass(repr=False)
class Tally(Shown):
    """Counts of the rows that a reader has read and dropped, with the reasons.

    Attributes
    ----------
    read : dict of str to int
        Number of rows read, by kind: ``event``, ``station``, ``record``.
    """

    read: dict[str, int] = dataclasses.field(default_factory=dict)
    _dropped: dict[tuple[str, str], tuple[int, list[str]]] = dataclasses.field(default_factory=dict)

    def _facts(self) -> dict[str, str]:
        """Return the numbers of rows read, and of rows left out with each reason."""
        read = [counted(number, what) for what, number in self.read.items()]
        dropped = [f"{counted(row['count'], row['what'])} ({row['reason']})" for row in self.dropped()]
        return {"read": ", ".join(read) or "nothing", "left out": ", ".join(dropped) or "nothing"}

    def count(self, what: str, number: int) -> None:
        """Add a number to the count of rows read of one kind.

        Parameters
        ----------
        what : str
            Kind of the rows: ``event``, ``station`` or ``record``.
        number : int
            Number of rows to add.
        """
        self.read[what] = self.read.get(what, 0) + int(number)

    def drop(self, what: str, reason: str, names) -> None:
        """Add rows dropped for one reason to the counts; keep the first three names as examples.

        Parameters
        ----------
        what : str
            Kind of the rows: ``event``, ``station``, ``record``, ``value``, ...
        reason : str
            Why the rows were dropped.
        names : iterable
            Names of the dropped rows; their number is added to the count.
        """
        count, examples = self._dropped.get((what, reason), (0, []))
        for name in names:  # one at a time: of millions three are kept
            count += 1
            if len(examples) < 3:
                examples.append(str(name))
        self._dropped[what, reason] = count, examples

    def dropped(self) -> list[dict]:
        """Return the counts of dropped rows: one dictionary per kind and reason.

        Returns
        -------
        list of dict
            ``what`` (kind), ``reason``, ``count`` and ``examples`` (names of up to three rows).
        """
        return [
            {"what": what, "reason": reason, "count": count, "examples": list(examples)}
            for (what, reason), (count, examples) in self._dropped.items()
            if count
        ]
