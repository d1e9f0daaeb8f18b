"""Keep the state of a training after each epoch, so that it goes on after a kill."""

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
    """A callback that keeps weights, optimiser and history after each epoch, and ends the training.

    ``state.json`` is written last, with the hashes of the files that belong to it, so that a kill at any
    moment leaves a state to go on from. A damaged state is thrown away.
    """

    def __init__(self, folder: Path, patience: int | None) -> None:
        super().__init__()
        self.folder, self.patience = folder, patience
        self.history: list[dict] = []
        if (folder / STATE).is_file():
            self._resume()

    def _resume(self) -> None:
        try:
            state = files.read_json(self.folder / STATE)
            files.refuse_changed(self.folder, state["files"], "its training begins again")
            self.history = state["history"]
        except (OSError, ValueError, KeyError, DataError) as error:
            _log.warning("%s is damaged (%s): the training of this member begins again", self.folder, error)
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def epoch(self) -> int:
        """Return the number of epochs done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Return the epoch, from 0, whose weights are kept: of least stopping loss, or the last."""
        if self.patience is None:
            return self.epoch - 1
        return int(np.argmin([row["stopping_loss"] for row in self.history]))

    @property
    def exhausted(self) -> bool:
        """Return true if the stopping loss has not fallen for `patience` epochs."""
        if self.patience is None or not self.history:
            return False
        return self.epoch - 1 - self.best_epoch >= self.patience

    def weights(self, epoch: int) -> Path:
        """Return the path of weights and optimiser state after an epoch."""
        return self.folder / f"epoch-{epoch}.npz"

    def load(self, model: GroundMotionModel, epoch: int) -> None:
        """Give a model the weights and the optimiser state after an epoch."""
        with np.load(self.weights(epoch)) as arrays:
            for number, variable in enumerate(_state(model)):
                variable.assign(arrays[f"v{number}"])

    def on_epoch_end(self, epoch, logs=None):
        """Save, forget what is neither the last nor the best, and decide whether to stop."""
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
    """Return the variables of a model that its further training depends on, in a fixed order."""
    terms = model.random_terms.weights if model.random_terms else []
    variables = (*model.weights, *terms, *model.optimizer.variables)
    return list({id(variable): variable for variable in variables}.values())
