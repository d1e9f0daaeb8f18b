"""Train the members of a run in processes of their own: on this machine, a Dask cluster or a Slurm cluster.

An engine is what runs the stages of `tfgmm.network.stages`: a pool of threads here, a Dask client, or a
submitit executor. All take stages and return futures; this module hands them over in their order (a chunk
is prepared before its members, the run is finished after them), repeats what was killed, and reads from the
run folder how far the members are. It does not import TensorFlow, which only the children need.
"""

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tfgmm.core import extras, files
from tfgmm.core.errors import DataError, UsageError
from tfgmm.network.child import MEMORY
from tfgmm.runs.member_folder import MEMORY_HINT, SHARE, STATE, work_folder

if TYPE_CHECKING:
    from tfgmm.network.training import Member, Training
    from tfgmm.runs.run import RunFolder

EXECUTORS = LOCAL, DASK, SLURM = "local", "dask", "slurm"
#: Cores for each worker, if the number of workers is not given.
CORES_PER_WORKER = 4
#: Time between two looks at the futures and at the progress of members, s.
POLL_S = 0.5
#: Shortest time between two looks at the queue of Slurm, s.
QUEUE_S = 15.0
#: Words by which libraries say in a log that memory is short.
_SHORT = ("bad_alloc", "resourceexhausted", "resource_exhausted", "out of memory", "memoryerror")

# ---- one stage in a child process --------------------------------------------------------------------

#: Results of a stage: done; left to another process; refused for a reason that stays; failed.
DONE, LEFT, REFUSED, FAILED = "done", "left", "refused", "failed"


def thread_limits(threads: int) -> dict[str, str]:
    """Return the variables of the environment that limit the threads of a process.

    Parameters
    ----------
    threads : int
        Number of threads.

    Returns
    -------
    dict of str to str
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return dict.fromkeys(names, str(threads))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """State in which a stage has ended, with its reason.

    Attributes
    ----------
    state : str
        `DONE`, `LEFT`, `REFUSED` or `FAILED`; only what failed is tried again.
    message : str
        The process to which a member is left, or the reason of a failure.
    """

    state: str
    message: str = ""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of a training, which any engine can call: a child process does it, and ends with its caller.

    Attributes
    ----------
    words : tuple of str
        Name of the stage, run folder, and further arguments, as of `tfgmm stage`.
    log : str
        File to which the child process writes its messages; removed when the stage is done.
    threads : int
        Number of threads of the child process.
    memory_gb : float or None
        Largest memory of the child process, GB.
    """

    words: tuple[str, ...]
    log: str
    threads: int
    memory_gb: float | None = None

    def __call__(self, gpu: str | None = None, stop: threading.Event | None = None) -> Outcome:
        """Do the stage in a child process, and return what became of it.

        Parameters
        ----------
        gpu : str, optional
            Number of the GPU that the child process sees; by default those that this process sees.
        stop : threading.Event, optional
            Event that ends the child process.

        Returns
        -------
        Outcome
        """
        log = Path(self.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            before = stream.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "tfgmm.network.child", *self.words],
                stdin=subprocess.PIPE,  # its end tells the child that this process is gone
                stdout=subprocess.PIPE,
                stderr=stream,
                env=self._environment(gpu),
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    if stop is not None and stop.is_set():
                        process.kill()
                    time.sleep(0.1)
                answer = process.stdout.read().decode(errors="replace")
            finally:
                process.kill()
                process.wait()
                process.stdin.close()
                process.stdout.close()
        # Another process that found the stage done may have removed the log.
        written = log.read_bytes()[before:] if log.exists() else b""
        outcome = self._outcome(process.returncode, answer, written.decode("utf-8", "replace"))
        if outcome.state == DONE:
            log.unlink(missing_ok=True)
        return outcome

    def checkpoint(self, *arguments):
        """Return what submitit submits again when a job is preempted or out of time: this stage."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)

    def _environment(self, gpu: str | None) -> dict[str, str]:
        """Return the environment of the child process, with its limits."""
        limits = thread_limits(self.threads) | {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        limits |= {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        limits |= {} if self.memory_gb is None else {MEMORY: str(self.memory_gb)}
        return {"TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ | limits

    @staticmethod
    def _outcome(code: int, answer: str, log: str) -> Outcome:
        """Return what became of a child process, from its exit code, its answer and its log."""
        if code == 0:
            return Outcome(LEFT, answer) if answer else Outcome(DONE)
        if code in (1, 2) and answer:
            return Outcome(REFUSED, answer)
        if any(word in log.lower() for word in _SHORT):
            return Outcome(REFUSED, f"out of memory: {MEMORY_HINT}")
        if code == -signal.SIGKILL:
            return Outcome(FAILED, f"killed, as a system does that is short of memory: {MEMORY_HINT}")
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Outcome(FAILED, f"its process {how}")


# ---- where stages run --------------------------------------------------------------------------------


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Launch:
    """Where and how members are trained.

    Attributes
    ----------
    executor : {"local", "dask", "slurm"} or None
        Processes on this machine, a Dask cluster, or jobs of Slurm; None is ``local``, and with one worker
        this process itself.
    workers : int or None
        Number of members that are trained at a time; by default one for each GPU or each 4 cores of this
        machine; for Slurm the number of jobs of one array that run at a time, 256 by default.
    threads : int or None
        Threads of each worker; by default the cores of this machine divided by the workers. Weights are the
        same bit for bit only with the same number of threads.
    gpus : tuple of str
        Numbers of the GPUs that local workers use in turn; for Slurm the number of GPUs of a job.
    memory_gb : float or None
        Largest memory of each worker, GB.
    retries : int
        How many times a member whose process was killed is tried again.
    address : str or None
        Address of a Dask scheduler; by default a cluster of `workers` on this machine is made.
    partition : str or None
        Partition of Slurm.
    minutes : int
        Time limit of a job of Slurm, min; a job that meets it goes on in another one.
    """

    executor: str | None = None
    workers: int | None = None
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    memory_gb: float | None = None
    retries: int = 2
    address: str | None = None
    partition: str | None = None
    minutes: int = 240

    def __post_init__(self) -> None:
        """Refuse what does not exist or does not fit together."""
        if self.executor not in (None, *EXECUTORS):
            raise UsageError(f"--executor {self.executor}: choose {', '.join(EXECUTORS)}")
        for name in ("workers", "threads", "memory_gb", "minutes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"--{name.replace('_', '-')} {value}: give a number above zero")
        if self.retries < 0:
            raise UsageError(f"--retries {self.retries}: give 0 or more")
        for name, executor in (("address", DASK), ("partition", SLURM)):
            if getattr(self, name) is not None and self.executor != executor:
                raise UsageError(f"--{name} is for --executor {executor}")
        if self.executor == SLURM and self.gpus and not (len(self.gpus) == 1 and self.gpus[0].isdecimal()):
            raise UsageError("--gpus of --executor slurm is the number of GPUs of a job, as 1")
        if self.executor == DASK and self.gpus:
            raise UsageError("--gpus is not for --executor dask: its workers use the GPUs that they see")

    @property
    def count(self) -> int:
        """Return the number of members that are trained at a time."""
        if self.workers:
            return self.workers
        return 256 if self.executor == SLURM else len(self.gpus) or max(1, cores() // CORES_PER_WORKER)

    @property
    def threads_each(self) -> int:
        """Return the number of threads of each worker."""
        if self.threads:
            return self.threads
        return CORES_PER_WORKER if self.executor == SLURM else max(1, cores() // self.count)

    def in_this_process(self, has_gpu: bool = False) -> bool:
        """Return True if members are trained one after the other in this process.

        Parameters
        ----------
        has_gpu : bool
            Whether this process sees a GPU: workers share it only if that is asked for.

        Returns
        -------
        bool
        """
        asked = (self.executor, self.threads, self.memory_gb, self.gpus or None)
        return asked == (None,) * 4 and (self.count == 1 or (has_gpu and self.workers is None))

    def stage(self, run: "RunFolder", name: str, *arguments: object, log: Path) -> Stage:
        """Return a stage of a run with the limits of a worker.

        Parameters
        ----------
        run : RunFolder
            The run.
        name : str
            ``prepare``, ``member`` or ``finish``.
        *arguments
            Further arguments of the stage.
        log : Path
            File of its messages.

        Returns
        -------
        Stage
        """
        words = (name, str(run.path.resolve()), *map(str, arguments))
        return Stage(words, str(log.resolve()), self.threads_each, self.memory_gb)

    def engine(self, folder: Path) -> "Engine":
        """Return the engine that runs stages.

        Parameters
        ----------
        folder : Path
            Folder of the run, or of several runs, which gets one for the files of Slurm's jobs.

        Returns
        -------
        Engine

        Raises
        ------
        UsageError
            A package is missing, or the cluster does not answer.
        """
        if self.executor == DASK:
            return Dask(self)
        return Slurm(self, folder / "slurm") if self.executor == SLURM else Local(self)


class Future(Protocol):
    """Result of a stage to come: the future of `concurrent.futures`, Dask or submitit."""

    def done(self) -> bool:
        """Return True if the stage has ended."""

    def result(self) -> Outcome:
        """Return what became of the stage, or raise what went wrong with the engine."""


class Engine(Protocol):
    """Engine that runs stages, at most so many at a time."""

    def submit(self, stages: Sequence[Stage]) -> Sequence[Future]:
        """Take stages, and return their futures at once."""

    def close(self) -> None:
        """End everything that was submitted and not done."""


class Local:
    """Child processes of this process, each started by a thread.

    Parameters
    ----------
    launch : Launch
        Number of workers and numbers of GPUs.
    """

    def __init__(self, launch: Launch) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(launch.count)
        self._stop = threading.Event()
        self._gpus: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        for number in range(launch.count):
            self._gpus.put(launch.gpus[number % len(launch.gpus)] if launch.gpus else None)

    def submit(self, stages: Sequence[Stage]) -> Sequence[Future]:
        """Start stages as soon as workers are free, and return their futures."""
        return [self._threads.submit(self._on_gpu, stage) for stage in stages]

    def _on_gpu(self, stage: Stage) -> Outcome:
        gpu = self._gpus.get()
        try:
            return stage(gpu, self._stop)
        finally:
            self._gpus.put(gpu)

    def close(self) -> None:
        """End the child processes."""
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)


class Dask:
    """A Dask cluster: one at an address, or one of this machine that ends with this process.

    Settings of the connection, as certificates for ``tls://`` addresses, are those of Dask's configuration.

    Parameters
    ----------
    launch : Launch
        Address, or number of workers.
    """

    def __init__(self, launch: Launch) -> None:
        with extras.needed(DASK, "--executor dask"):
            import distributed
        self._cluster = None
        if launch.address is None:
            # Its workers hold no data; the children have limits of their own.
            self._cluster = distributed.LocalCluster(
                n_workers=launch.count, threads_per_worker=1, memory_limit=0, dashboard_address=None
            )
        try:
            self._client = distributed.Client(self._cluster or launch.address, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"--address {launch.address}: no Dask scheduler answers ({error})") from error
        self._futures: list = []

    def submit(self, stages: Sequence[Stage]) -> Sequence[Future]:
        """Hand stages to the scheduler, and return their futures."""
        futures = [self._client.submit(stage, pure=False, retries=0) for stage in stages]
        self._futures += futures
        return futures

    def close(self) -> None:
        """Cancel what waits, and end the cluster if it is of this process."""
        with contextlib.suppress(Exception):  # it may be gone
            self._client.cancel([future for future in self._futures if not future.done()])
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


class _SlurmFuture:
    """A job of Slurm, done also if it has left the queue without a result."""

    def __init__(self, job, engine: "Slurm") -> None:
        self.job, self._engine = job, engine

    def done(self) -> bool:
        """Return True if the job has a result or has ended without one."""
        return self.job.done() or self._engine.has_lost(self.job.job_id)

    def result(self) -> Outcome:
        """Return what became of the stage, or raise what submitit tells of the job."""
        if self.job.done():
            return self.job.result()
        return Outcome(FAILED, f"job {self.job.job_id} left the queue without a result, as if cancelled")


class Slurm:
    """Job arrays of Slurm, one for the members of each chunk.

    Jobs are cancelled when this process ends, and outlive it where it is killed: the same command then
    leaves their members to them. Submitit asks Slurm's accounting what became of a job; a cluster without
    accounting would never tell of a cancelled one, so the queue is asked as well.

    Parameters
    ----------
    launch : Launch
        Number of jobs at a time, and what each of them needs.
    folder : Path
        Folder for scripts, messages and results of the jobs, on a file system of the whole cluster.
    cluster : str
        Executor of submitit: ``slurm``, or ``local`` and ``debug``, which run on this machine.
    """

    def __init__(self, launch: Launch, folder: Path, cluster: str = SLURM) -> None:
        with extras.needed(SLURM, "--executor slurm"):
            import submitit
        if cluster == SLURM and shutil.which("sbatch") is None:
            raise UsageError(
                "--executor slurm: there is no command sbatch on this machine; log in where it is"
            )
        self._folder = folder
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._has_queue, self._looked = cluster == SLURM, 0.0
        self._absent: set[str] = set()
        self._gone: set[str] = set()
        logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns at each look without accounting
        needs = {
            "name": "tfgmm",
            "timeout_min": launch.minutes,
            "cpus_per_task": launch.threads_each,
            "slurm_array_parallelism": launch.count,
            "slurm_partition": launch.partition,
            "mem_gb": launch.memory_gb,
            "gpus_per_node": int(launch.gpus[0]) if launch.gpus else None,
        }
        self._executor.update_parameters(**{name: need for name, need in needs.items() if need is not None})
        self._jobs: list = []

    def submit(self, stages: Sequence[Stage]) -> Sequence[Future]:
        """Submit stages as one job array, and return the jobs; `DataError` says what sbatch refuses."""
        import submitit

        try:
            with self._executor.batch():
                jobs = [self._executor.submit(stage) for stage in stages]
        except submitit.core.utils.FailedJobError as error:
            raise DataError(f"{' '.join(str(error).split())}: the same command goes on") from error
        self._jobs += (futures := [_SlurmFuture(job, self) for job in jobs])
        return futures

    def has_lost(self, job_id: str) -> bool:
        """Return True if two looks found a job that is not done absent from the queue.

        Parameters
        ----------
        job_id : str
            Id of the job, as ``12`` or ``12_3``.

        Returns
        -------
        bool
        """
        if self._has_queue and time.monotonic() - self._looked > QUEUE_S:
            self._looked = time.monotonic()
            look = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
            answer = subprocess.run(look, capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                absent = {future.job.job_id for future in self._jobs} - set(answer.stdout.split())
                # A file system shows a result some time after the job has left the queue.
                self._gone, self._absent = absent & self._absent, absent
        return job_id in self._gone

    def close(self) -> None:
        """Cancel the jobs that are not done, or remove the files of all jobs if all are."""
        unfinished = [future for future in self._jobs if not future.done()]
        for future in unfinished:
            future.job.cancel(check=False)
        if not unfinished:
            shutil.rmtree(self._folder, ignore_errors=True)


# ---- all stages of a training ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of a member that is being trained.

    Attributes
    ----------
    name : str
        Name of the member.
    share : float
        Share of its training that is done, 0 to 1.
    epoch : int
        Number of epochs that are done.
    loss : float
        Loss of the stopping records after the last epoch; NaN before the first one.
    """

    name: str
    share: float
    epoch: int = 0
    loss: float = float("nan")

    @classmethod
    def read(cls, name: str, folder: Path) -> "Progress":
        """Read how far a member is from the folder of its unfinished training.

        Parameters
        ----------
        name : str
            Name of the member.
        folder : Path
            Folder of the member.

        Returns
        -------
        Progress
        """
        work, share, history = work_folder(folder), 0.0, []
        with contextlib.suppress(OSError, ValueError):
            share = float((work / SHARE).read_text())
        with contextlib.suppress(OSError, ValueError, KeyError):
            history = files.read_json(work / STATE)["history"]
        return cls(name, share, len(history), history[-1]["stopping_loss"] if history else float("nan"))


#: Function that receives the members that are being trained, and the number of those that are done.
Show = Callable[[list[Progress], int], None]


@dataclasses.dataclass(frozen=True)
class _Job:
    """A stage that was submitted: its run, what it is, its member if it has one, the members after it."""

    run: str
    what: str
    stage: Stage
    training: "Training"
    member: "Member | None" = None
    then: "tuple[Member, ...]" = ()
    is_last: bool = False
    attempt: int = 0

    @property
    def name(self) -> str:
        """Return the name for messages, behind the name of the run if the run has one."""
        return f"{self.run}: {self.what}" if self.run else self.what


def train(training: "Training", launch: Launch, show: Show = lambda members, done: None) -> list[str]:
    """Train the missing members in child processes and write the predictions.

    Parameters
    ----------
    training : Training
        The training of the members of a run in one arm.
    launch : Launch
        Where and how.
    show : callable
        Called about twice a second with the members in training and the number of those that are done.

    Returns
    -------
    list of str
        One text ``member: process`` per member that was left to another process, as `Training.train`.

    Raises
    ------
    UsageError
        The engine does not exist or does not answer.
    DataError
        Members failed, after the others were trained; the message names the first one's log.
    """
    if training.is_finished:
        return []
    left, failed = train_all({"": training}, launch, training.run.path, show)
    if failed:
        shown = "; ".join(failed[:3]) + (f"; and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise DataError(f"{len(failed)} failed: {shown}; the same command tries again")
    return left


def train_all(
    trainings: "Mapping[str, Training]",
    launch: Launch,
    folder: Path,
    show: Show = lambda members, done: None,
) -> tuple[list[str], list[str]]:
    """Train the missing members of runs in child processes, in one queue, and write their predictions.

    Parameters
    ----------
    trainings : dict of str to Training
        Trainings by the name of the run, which stands before the names of members; it may be empty.
    launch : Launch
        Where and how.
    folder : Path
        Folder for the files of Slurm's jobs.
    show : callable
        As for `train`.

    Returns
    -------
    left : list of str
        One text ``member: process`` per member that was left to another process.
    failed : list of str
        One text with name, reason and log per stage that failed; all others were done.

    Raises
    ------
    UsageError
        The engine does not exist or does not answer.
    """
    jobs = [job for run, training in trainings.items() for job in _first_jobs(launch, training, run)]
    engine = launch.engine(folder)
    try:
        return _done(engine, jobs, launch, show)
    finally:
        engine.close()


def _first_jobs(launch: Launch, training: "Training", run: str) -> list[_Job]:
    """Return the jobs of a training that wait for no other job; `run` stands before their names."""
    missing, arm = training.missing, training.experiment.arm
    jobs = [] if missing else [_last_job(launch, training, run)]
    for chunk in dict.fromkeys(member.chunk for member in missing):
        of_chunk = tuple(member for member in missing if member.chunk == chunk)
        if training.is_prepared(chunk):
            jobs += [_member_job(launch, training, member, run) for member in of_chunk]
        else:
            log = training.run.chunk(0, arm).with_name(f"chunk-{chunk}.log")
            stage = launch.stage(training.run, "prepare", arm, chunk, log=log)
            jobs.append(_Job(run, f"preparation of chunk {chunk}", stage, training, then=of_chunk))
    return jobs


def _member_job(launch: Launch, training: "Training", member: "Member", run: str) -> _Job:
    """Return the job that trains a member."""
    arguments = (training.experiment.arm, member.chunk, member.init)
    stage = launch.stage(training.run, "member", *arguments, log=training.log(member))
    return _Job(run, member.name, stage, training, member)


def _last_job(launch: Launch, training: "Training", run: str) -> _Job:
    """Return the job that finishes a run."""
    stage = launch.stage(training.run, "finish", log=training.run.path / "finish.log")
    return _Job(run, "the end of the run", stage, training, is_last=True)


def _done(engine: Engine, jobs: Sequence[_Job], launch: Launch, show: Show) -> tuple[list[str], list[str]]:
    """Wait until jobs, and those that follow, have ended; return what was left and what failed."""
    left: list[str] = []
    failed: list[str] = []
    unfinished = set()  # runs of which something was left or failed
    running: dict[_Job, Future] = {}
    waiting, trained = list(jobs), 0
    while waiting or running:
        if waiting:
            running |= zip(waiting, engine.submit([job.stage for job in waiting]), strict=True)
        waiting = []
        time.sleep(POLL_S)
        for job in [job for job, future in running.items() if future.done()]:
            outcome = _outcome(running.pop(job))
            if outcome.state == DONE:
                trained += job.member is not None
                waiting += [_member_job(launch, job.training, one, job.run) for one in job.then]
            elif outcome.state == FAILED and job.attempt < launch.retries:
                waiting.append(dataclasses.replace(job, attempt=job.attempt + 1))
            else:
                unfinished.add(job.training)
                if outcome.state == LEFT:
                    left.append(f"{job.name}: {outcome.message}")
                else:
                    failed.append(f"{job.name}: {outcome.message} (log: {job.stage.log})")
            others = {other.training for other in [*running, *waiting]} | unfinished
            if not job.is_last and job.training not in others:
                waiting.append(_last_job(launch, job.training, job.run))
        members = {job.name: job.training.folder(job.member).path for job in running if job.member}
        begun = [item for item in members.items() if work_folder(item[1]).exists()]
        show([Progress.read(*item) for item in begun], trained)
    return left, failed


def _outcome(future: Future) -> Outcome:
    """Return what became of a stage; an error of the engine, as the death of a worker, is a failure."""
    try:
        return future.result()
    except Exception as error:  # each engine has its own
        return Outcome(FAILED, " ".join(f"{type(error).__name__}: {error}".split())[-300:])
