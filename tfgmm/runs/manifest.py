"""Hashes of the tables of a run, and the members whose predictions are in them."""

import dataclasses
from pathlib import Path

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.runs.member_folder import TRAIN_AGAIN
from tfgmm.stats import calibration

#: Name of the file in a run folder.
MANIFEST = "files.json"
#: What to do about a damaged file that ``tfgmm evaluate`` writes.
_EVALUATE_AGAIN = "give tfgmm evaluate for the run again, which writes it anew"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The hashes that a run folder keeps of its own files.

    Attributes
    ----------
    folder : Path
        The run folder.
    """

    folder: Path

    def note(self, *names: str, **facts) -> None:
        """Keep the hashes of files of the run, as they are now, and more facts.

        The caller holds the lease of the run.
        """
        try:
            content = self._read()
        except DataError:
            content = {}  # there is none yet, or it is made anew
        hashes = {name: files.sha256(self.folder / name) for name in names}
        content |= facts | {"files": content.get("files", {}) | hashes}
        with files.whole_file(self.folder / MANIFEST) as temporary:
            files.write_json(temporary, content)

    def hashes(self) -> dict[str, str]:
        """Return the hashes of the files of the run by name; errors as for `file`."""
        return self._read().get("files", {})

    def members(self, im: str) -> list[tuple[int, int]]:
        """Return chunk and initialisation of the members whose predictions are in the table of the run."""
        return [(chunk, init) for chunk, init in self._read().get("members", {}).get(im, [])]

    def file(self, name: str) -> Path:
        """Return the path of a file of the run, which is what was written.

        Raises
        ------
        DataError
            It is missing, or was damaged or changed.
        """
        stated = self.hashes()
        if name in stated:
            advice = _EVALUATE_AGAIN if name == calibration.FILE else TRAIN_AGAIN
            files.refuse_changed(self.folder, {name: stated[name]}, advice)
        return self.folder / name

    def _read(self) -> dict:
        path = self.folder / MANIFEST
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is missing or damaged ({error}): {TRAIN_AGAIN}") from error
