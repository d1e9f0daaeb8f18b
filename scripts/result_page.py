"""Pages of results: what they rest on, how and when they were made."""

import shlex
import sys
from datetime import date
from pathlib import Path

import pandas as pd

from tfgmm.runs.run import RunFolder


def made() -> dict[str, str]:
    """The command that is running, and the date."""
    command = shlex.join(["scripts/" + Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": f"`{command}`", "date": date.today().isoformat()}


def of_run(run: RunFolder) -> dict[str, str]:
    """The same of a script that scores a run on simulated records, with the records and the run."""
    experiment = run.experiment
    return {
        "records": f"simulated records, not measured ones (data hash {run.data['digest']})",
        **made(),
        "run": f"networks {', '.join(experiment.networks)}; {', '.join(experiment.ims)}; preset "
        f"{experiment.preset}; backbone {experiment.backbone}; {experiment.chunks} chunks x "
        f"{experiment.inits}",
    }


def head(title: str, facts: dict[str, str]) -> str:
    """Title and list of facts as Markdown."""
    return f"# {title}\n\n" + "".join(f"- {name}: {text}\n" for name, text in facts.items())


def markdown(table: pd.DataFrame, formats: dict[str, str]) -> str:
    """Table as Markdown; columns that `formats` names are formatted with its specifications."""
    shown = table.copy()
    for name in table.columns.intersection([*formats]):
        shown[name] = shown[name].map(("{:" + formats[name] + "}").format)
    return shown.to_markdown(index=False, disable_numparse=True)
