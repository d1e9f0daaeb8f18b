"""What single members predict on average over events: one member and a few events in memory at a time."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from tfgmm.network import member
from tfgmm.network.channels import Rasteriser
from tfgmm.prediction.ensemble import Ensemble
from tfgmm.runs.run import RunFolder
from tfgmm.site_amplification.amplification import Weighting, event_means


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """Events to average over, how, and the maps that the members are shown."""

    rasteriser: Rasteriser
    events: pd.DataFrame
    weightings: Sequence[Weighting]


def ask(
    run: RunFolder, im: str, questions: Sequence[Question], watch: Callable[[], None] = lambda: None
) -> list[np.ndarray]:
    """Mean of ln IM over events, member by member.

    Parameters
    ----------
    run : RunFolder
        With the experiment of the arm whose members are asked, all of them trained.
    im : str
    questions : sequence of Question
    watch : callable
        Called after each event of each question and member.

    Returns
    -------
    list of ndarray, [chunk, init, weighting, set, row, col]
        An array a question.
    """
    experiment, answers = run.experiment, []
    for member_of in itertools.product(range(experiment.chunks), range(experiment.inits)):
        model = member.load(run.member(*member_of), im)
        # A member is an ensemble of one.
        one = Ensemble(run, im, {member_of: model}, questions[0].rasteriser)
        answers.append([event_means(_maps(one, asked, watch), asked.weightings) for asked in questions])
    shape = experiment.chunks, experiment.inits
    return [np.reshape(found, (*shape, *np.shape(found[0]))) for found in zip(*answers, strict=True)]


def _maps(one: Ensemble, question: Question, watch: Callable[[], None]) -> Iterator[np.ndarray]:
    for batch in one.shown(question.rasteriser).batches(question.events, calibrated=False):
        yield batch["mean"].to_numpy()
        for _ in range(batch.sizes["event"]):
            watch()
