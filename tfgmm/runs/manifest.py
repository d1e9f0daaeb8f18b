"""SHA-256 hashes of the tables of a run, and the members (trained networks) in these tables."""

import dataclasses
from pathlib import Path

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.runs.member_folder import TRAIN_AGAIN
from tfgmm.stats import calibration

#: Name of the manifest in a run folder.
MANIFEST = "files.json"
#: Advice in the message about a damaged file that ``tfgmm evaluate`` writes.
_EVALUATE_AGAIN = "give tfgmm evaluate for the run again, which writes it anew"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The file `MANIFEST` of a run folder, with the hashes of the files of the run.

    Attributes
    ----------
    folder : Path
        The run folder.
    """

    folder: Path

    def note(self, *names: str, **facts) -> None:
        """Write the current hashes of files of the run, and other entries, into the manifest.

        The caller holds the lease of the run, which allows a single process to write.

        Parameters
        ----------
        *names : str
            Names of the files, relative to the run folder.
        **facts
            Other entries, for instance ``members``: chunk and initialisation of members, by intensity
            measure.

        Raises
        ------
        DataError
            The file system refuses to write.
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
        """Return the hashes of the files of the run, by file name.

        Returns
        -------
        dict of str to str
            SHA-256 hashes, hexadecimal.

        Raises
        ------
        DataError
            The manifest is missing or damaged.
        """
        return self._read().get("files", {})

    def members(self, im: str) -> list[tuple[int, int]]:
        """Return the members whose predictions are in the predictions table of the run.

        Parameters
        ----------
        im : str
            Intensity measure.

        Returns
        -------
        list of (int, int)
            Chunk and initialisation of each member.

        Raises
        ------
        DataError
            The manifest is missing or damaged.
        """
        return [(chunk, init) for chunk, init in self._read().get("members", {}).get(im, [])]

    def file(self, name: str) -> Path:
        """Return the path of a file of the run after a check of its content against the hash, if known.

        Parameters
        ----------
        name : str
            Name of the file, relative to the run folder.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        DataError
            The file is missing, damaged or changed since it was written, or the manifest is damaged.
        """
        stated = self.hashes()
        if name in stated:
            advice = _EVALUATE_AGAIN if name == calibration.FILE else TRAIN_AGAIN
            files.refuse_changed(self.folder, {name: stated[name]}, advice)
        return self.folder / name

    def _read(self) -> dict:
        """Return the content of the manifest; a missing or damaged manifest raises `DataError`."""
        path = self.folder / MANIFEST
        try:
            return files.read_json(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is missing or damaged ({error}): {TRAIN_AGAIN}") from error
