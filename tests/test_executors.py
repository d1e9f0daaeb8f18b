"""Members in child processes: the same weights, nothing lost, and told why something failed."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import QUICK, small_dataset
from tfgmm.core.errors import DataError, UsageError
from tfgmm.network import executors, member, stages, training
from tfgmm.network.executors import Launch, Outcome, Progress, Stage
from tfgmm.runs.experiment import Experiment
from tfgmm.runs.run import RunFolder


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> training.Training:
    """A run of two members, of which none is trained."""
    root = tmp_path_factory.mktemp("executors")
    small_dataset().write(root / "data")
    return training.begin(Experiment(**QUICK | {"data": str(root / "data")}), root / "run")


def again(begun: training.Training) -> training.Training:
    return training.reopen(begun.run)


@dataclasses.dataclass
class Ended:
    """A future of a stage that has ended at once."""

    outcome: Outcome | Exception

    def done(self) -> bool:
        return True

    def result(self) -> Outcome:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Scripted:
    """An engine that needs no process: what becomes of each stage is a list by its words."""

    def __init__(self, outcomes: dict[str, list]) -> None:
        self.outcomes, self.submitted, self.closed = outcomes, [], False

    def submit(self, given):
        words = [" ".join((stage.words[0], *stage.words[2:])) for stage in given]
        self.submitted += words
        planned = [self.outcomes.get(name) for name in words]
        return [Ended(list_.pop(0) if list_ else Outcome(executors.DONE)) for list_ in planned]

    def close(self) -> None:
        self.closed = True


def trained_by(monkeypatch, begun, outcomes, closed=True) -> tuple[list, Scripted]:
    engine = Scripted(outcomes)
    monkeypatch.setattr(executors, "POLL_S", 0.0)
    monkeypatch.setattr(Launch, "engine", lambda self, folder: engine)
    try:
        return executors.train(again(begun), Launch(retries=1)), engine
    finally:
        assert engine.closed is closed


def test_members_follow_their_chunk_and_the_end_follows_all(monkeypatch, begun):
    left, engine = trained_by(monkeypatch, begun, {})
    assert left == []
    assert engine.submitted[:2] == ["prepare all 0", "prepare all 1"]
    assert engine.submitted[2:] == ["member all 0 0", "member all 1 0", "finish"]


def test_what_was_killed_is_tried_again_and_what_is_refused_is_not(monkeypatch, begun):
    killed, refused = Outcome(executors.FAILED, "killed"), Outcome(executors.REFUSED, "wild values")
    died = ConnectionError("worker died")
    planned = {"member all 0 0": [killed, killed], "prepare all 1": [died]}
    with pytest.raises(
        DataError, match=r"2 failed: .*chunk-1_init-0.log.*the same command tries again"
    ) as told:
        trained_by(monkeypatch, begun, planned | {"member all 1 0": [refused]})
    assert "chunk 0 init 0: killed" in str(told.value) and "chunk 1 init 0: wild" in str(told.value)
    assert not any(planned.values())


def test_the_end_is_left_to_others_that_still_train(monkeypatch, begun):
    planned = {"member all 1 0": [Outcome(executors.LEFT, "process 7 on node")]}
    left, engine = trained_by(monkeypatch, begun, planned)
    assert left == ["chunk 1 init 0: process 7 on node"] and "finish" not in engine.submitted


# ---- real processes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(begun, tmp_path_factory) -> training.Training:
    """The same run, trained by two local workers; its child processes have one thread."""
    path = tmp_path_factory.mktemp("local") / "run"
    shutil.copytree(begun.run.path, path)
    copied = training.begin(begun.experiment, path)
    seen = []
    launch = Launch(executor="local", workers=2, threads=1)
    assert executors.train(copied, launch, lambda members, done: seen.extend(members)) == []
    assert {one.name for one in seen} <= {one.name for one in copied.members} and seen
    return training.reopen(copied.run)


def content(run: Path) -> dict[str, np.ndarray]:
    return {
        f"{path.parent.name} {number}": weight
        for path in sorted(run.rglob("model.keras"))
        for number, weight in enumerate(member.load(path).get_weights())
    }


def refuse_different(one: training.Training, other: training.Training) -> None:
    first, second = content(one.run.path), content(other.run.path)
    assert first.keys() == second.keys() and len(first) > 4
    for name, weight in first.items():
        np.testing.assert_array_equal(weight, second[name], err_msg=name)
    assert one.run.read_predictions().equals(other.run.read_predictions())


@pytest.mark.slow
def test_child_processes_and_stages_train_the_same(trained, begun):
    """The stages one by one here, as a job array would."""
    if os.environ.get("TF_NUM_INTRAOP_THREADS") != "1":
        pytest.skip("weights are the same with the same number of threads: set TF_NUM_INTRAOP_THREADS=1")
    for chunk in (0, 1):
        stages.prepare(begun.run.path, chunk)
        assert stages.member(begun.run.path, "all", chunk, 0) is None
    stages.finish(begun.run.path)
    refuse_different(trained, begun)
    assert not [*begun.run.path.rglob("*.log"), *trained.run.path.rglob("*.log")]
    assert not again(begun).missing


@pytest.mark.slow
def test_a_finished_run_is_left_alone_and_a_lost_table_is_written_by_a_child(
    field_run, tmp_path, monkeypatch
):
    """A child has the threads of the first command, so that the table is the same bit for bit."""
    shutil.copytree(field_run, tmp_path / "run")
    finished = training.reopen(RunFolder.open(tmp_path / "run"))
    assert trained_by(monkeypatch, finished, {}, closed=False)[1].submitted == []
    (tmp_path / "run" / "predictions.parquet").unlink()
    assert trained_by(monkeypatch, finished, {})[1].submitted == ["finish"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: stages.member(run, "all", 0, 9), "no initialisation 9: the run has 0 to 0"),
        (lambda run: stages.prepare(run, 9), "no chunk 9: the run has chunks 0 to 1"),
        (lambda run: stages.member(run, "drop-path", 0, 0), "no arm drop-path: choose all or drop-site or"),
    ],
)
def test_a_stage_that_does_not_exist(begun, call, message):
    with pytest.raises(UsageError, match=message):
        call(begun.run.path)


def stage(log: Path, *words: str, **limits) -> Stage:
    return Stage(words, str(log), threads=1, **limits)


@pytest.mark.slow
def test_a_refusal_is_the_message_and_leaves_its_log(tmp_path):
    outcome = stage(tmp_path / "one.log", "member", str(tmp_path), "all", "0", "0")()
    assert outcome.state == executors.REFUSED and "is no run folder" in outcome.message
    assert outcome.message in (tmp_path / "one.log").read_text()


@pytest.mark.slow
def test_short_memory_has_its_hint(tmp_path):
    outcome = stage(tmp_path / "one.log", "finish", str(tmp_path), memory_gb=0.3)()
    assert outcome == Outcome(executors.REFUSED, f"out of memory: {executors.MEMORY_HINT}")


def test_a_stage_is_stopped(tmp_path):
    stop = threading.Event()
    stop.set()
    outcome = stage(tmp_path / "one.log", "finish", str(tmp_path))(stop=stop)
    assert outcome.state == executors.FAILED and "killed" in outcome.message


def test_a_child_dies_with_its_parent(tmp_path):
    """The parent is killed with SIGKILL, so that it cannot tell the child."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import sys, threading, time; "
        "from tfgmm.network import child; threading.Thread(target=child._end_with_parent).start(); "
        "print(1, flush=True); time.sleep(60)'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the child lives on")


# ---- engines -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_dask_trains_what_is_missing(trained, tmp_path):
    pytest.importorskip("distributed")
    shutil.copytree(trained.run.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "members" / "all" / "chunk-1_init-0")
    copied = training.begin(trained.experiment, tmp_path / "run")
    assert executors.train(copied, Launch(executor="dask", workers=1, threads=1)) == []
    refuse_different(trained, again(copied))


@pytest.mark.slow
def test_slurm_trains_what_is_missing(trained, tmp_path, monkeypatch):
    """Through the executor of submitit that starts processes instead of jobs."""
    pytest.importorskip("submitit")
    shutil.copytree(trained.run.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "members" / "all" / "chunk-0_init-0")
    copied = training.begin(trained.experiment, tmp_path / "run")
    local = lambda self, folder: executors.Slurm(self, folder / "slurm", cluster="local")  # noqa: E731
    monkeypatch.setattr(Launch, "engine", local)
    launch = Launch(executor="slurm", workers=1, threads=1, minutes=5)
    assert executors.train(copied, launch) == []
    refuse_different(trained, again(copied))
    assert not (tmp_path / "run" / "slurm").exists()


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that gives the engine of a Slurm whose commands are scripts."""
    pytest.importorskip("submitit")
    monkeypatch.setattr(executors, "QUEUE_S", -1.0)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def engine(**commands) -> executors.Slurm:
        for name, script in ({"srun": "exit 0", "scancel": "exit 0", "sacct": "exit 1"} | commands).items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        return executors.Slurm(Launch(executor="slurm"), tmp_path / "slurm")

    return engine


def test_a_job_that_was_cancelled_is_told_without_accounting(slurm, tmp_path):
    engine = slurm(sbatch="echo Submitted batch job 12", squeue=f"cat {tmp_path}/queue")
    (tmp_path / "queue").write_text("12\n")
    (future,) = engine.submit([stage(tmp_path / "one.log", "finish", str(tmp_path))])
    assert not future.done() and not future.done()
    (tmp_path / "queue").write_text("7\n")
    assert not future.done() and future.done()
    assert future.result() == Outcome(
        executors.FAILED, "job 12 left the queue without a result, as if cancelled"
    )
    engine.close()


def test_what_sbatch_refuses_is_told(slurm, tmp_path):
    engine = slurm(sbatch="echo no controller >&2; exit 1")
    with pytest.raises(DataError, match="no controller: the same command goes on"):
        engine.submit([stage(tmp_path / "one.log", "finish", str(tmp_path))])


@pytest.mark.parametrize(("executor", "package"), [("dask", "distributed"), ("slurm", "submitit")])
def test_a_missing_extra_is_named(begun, monkeypatch, executor, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UsageError, match=rf'--executor {executor} needs .*: pip install "tfgmm\[{executor}\]"'
    ):
        Launch(executor=executor).engine(begun.run.path)


def test_slurm_without_its_command(begun, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="there is no command sbatch on this machine"):
        Launch(executor="slurm").engine(begun.run.path)


# ---- options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"executor": "spark"}, "--executor spark: choose local, dask, slurm"),
        ({"workers": 0}, "--workers 0: give a number above zero"),
        ({"memory_gb": -1.0}, "--memory-gb -1.0: give a number above zero"),
        ({"retries": -1}, "--retries -1"),
        ({"address": "tcp://x:1"}, "--address is for --executor dask"),
        ({"partition": "gpu"}, "--partition is for --executor slurm"),
        ({"executor": "slurm", "gpus": ("0", "1")}, "--gpus of --executor slurm is the number"),
        ({"executor": "dask", "gpus": ("0",)}, "--gpus is not for --executor dask"),
    ],
)
def test_options_that_do_not_fit(given, message):
    with pytest.raises(UsageError, match=message):
        Launch(**given)


@pytest.mark.parametrize(
    ("machine", "given", "count", "threads", "alone"),
    [
        (2, {}, 1, 2, True),
        (16, {}, 4, 4, False),
        (16, {"workers": 1}, 1, 16, True),
        (16, {"workers": 1, "executor": "local"}, 1, 16, False),
        (16, {"gpus": ("0", "1")}, 2, 8, False),
        (2, {"workers": 8}, 8, 1, False),
        (2, {"executor": "slurm"}, 256, 4, False),
    ],
)
def test_workers_and_threads_from_the_cores(monkeypatch, machine, given, count, threads, alone):
    monkeypatch.setattr(executors, "cores", lambda: machine)
    launch = Launch(**given)
    assert (launch.count, launch.threads_each, launch.in_this_process()) == (count, threads, alone)
    assert launch.in_this_process(has_gpu=True) or given


def test_local_workers_use_each_gpu_once(monkeypatch):
    used = []
    engine = executors.Local(Launch(gpus=("3", "5")))
    barrier = threading.Barrier(2, timeout=20)

    def call(gpu, stop):
        barrier.wait()
        used.append(gpu)
        return Outcome(executors.DONE)

    futures = engine.submit([call, call, call, call])
    assert [future.result(20).state for future in futures] == ["done"] * 4
    assert sorted(used) == ["3", "3", "5", "5"]
    engine.close()


def test_progress_of_a_member_is_read_from_its_work(tmp_path):
    assert Progress.read("one", tmp_path / "member").share == 0
    checkpoint = member.Checkpoint(member.work_folder(tmp_path / "member"), None)
    checkpoint.folder.mkdir()
    checkpoint.history = [{"epoch": 0, "loss": 2.0, "stopping_loss": 1.5}]
    checkpoint.halve_rate()
    (checkpoint.folder / "share.txt").write_text("0.25")
    assert Progress.read("one", tmp_path / "member") == Progress("one", 0.25, 1, 1.5)
    (checkpoint.folder / "share.txt").write_text("0.")
    (checkpoint.folder / "state.json").write_text("{")
    assert Progress.read("one", tmp_path / "member").share == 0
