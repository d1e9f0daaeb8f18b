"""Train a small study on a real Slurm of one node, with a cancelled job and a time limit that is met.

The check starts munged, slurmctld and slurmd of the distribution's packages on the loopback interface,
with a configuration in a temporary folder, and ends them by their process ids. One job is cancelled, and
the long member cannot end within the limit of three minutes: Slurm warns its job, which is submitted again
and goes on. In the end the predictions must be those of the same study on local workers, bit for bit.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from check_kills import RECORDS, TFGMM

import tfgmm
from tfgmm.cli.console import console, run_script
from tfgmm.core.errors import DataError

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
CONFIGURATION = """\
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=check Nodes=ALL Default=YES MaxTime=60 State=UP
"""
STUDY = """\
data = "{root}/data"
out = "{root}/{name}"
networks = "kik"
preset = "quick"
backbone = "none"
field = "no"
base = 2
depth = 2
input-size = 68
pixel-km = 4
chunks = 2
inits = 1
epochs = 4
threads = 1
{where}
[runs.short]
[runs.long]
epochs = {epochs}
patience = 0
chunk = 0
"""
SLURM, LOCAL = 'executor = "slurm"\nminutes = 3\n', 'executor = "local"\nworkers = 2\n'


def lacking() -> str:
    """Say what this machine lacks for a Slurm of its own; nothing if it has all."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    return "it needs root" if os.geteuid() else ""


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def slurm(root: Path) -> Iterator[None]:
    """Run a Slurm of one node, to which the environment points, and end it."""
    host = socket.gethostname().partition(".")[0]
    (root / "state").mkdir()
    (root / "munge.key").write_bytes(os.urandom(128))
    (root / "munge.key").chmod(0o400)
    (root / "slurm.conf").write_text(
        CONFIGURATION.format(host=host, root=root, ports=(free_port(), free_port()), cpus=os.cpu_count())
    )
    os.environ["SLURM_CONF"] = str(root / "slurm.conf")
    names = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    own = [f"--{name}={root}/munge.{name.partition('-')[0]}" for name in names]
    started: list[subprocess.Popen] = []
    with (root / "daemons.log").open("ab") as log:
        try:
            for command in (
                ["munged", "--foreground", "--force", *own],
                ["slurmctld", "-D"],
                ["slurmd", "-D"],
            ):
                started.append(subprocess.Popen(command, stdout=log, stderr=log))
                time.sleep(2)
            for _ in range(60):
                if "State=IDLE" in scontrol("show", "node"):
                    break
                time.sleep(1)
            else:
                raise DataError(f"Slurm does not start: see {root}/daemons.log and {root}/slurmctld.log")
            yield
        finally:
            subprocess.run(["scancel", "--me"], check=False)
            for _ in range(30):
                if not re.search("JobState=(RUNNING|COMPLETING|PENDING)", scontrol("show", "job")):
                    break
                time.sleep(1)
            for daemon in reversed(started):
                daemon.terminate()
                try:
                    daemon.wait(20)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()


def scontrol(*words: str) -> str:
    """Return what ``scontrol`` prints, on one line each."""
    return subprocess.run(
        ["scontrol", "--oneliner", *words], capture_output=True, text=True, check=False
    ).stdout


def study(root: Path, name: str, where: str, epochs: int) -> subprocess.Popen:
    """Start the study."""
    path = root / f"{name}.toml"
    path.write_text(STUDY.format(root=root, name=name, where=where, epochs=epochs))
    log = path.with_suffix(".log").open("ab")
    return subprocess.Popen([*TFGMM, "study", str(path)], stdout=log, stderr=log)


def finish(process: subprocess.Popen, log: Path) -> None:
    """Wait for a study; raise `DataError` if it fails."""
    if process.wait():
        raise DataError(f"the study fails: {' '.join(log.read_text().splitlines()[-3:])} (see {log})")


def disturbed(root: Path, process: subprocess.Popen) -> tuple[int, dict[str, int]]:
    """Cancel a job after its first epoch; return the number of jobs, and how often which began again."""
    cancelled, restarts, jobs = None, {}, set()
    while process.poll() is None:
        time.sleep(1)
        for line in scontrol("show", "job").splitlines():
            found = re.search(r"JobId=(\d+).*JobState=(\w+).*Restarts=(\d+)", line)
            if found is None:  # there is no job yet
                continue
            job, state, times = found.groups()
            jobs.add(job)
            if int(times):
                restarts[job] = int(times)
            if cancelled is None and state == "RUNNING" and [*root.rglob("state.json")]:
                subprocess.run(["scancel", job], check=True)
                cancelled = job
    if cancelled is None:
        raise DataError("no job was cancelled")
    return len(jobs), restarts


def main(
    epochs: Annotated[
        int, typer.Option(help="Of the long member, which must train for more than 90 s.")
    ] = 200,
    keep: Annotated[Path | None, typer.Option(help="Keep the runs and logs in this folder.")] = None,
) -> None:
    """Train a study as jobs of a Slurm of one node."""
    if reason := lacking():
        console.print(f"Skipped: {reason}")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the daemons end
    root = keep or Path(tempfile.mkdtemp(prefix="check-slurm-"))
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [*TFGMM, "simulate", str(root / "data"), *RECORDS, "--overwrite"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with slurm(root), study(root, "slurm", SLURM, epochs) as process:
        try:
            jobs, restarts = disturbed(root / "slurm", process)
            finish(process, root / "slurm.log")
        finally:
            process.terminate()
    if not restarts:
        raise DataError(f"no job met its time limit: give more than --epochs {epochs}")
    finish(study(root, "local", LOCAL, epochs), root / "local.log")
    for run in ("short", "long"):
        one, other = (
            tfgmm.open_run(root / name / run).folder.read_predictions() for name in ("slurm", "local")
        )
        if not one.equals(other):
            raise DataError(f"{root}: predictions of {run} differ from those of local workers")
    if keep is None:
        shutil.rmtree(root)
    console.print(
        f"{jobs} jobs, one cancelled; {sum(restarts.values())} times a limit met and gone on: "
        "predictions equal those of local workers"
    )


if __name__ == "__main__":
    run_script(main)
