"""Count the events, stations and records that a reader reads, and those it drops and why."""

import dataclasses


@dataclasses.dataclass
class Tally:
    """Counts of what a reader read and dropped, with reasons; nothing is lost silently.

    Attributes
    ----------
    read : dict of str to int
        Number read of each kind: ``event``, ``station``, ``record``.
    """

    read: dict[str, int] = dataclasses.field(default_factory=dict)
    _dropped: dict[tuple[str, str], tuple[int, list[str]]] = dataclasses.field(default_factory=dict)

    def count(self, what: str, number: int) -> None:
        """Add `number` to the count of what was read of a kind (``event``, ``station``, ``record``)."""
        self.read[what] = self.read.get(what, 0) + int(number)

    def drop(self, what: str, reason: str, names) -> None:
        """Note that the things with `names` (any iterable), of kind `what`, were dropped for `reason`."""
        count, examples = self._dropped.get((what, reason), (0, []))
        for name in names:  # one at a time: of millions three are kept
            count += 1
            if len(examples) < 3:
                examples.append(str(name))
        self._dropped[what, reason] = count, examples

    def dropped(self) -> list[dict]:
        """Return a row per kind and reason, with the number dropped and up to three examples."""
        return [
            {"what": what, "reason": reason, "count": count, "examples": list(examples)}
            for (what, reason), (count, examples) in self._dropped.items()
            if count
        ]
