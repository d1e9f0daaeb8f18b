"""Save the state of a training after each epoch, so that an interrupted training goes on."""

import logging
import shutil
from pathlib import Path

import keras
import numpy as np

from tfgmm.core import files
from tfgmm.core.errors import DataError
from tfgmm.network.normal import GroundMotionModel

STATE = "state.json"
_log = logging.getLogger(__name__)


class Checkpoint(keras.callbacks.Callback):
    """A Keras callback that saves the training after each epoch, and stops it early.

    The callback saves the weights, the optimiser state and the history of the losses.

    ``state.json`` is written last, with the hashes of the other files: a kill at any moment leaves a state
    from which the training can go on. A damaged state is deleted with a warning, and the training begins
    again.

    Parameters
    ----------
    folder : Path
        Folder of the state, which need not exist yet.
    patience : int or None
        Number of epochs without a lower stopping loss after which the training ends; None trains all
        epochs. The stopping loss is the loss of the stopping records, which decide when a training ends.

    Attributes
    ----------
    history : list of dict
        ``epoch``, ``loss`` and ``stopping_loss`` of each epoch.
    """

    def __init__(self, folder: Path, patience: int | None) -> None:
        super().__init__()
        self.folder, self.patience = folder, patience
        self.history: list[dict] = []
        if (folder / STATE).is_file():
            self._resume()

    def _resume(self) -> None:
        """Read the history of an interrupted training, or delete the folder if the state is damaged."""
        try:
            state = files.read_json(self.folder / STATE)
            files.refuse_changed(self.folder, state["files"], "its training begins again")
            self.history = state["history"]
        except (OSError, ValueError, KeyError, DataError) as error:
            _log.warning("%s is damaged (%s): the training of this member begins again", self.folder, error)
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def epoch(self) -> int:
        """Return the number of epochs that are done and saved."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Return the epoch, from 0, of the least stopping loss, or without patience the last epoch."""
        if self.patience is None:
            return self.epoch - 1
        return int(np.argmin([row["stopping_loss"] for row in self.history]))

    @property
    def exhausted(self) -> bool:
        """Return True if the stopping loss has not fallen for `patience` epochs; without patience False."""
        if self.patience is None or not self.history:
            return False
        return self.epoch - 1 - self.best_epoch >= self.patience

    def weights(self, epoch: int) -> Path:
        """Return the path of the file with weights and optimiser state after an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.

        Returns
        -------
        Path
        """
        return self.folder / f"epoch-{epoch}.npz"

    def load(self, model: GroundMotionModel, epoch: int) -> None:
        """Assign the saved weights and optimiser state after an epoch to a model.

        Parameters
        ----------
        model : GroundMotionModel
            Compiled model, whose optimiser is built if the saved state includes optimiser variables.
        epoch : int
            Number of the epoch, from 0: the last or the best one, whose files are kept.
        """
        with np.load(self.weights(epoch)) as arrays:
            for number, variable in enumerate(_state(model)):
                variable.assign(arrays[f"v{number}"])

    def on_epoch_end(self, epoch, logs=None):
        """Save the state after an epoch; keep the last and the best epoch only; stop if exhausted.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0.
        logs : dict of str to float
            ``loss`` of the training records, and ``val_loss`` of the stopping records.
        """
        self.history.append({"epoch": epoch, "loss": logs["loss"], "stopping_loss": logs["val_loss"]})
        arrays = {f"v{number}": np.asarray(variable) for number, variable in enumerate(_state(self.model))}
        # NumPy's writer ends in an error on a full disk, where HDF5's ends the process.
        with files.whole_file(self.weights(epoch)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **arrays)
        kept = {self.weights(epoch), self.weights(self.best_epoch)}
        state = {"history": self.history, "files": {path.name: files.sha256(path) for path in kept}}
        with files.whole_file(self.folder / STATE) as temporary:
            files.write_json(temporary, state)
        for path in set(self.folder.glob("epoch-*.npz")) - kept:
            path.unlink()
        self.model.stop_training = self.exhausted


def _state(model: GroundMotionModel) -> list[keras.Variable]:
    """Return the variables of a model on which the further training depends, in a fixed order."""
    terms = model.random_terms.weights if model.random_terms else []
    variables = (*model.weights, *terms, *model.optimizer.variables)
    return list({id(variable): variable for variable in variables}.values())
