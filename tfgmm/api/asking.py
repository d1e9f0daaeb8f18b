"""Make tables of earthquakes and sites to predict for, run model servers, and request predictions."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from tfgmm.api.dataset import PathLike
from tfgmm.core import extras, files, outputs
from tfgmm.core.arguments import checked
from tfgmm.core.errors import UsageError
from tfgmm.data.tally import Tally
from tfgmm.prediction import quantities, scenarios
from tfgmm.readers.common import sheet


@checked
def scenario(magnitude: float, longitude: float, latitude: float, depth_km: float) -> pd.DataFrame:
    """Return the table of one earthquake for which ground motion is to be predicted.

    Parameters
    ----------
    magnitude : float
        Moment magnitude Mw.
    longitude, latitude : float
        Coordinates of the epicentre, degrees.
    depth_km : float
        Depth of the hypocentre, km.

    Returns
    -------
    pandas.DataFrame
        One row with the columns ``event_id, longitude, latitude, depth_km, magnitude``. The ``event_id`` is
        ``scenario``; a table made by hand may lack this column.

    Raises
    ------
    UsageError
        A value is missing or out of range.

    Examples
    --------
    >>> import tfgmm
    >>> tfgmm.scenario(7.0, 139.8, 35.5, 30.0)["magnitude"].item()
    7.0
    """
    return scenarios.single(magnitude, longitude, latitude, depth_km)


@checked
def read_events(
    path: PathLike, *, any_type: bool = False, decimal_comma: bool = False
) -> tuple[pd.DataFrame, Tally]:
    """Read the earthquakes of a catalogue for predictions, and count the dropped earthquakes.

    Origin times are not needed. Earthquakes without magnitude, coordinates or depth are dropped. Magnitudes
    are taken as Mw, whatever their type.

    Parameters
    ----------
    path : path
        Catalogue: a table (CSV, TSV, Excel, ...) of any agency, or a QuakeML file.
    any_type : bool
        If True, also keep events that the catalogue calls quarry blasts, explosions or the like.
    decimal_comma : bool
        If True, the comma is the decimal sign in text tables.

    Returns
    -------
    events : pandas.DataFrame
        One row per earthquake: ``event_id``; ``longitude, latitude``, degrees; ``depth_km``, km;
        ``magnitude``; ``magnitude_source``, the type of the magnitude; and the other columns of an events
        table (``docs/data.md``).
    left_out : Tally
        Number of earthquakes read, and the earthquakes dropped, by reason.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        The file is no catalogue, or every earthquake lacks a value.

    Examples
    --------
    >>> events, left_out = tfgmm.read_events("catalogue.csv")  # doctest: +SKIP
    """
    with sheet.decimal_comma(decimal_comma):
        return scenarios.from_catalogue(Path(path), any_type)


@checked
def read_sites(path: PathLike, *, decimal_comma: bool = False) -> tuple[pd.DataFrame, Tally]:
    """Read the sites of a table for predictions, and count the rows that repeat a site.

    Parameters
    ----------
    path : path
        Table with columns for longitude and latitude, degrees, and optionally for an id of the site.
    decimal_comma : bool
        If True, the comma is the decimal sign in text tables.

    Returns
    -------
    sites : pandas.DataFrame
        One row per site: ``site_id``; ``longitude, latitude``, degrees. Sites without an id are numbered.
    left_out : Tally
        Number of rows read, and the rows dropped because they repeat a site.

    Raises
    ------
    UsageError
        The file or a column does not exist.
    DataError
        A coordinate is missing or out of range, or one id has two different places.

    Examples
    --------
    >>> sites, left_out = tfgmm.read_sites("sites.csv")  # doctest: +SKIP
    """
    with sheet.decimal_comma(decimal_comma):
        return scenarios.read_sites(Path(path))


@checked
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
    """Request predictions for earthquakes from a model server: as maps, or at sites or stations.

    Parameters
    ----------
    url : str
        Address of the model: ``http://HOST:PORT/v1/models/NAME`` or ``grpc://HOST:PORT/v1/models/NAME``.
    events : pandas.DataFrame
        Earthquakes: ``longitude, latitude`` (degrees), ``depth_km`` (km), ``magnitude`` (Mw).
    out : path, optional
        Output file: ``.nc`` for maps, ``.csv`` or ``.parquet`` for sites or stations.
    sites : pandas.DataFrame, optional
        Sites to predict at: ``longitude, latitude``, degrees. Maps are predicted if neither sites nor
        stations are given.
    stations : sequence of str, optional
        Ids of stations to predict at, instead of sites; the model must know the stations.
    timeout_s : float
        Longest time to wait for the response to one request, s.
    overwrite : bool
        If True, replace `out` if it exists.

    Returns
    -------
    xarray.Dataset
        Median (g), mean and standard deviations (ln units), as returned by `Client.maps`,
        `Client.at_sites` or `Client.at_stations`.

    Raises
    ------
    UsageError
        The server refuses the values or has no such model, or `out` has the wrong ending or exists.
    DataError
        A value is missing or out of range, the server does not respond, or the file system refuses to
        write.

    Examples
    --------
    >>> event = tfgmm.scenario(7.0, 139.8, 35.5, 30.0)  # doctest: +SKIP
    >>> maps = tfgmm.query("http://localhost:8501/v1/models/kanto", event)  # doctest: +SKIP
    """
    from tfgmm.serving import client
    from tfgmm.serving.client import Patience

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


def refuse_both(sites: object, stations: Sequence[str] | str | None) -> bool:
    """Return True if sites or stations are given, False if neither is given, which means maps.

    Parameters
    ----------
    sites : object
        Sites to predict at; None if not given.
    stations : sequence of str or str, optional
        Ids of stations to predict at, or ``all``.

    Raises
    ------
    UsageError
        Both sites and stations are given, or the stations are none.
    """
    if sites is not None and stations is not None:
        raise UsageError("give either --sites or --stations, not both")
    if stations is not None and not len(stations):
        raise UsageError("--stations names no station: write ids with commas between, as K01,K02")
    return sites is not None or stations is not None


def refuse_answer(out: Path, at_sites: bool, overwrite: bool) -> Path:
    """Return the output file for the response of a model server, after checking that it can be written.

    Parameters
    ----------
    out : Path
        The output file.
    at_sites : bool
        True for a table of sites or stations, False for maps.
    overwrite : bool
        If True, the file may exist.

    Returns
    -------
    Path
        `out`, unchanged.

    Raises
    ------
    UsageError
        The ending of the file does not fit, or the file exists and `overwrite` is False.
    """
    if at_sites:
        outputs.ending_of(out, outputs.TABLES, "a table of sites")
    else:
        outputs.ending_of(out, (".nc",), "maps")
    files.refuse_existing(out, overwrite)
    return out


def _write_answer(answer: xr.Dataset, path: Path, ending: str) -> None:
    """Write the predictions of a model server into a file, in the format of the ending (``.csv``, ...)."""
    if ending == ".nc":
        answer.to_netcdf(path)
    elif ending == ".csv":
        quantities.table(answer).to_csv(path, index=False)
    else:
        quantities.table(answer).to_parquet(path, index=False)


@checked
def serve(
    models: PathLike | Iterable[PathLike],
    *,
    host: str = "127.0.0.1",
    rest_port: int = 8501,
    grpc_port: int = 8500,
    say: Callable[[str], None] = print,
) -> None:
    """Run a small model server with the interface of TensorFlow Serving, until Ctrl-C; nothing is returned.

    The server is meant for machines without docker.

    Parameters
    ----------
    models : path or paths
        Folders of exported models, as ``saved_models/NAME``.
    host : str
        Address to listen on. With 0.0.0.0 other machines can send requests too, without passwords.
    rest_port, grpc_port : int
        Ports of the REST and the gRPC interface; 0 takes any free port.
    say : callable
        Called with each line of text on the loaded models and on the addresses for clients.

    Raises
    ------
    UsageError
        A folder holds no version of a model, a port is taken, or the packages of the extra ``[serve]`` are
        not installed.
    DataError
        No version of a model can be loaded.

    Examples
    --------
    >>> tfgmm.serve("saved_models/kanto")  # doctest: +SKIP
    """
    with extras.needed("serve", "tfgmm serve"):
        from tfgmm.serving.models import Models
        from tfgmm.serving.server import Server

    folders = [models] if isinstance(models, PathLike) else list(models)
    if not folders:
        raise UsageError("serve: give at least one folder of an exported model, as saved_models/NAME")
    offered = Models([Path(folder) for folder in folders], report=say)
    server = Server(offered, host=host, rest_port=rest_port, grpc_port=grpc_port)
    say("A small server with the interface of TensorFlow Serving, which it is not.")
    server.serve(lambda: say("\n".join([*server.addresses, "Ctrl-C stops it."])))
