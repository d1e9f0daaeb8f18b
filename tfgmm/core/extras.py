"""Packages that only some features need: a missing one is an error that says how to install it."""

import contextlib
from collections.abc import Iterator

from tfgmm.core.errors import UsageError

#: Packages of each extra of ``pyproject.toml``, and of their own that tfgmm imports, with their names.
EXTRAS = {
    "waveforms": {"obspy": "ObsPy"},
    "serve": {"starlette": "Starlette", "uvicorn": "Uvicorn", "h11": "h11"},
    "dask": {"distributed": "Dask"},
    "slurm": {"submitit": "submitit"},
}


@contextlib.contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Import modules in the block; turn the error of a missing package of an extra into one that names it.

    Parameters
    ----------
    extra : str
        Name of the extra.
    what : str
        What needs the package, for the message, such as ``tfgmm import nied-ascii``.

    Raises
    ------
    UsageError
        A package of the extra is not installed.

    Examples
    --------
    >>> with needed("serve", "tfgmm serve"):
    ...     raise ModuleNotFoundError(name="uvicorn")
    Traceback (most recent call last):
    tfgmm.core.errors.UsageError: tfgmm serve needs Uvicorn: pip install "tfgmm[serve]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS[extra]:
            raise
        raise UsageError(f'{what} needs {EXTRAS[extra][package]}: pip install "tfgmm[{extra}]"') from error
