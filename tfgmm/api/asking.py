"""Earthquakes and places to predict for; model servers."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from tfgmm.api.dataset import PathLike
from tfgmm.core import files, outputs
from tfgmm.core.errors import UsageError
from tfgmm.data.tally import Tally
from tfgmm.prediction import scenarios
from tfgmm.readers.common import sheet


def scenario(magnitude: float, longitude: float, latitude: float, depth_km: float) -> pd.DataFrame:
    """Return the table of one earthquake to predict.

    Parameters
    ----------
    magnitude : float
        Mw.
    longitude, latitude : float
        Of the epicentre, degrees.
    depth_km : float
        Of the hypocentre.

    Returns
    -------
    pandas.DataFrame
        ``event_id, longitude, latitude, depth_km, magnitude``; tables of one's own need the last four.

    Raises
    ------
    UsageError
        A value is missing or cannot be.

    Examples
    --------
    >>> import tfgmm
    >>> tfgmm.scenario(7.0, 139.8, 35.5, 30.0)["magnitude"].item()
    7.0
    """
    return scenarios.single(magnitude, longitude, latitude, depth_km)


def read_events(
    path: PathLike, *, any_type: bool = False, decimal_comma: bool = False
) -> tuple[pd.DataFrame, Tally]:
    """Read earthquakes to predict from a table of any agency, or QuakeML; times are not needed.

    Parameters
    ----------
    path : path
    any_type : bool
        Keep quarry blasts, explosions and what else is no earthquake in it.
    decimal_comma : bool
        Read the comma as the decimal sign in tables of text.

    Returns
    -------
    events : pandas.DataFrame
    left_out : Tally
        How many were read, and what was left out and why.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        The file is no catalogue, or no event is complete.

    Examples
    --------
    >>> events, left_out = tfgmm.read_events("catalogue.csv")  # doctest: +SKIP
    """
    with sheet.decimal_comma(decimal_comma):
        return scenarios.from_catalogue(Path(path), any_type)


def read_sites(path: PathLike, *, decimal_comma: bool = False) -> tuple[pd.DataFrame, Tally]:
    """Read places to predict at from a table with longitude, latitude and perhaps an id.

    Parameters
    ----------
    path : path
    decimal_comma : bool
        As for `read_events`.

    Returns
    -------
    sites : pandas.DataFrame
        ``site_id, longitude, latitude``.
    left_out : Tally
        How many were read, and which were listed again.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        A coordinate cannot be, or one id has two places.

    Examples
    --------
    >>> sites, left_out = tfgmm.read_sites("sites.csv")  # doctest: +SKIP
    """
    with sheet.decimal_comma(decimal_comma):
        return scenarios.read_sites(Path(path))


def query(
    url: str,
    events: pd.DataFrame,
    out: PathLike | None = None,
    *,
    sites: pd.DataFrame | None = None,
    stations: Sequence[str] | None = None,
    timeout_s: float = 60.0,
    overwrite: bool = False,
) -> xr.Dataset:
    """Ask a model server about earthquakes: maps, or values at sites or stations.

    Parameters
    ----------
    url : str
        ``http://HOST:PORT/v1/models/NAME`` or ``grpc://HOST:PORT/v1/models/NAME``.
    events : pandas.DataFrame
        With ``longitude, latitude, depth_km, magnitude``.
    out : path, optional
        File for the answer: maps ``.nc``, a table of sites ``.csv`` or ``.parquet``.
    sites : pandas.DataFrame, optional
        With ``longitude`` and ``latitude``; maps by default.
    stations : sequence of str, optional
        Instead of sites, ids of stations that the model knows.
    timeout_s : float
        For one answer.
    overwrite : bool
        Replace `out` if it exists.

    Returns
    -------
    xarray.Dataset
        Of `Client.maps`, `Client.at_sites` or `Client.at_stations`.

    Raises
    ------
    UsageError
        The server refuses the values or has no such model, or `out` has the wrong ending or exists.
    DataError
        A value cannot be, the server does not answer, or the file system refuses to write.

    Examples
    --------
    >>> event = tfgmm.scenario(7.0, 139.8, 35.5, 30.0)  # doctest: +SKIP
    >>> maps = tfgmm.query("http://localhost:8501/v1/models/kanto", event)  # doctest: +SKIP
    """
    from tfgmm.serving import client
    from tfgmm.serving.transport import Patience

    at_sites = refuse_both(sites, stations)
    if out is not None:
        out = refuse_answer(Path(out), at_sites, overwrite)
    asked = client.Client(url, Patience(timeout_s=timeout_s))
    if stations is not None:
        answer = asked.at_stations(events, stations)
    else:
        answer = asked.maps(events) if sites is None else asked.at_sites(events, sites)
    if out is not None:
        with files.whole_file(out) as temporary:
            _write_answer(answer, temporary, out.suffix.lower())
    return answer


def refuse_both(sites: object, stations: object) -> bool:
    """Return whether sites or stations are asked for, not maps; raise `UsageError` if both are."""
    if sites is not None and stations is not None:
        raise UsageError("give either --sites or --stations, not both")
    return sites is not None or stations is not None


def refuse_answer(out: Path, at_sites: bool, overwrite: bool) -> Path:
    """Return the file for a server's answer; raise `UsageError` if it cannot be written so, or exists."""
    if at_sites:
        return refuse_prediction(out, at_sites, overwrite)
    outputs.ending_of(out, (".nc",), "maps")
    files.refuse_existing(out, overwrite)
    return out


def refuse_prediction(out: Path, at_sites: bool, overwrite: bool) -> Path:
    """Return the file for a prediction; raise `UsageError` if it cannot be written so, or exists."""
    outputs.prediction_ending(out, at_sites)
    files.refuse_existing(out, overwrite)
    return out


def _write_answer(answer: xr.Dataset, path: Path, ending: str) -> None:
    """Write a server's answer in the format of the ending."""
    from tfgmm.serving import client

    if ending == ".nc":
        answer.to_netcdf(path)
    elif ending == ".csv":
        client.table(answer).to_csv(path, index=False)
    else:
        client.table(answer).to_parquet(path, index=False)


def serve(
    models: PathLike | Iterable[PathLike],
    *,
    host: str = "127.0.0.1",
    rest_port: int = 8501,
    grpc_port: int = 8500,
    say: Callable[[str], None] = print,
) -> None:
    """Answer requests as TensorFlow Serving does, until Ctrl-C: a small server for machines without docker.

    Parameters
    ----------
    models : path or paths
        Folders of exported models, as ``saved_models/NAME``.
    host : str
        Address to listen on; 0.0.0.0 lets other machines ask, without passwords.
    rest_port, grpc_port : int
        0 takes any free one.
    say : callable
        Receives lines on what is loaded, and the addresses for clients.

    Raises
    ------
    UsageError
        A folder holds no version, or a port is taken.
    DataError
        No version of a model can be loaded.

    Examples
    --------
    >>> tfgmm.serve("saved_models/kanto")  # doctest: +SKIP
    """
    from tfgmm.serving.models import Models
    from tfgmm.serving.server import Server

    folders = [models] if isinstance(models, PathLike) else models
    offered = Models([Path(folder) for folder in folders], report=say)
    server = Server(offered, host=host, rest_port=rest_port, grpc_port=grpc_port)
    say("A small server with the interface of TensorFlow Serving, which it is not.")
    server.serve(lambda: say("\n".join([*server.addresses, "Ctrl-C stops it."])))


def docker_command(
    model: PathLike, *, host: str = "127.0.0.1", rest_port: int = 8501, grpc_port: int = 8500
) -> str:
    """Return the command that runs TensorFlow Serving itself for an exported model.

    Parameters
    ----------
    model : path
        Folder of the model, that of its versions.
    host, rest_port, grpc_port
        As for `serve`.

    Examples
    --------
    >>> print(tfgmm.docker_command("saved_models/kanto"))  # doctest: +SKIP
    """
    from tfgmm.serving import server

    return server.docker_command(Path(model), host, rest_port, grpc_port)
