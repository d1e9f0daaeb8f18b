"""The folder of one trained member: its files, and whether they are what was written."""

import dataclasses
from collections.abc import Collection
from pathlib import Path

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.runs.predictions import PREDICTIONS

DONE, HISTORY = "done.json", "history.csv"
#: What to do about damaged files of a run.
TRAIN_AGAIN = "give the tfgmm train command of the run again, which writes it anew"


@dataclasses.dataclass(frozen=True)
class MemberFolder:
    """The folder of one member of an ensemble, which may not be trained yet.

    It holds its networks, `HISTORY`, its predictions, and `DONE`, written last, with the hashes of the
    others, the fingerprint of the run and which network predicts which intensity measures.

    Attributes
    ----------
    path : Path
    """

    path: Path

    @property
    def is_trained(self) -> bool:
        """Return whether the training of the member has ended."""
        return (self.path / DONE).is_file()

    @property
    def predictions(self) -> Path:
        """Return the path of the member's predictions table."""
        return self.path / PREDICTIONS

    def done(self) -> dict:
        """Read what is known of the finished training.

        Raises
        ------
        DataError
            `DONE` is missing or damaged.
        """
        path = self.path / DONE
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}): {TRAIN_AGAIN}") from error

    def ims(self) -> list[str]:
        """Return the intensity measures that the trained member predicts, none before; errors as `done`."""
        return [im for ims in self._networks().values() for im in ims]

    def network(self, im: str) -> Path:
        """Return the path of the network that predicts an intensity measure.

        Raises
        ------
        DataError
            The member has none, or `DONE` is damaged.
        """
        for name, ims in self._networks().items():
            if im in ims:
                return self.path / name
        raise DataError(f"{self.path} has no network of {im}: {TRAIN_AGAIN}")

    def _networks(self) -> dict[str, list[str]]:
        return self.done().get("networks", {}) if self.is_trained else {}

    def damaged_files(self, fingerprint: str | None = None) -> list[str]:
        """Return the names of the files that are missing or not what was written.

        With a fingerprint, a member of another run has a damaged `DONE`.
        """
        try:
            done = self.done()
        except DataError:
            return [DONE]
        if fingerprint is not None and done.get("run", fingerprint) != fingerprint:
            return [DONE]
        stated = done.get("files", {})
        return [name for name in stated if not files.is_unchanged(self.path / name, stated[name])]

    def refuse_damaged(self) -> None:
        """Raise `DataError` unless all files are what was written."""
        for name in self.damaged_files():
            raise DataError(f"{self.path / name} is missing or damaged: {TRAIN_AGAIN}")


def network_name(im: str, ims: Collection[str]) -> str:
    """Return the file name of the network of one intensity measure, in a run of these measures.

    >>> network_name("PGA", ["PGA"]), network_name("SA(1.0)", ["PGA", "SA(1.0)"])
    ('model.keras', 'model_SA(1.0).keras')
    """
    return "model.keras" if len(ims) == 1 else f"model_{im}.keras"
