"""Wrong arguments of public functions: one line of tfgmm that says what is expected, nothing else."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import tfgmm
from conftest import small_dataset
from tfgmm.core import arguments
from tfgmm.core.errors import DataError, TfgmmError, UsageError, one_line
from tfgmm.prediction.ensemble import Predictor
from tfgmm.prediction.field_terms import FieldTerms
from tfgmm.serving.client import Patience

EVENT = tfgmm.scenario(6.5, 139.8, 35.7, 30.0)
SITES = pd.DataFrame({"longitude": [139.8], "latitude": [35.5]})
ROWS = [{"longitude": 139.8, "latitude": 35.5}]
URL = "http://127.0.0.1:9/v1/models/none"
DATA = tfgmm.Dataset.of(small_dataset())
EXPERIMENT = tfgmm.experiment("kik", preset="quick")
MAP = xr.DataArray(np.ones((3, 3)), dims=("latitude", "longitude"))
#: Wrong calls by what the message says of them.
CALLS = [
    (lambda: tfgmm.open_run(3), "open_run: path is 3, expected path"),
    (lambda: tfgmm.open_run(["a", "b"]), "path is ['a', 'b'], expected path"),
    (lambda: tfgmm.open_run(__file__), "is no run folder"),
    (lambda: tfgmm.Run("runs/kik"), "Run: folder is 'runs/kik', expected RunFolder"),
    (lambda: tfgmm.Run.latest(3), "Run.latest: folder is 3"),
    (lambda: tfgmm.open_dataset(None), "open_dataset: folder is None"),
    (lambda: tfgmm.open_dataset(SITES), "folder is a DataFrame, expected path"),
    (lambda: tfgmm.open_dataset(__file__), "is no dataset folder"),
    (lambda: tfgmm.Dataset(1, 2, 3, {}), "Dataset: events is 1, expected pandas.DataFrame"),
    (lambda: tfgmm.Dataset.of("data"), "dataset is 'data'"),
    (lambda: DATA.save(3), "Dataset.save: folder is 3"),
    (lambda: DATA.save(__file__), "exists already"),
    (lambda: DATA.append_to("x", same=(1, 2)), "same is (1, 2), expected (seconds, km, magnitude)"),
    (lambda: DATA.append_to("x", same=3), "same is 3"),
    (lambda: DATA.append_to(__file__), "is no dataset folder"),
    (lambda: DATA.draw(3), "Dataset.draw: folder is 3"),
    (lambda: DATA.to_table(3), "path is 3"),
    (lambda: DATA.to_table("x.nc"), "can be written as .csv"),
    (lambda: DATA.add_layer("vs30.tif"), "layer is 'vs30.tif', expected xarray.DataArray"),
    (lambda: DATA.add_layer(np.ones((3, 3))), "layer is a ndarray"),
    (lambda: DATA.add_layer(MAP), "None on latitude, longitude is no site layer"),
    (lambda: DATA.add_layer(MAP.rename("slope")), "slope on latitude, longitude is no site layer"),
    (lambda: tfgmm.simulate(events="many"), "simulate: events is 'many', expected int"),
    (lambda: tfgmm.simulate(events=3.5), "events is 3.5"),
    (lambda: tfgmm.simulate(events=-1), "events"),
    (lambda: tfgmm.compare([]), "two or more evaluations"),
    (lambda: tfgmm.compare(None), "compare: evaluations is None"),
    (lambda: tfgmm.compare(["runs/a", "runs/b"]), "two or more evaluations"),
    (lambda: tfgmm.report([]), "at least one run"),
    (lambda: tfgmm.report("runs/kik"), "report: runs is 'runs/kik', expected sequence of Run or path"),
    (lambda: tfgmm.report(["runs/kik"], 3), "page is 3"),
    (lambda: tfgmm.check(3), "check: folder is 3"),
    (lambda: tfgmm.check(None), "folder is None"),
    (lambda: tfgmm.check(__file__), "neither a run nor a dataset"),
    (lambda: tfgmm.scenario("big", 139, 35, 10), "scenario: magnitude is 'big', expected float"),
    (lambda: tfgmm.scenario([6, 7], 139, 35, 10), "magnitude is [6, 7]"),
    (lambda: tfgmm.scenario(True, 139, 35, 10), "magnitude is True"),
    (lambda: tfgmm.scenario(float("nan"), 139, 35, 10), "magnitude is nan"),
    (lambda: tfgmm.read_events(EVENT), "read_events: path is a DataFrame"),
    (lambda: tfgmm.read_events("/proc/none"), "/proc/none"),
    (lambda: tfgmm.read_events("/proc"), "/proc"),
    (lambda: tfgmm.read_sites(SITES), "read_sites: path is a DataFrame"),
    (lambda: tfgmm.read_sites(3), "path is 3"),
    (lambda: tfgmm.read_sites("/proc"), "/proc"),
    (lambda: tfgmm.query(3, EVENT), "query: url is 3"),
    (lambda: tfgmm.query(URL, ROWS), "events is [{"),
    (lambda: tfgmm.query(URL, EVENT, stations=3), "stations is 3"),
    (lambda: tfgmm.query(URL, EVENT, timeout_s=-1), "give times above 0 s"),
    (lambda: tfgmm.serve([]), "at least one folder"),
    (lambda: tfgmm.serve(3), "serve: models is 3"),
    (lambda: tfgmm.docker_command(3), "docker_command: model is 3"),
    (lambda: tfgmm.docker_command("model", rest_port=-5), "-5 is no port"),
    (lambda: tfgmm.docker_command("model", grpc_port="x"), "grpc_port is 'x', expected int"),
    (lambda: tfgmm.fetch_jma(2010, "x"), "fetch_jma: years is 2010, expected str or sequence of int"),
    (lambda: tfgmm.fetch_jma("last", "x"), "write years and ranges"),
    (lambda: tfgmm.fetch_jma("2010", 3), "folder is 3"),
    (lambda: tfgmm.read_jma("x", "x", region=(1, 2)), "read_jma: region is (1, 2), expected (west, south"),
    (lambda: tfgmm.read_jma("x", "x", region=("a", "b", "c", "d")), "region is ('a', 'b', 'c', 'd')"),
    (lambda: tfgmm.read_jma("x", "x", region=(1, 50, 2, 40)), "the region 1,50,2,40 is none"),
    (lambda: tfgmm.read_jma("x", "x", min_magnitude="a"), "min_magnitude is 'a', expected float"),
    (lambda: tfgmm.read_jma("x", "x", min_magnitude=np.nan), "smallest magnitude nan"),
    (lambda: tfgmm.read_jma("x", "x", max_distance_km=-1), "largest distance -1 km"),
    (lambda: tfgmm.read_jma("x", "x", max_distance=100), "there is no max_distance: choose one of files"),
    (lambda: tfgmm.read_jma([], "x"), "there is no file to read"),
    (lambda: tfgmm.read_jma(None, "x"), "files is None"),
    (lambda: tfgmm.read_kiknet_flatfile(3), "attributes is 3"),
    (lambda: tfgmm.read_kiknet_flatfile("x", ims="PGA"), "ims is 'PGA', expected sequence of str"),
    (lambda: tfgmm.read_kiknet_flatfile("x", unit=3), "unit is 3"),
    (lambda: tfgmm.read_gmprocess(3), "files is 3, expected path or paths"),
    (lambda: tfgmm.read_gmprocess([]), "there is no file to read"),
    (lambda: tfgmm.read_gmprocess("x", component=3), "component is 3"),
    (lambda: tfgmm.read_table([]), "there is no file to read"),
    (lambda: tfgmm.read_table("x", columns=3), "columns is 3, expected mapping or sequence of str"),
    (lambda: tfgmm.read_table("x", columns={"magnitude": 3}), "columns is a dict"),
    (lambda: tfgmm.read_table("x", layout=["esm"]), "layout is ['esm']"),
    (lambda: tfgmm.read_nied([]), "there is no file to read"),
    (lambda: tfgmm.read_nied("x", highpass_hz="low"), "highpass_hz is 'low', expected float or None"),
    (lambda: tfgmm.read_nied("x", ims=["SA(-1)"]), "SA(-1)"),
    (lambda: tfgmm.read_waveforms("x", None), "catalogue is None"),
    (lambda: tfgmm.read_waveforms([], "x"), "there is no file to read"),
    (lambda: tfgmm.read_waveforms("x", "x", correction="much"), "much"),
    (lambda: tfgmm.read_layer(3, "vs30"), "read_layer: path is 3"),
    (lambda: tfgmm.read_layer("x", ["vs30"]), "name is ['vs30']"),
    (lambda: tfgmm.read_layer("x", "vs30", missing="abc"), "missing is 'abc', expected sequence of float"),
    (lambda: tfgmm.add_layer("x", "x", "vs30", unit="m"), "add_layer: there is no unit: choose value"),
    (lambda: tfgmm.add_layer(3, "x", "vs30"), "folder is 3"),
    (lambda: tfgmm.add_layer(__file__, "x", "vs30"), "is no dataset folder"),
    (lambda: tfgmm.experiment(3), "experiment: networks is 3, expected str or iterable of str"),
    (lambda: tfgmm.experiment("kik", preset=["quick"]), "preset is ['quick']"),
    (lambda: tfgmm.experiment("kik", center=(1,)), "center is (1,), expected (longitude, latitude)"),
    (lambda: tfgmm.experiment("kik", split=3), "split is 3"),
    (lambda: tfgmm.experiment("kik", data=DATA), "data is a Dataset, expected path"),
    (lambda: tfgmm.begin_training("kik"), "experiment is 'kik', expected Experiment"),
    (lambda: tfgmm.begin_training(EXPERIMENT, "x", dataset="data"), "dataset is 'data', expected Dataset"),
    (lambda: tfgmm.begin_training(EXPERIMENT, "x", chunks=3), "chunks is 3, expected iterable of int"),
    (lambda: tfgmm.train(SITES, "kik"), "train: data is a DataFrame, expected Dataset, path or None"),
    (lambda: tfgmm.train(DATA, "kik", launch="dask"), "launch is 'dask', expected dict"),
    (lambda: tfgmm.train("/proc/none", "kik"), "/proc/none"),
    (lambda: tfgmm.upgrade(3), "upgrade: run is 3"),
    (lambda: tfgmm.upgrade(__file__), "is no run folder"),
    (lambda: tfgmm.upgrade("x", data=3), "data is 3"),
    (lambda: tfgmm.Client(3), "Client: url is 3, expected str"),
    (lambda: tfgmm.Client("localhost:8501"), "is no address of a model"),
    (lambda: tfgmm.Client(URL, 60), "patience is 60, expected Patience"),
    (lambda: Patience(retries=99), "0 to 4 retries"),
    (lambda: Patience(timeout_s="long"), "Patience: timeout_s is 'long', expected float"),
    (lambda: Patience(backoff_s=-1), "give times above 0 s"),
    (lambda: tfgmm.Client(URL).predict("at_sites", 3), "Client.predict: inputs is 3"),
    (lambda: tfgmm.Client(URL).at_stations(EVENT, []), "there are no stations"),
]
#: The same of a run with the field, and of what it returns.
CALLS_OF_RUN = [
    (lambda run: run.stations("K01"), "Run.stations: ids is 'K01', expected sequence of str"),
    (lambda run: run.stations([1]), "ids is [1]"),
    (lambda run: run.stations(["X"]), "has no station X"),
    (lambda run: run.write_config(3), "out is 3"),
    (lambda run: run.write_config("x.csv"), ".toml"),
    (lambda run: run.report(markdown=3), "markdown is 3"),
    (lambda run: run.refit(None), "Run.refit: data is None, expected Dataset or path"),
    (lambda run: run.refit(SITES), "data is a DataFrame"),
    (lambda run: run.effects(3), "station is 3"),
    (lambda run: run.effects(cell_deg=-1), "source cells of -1 degrees"),
    (lambda run: run.site_amplification(arms=["foo"]), "arms is ['foo'], expected sequence of {"),
    (lambda run: run.site_amplification(arms="published"), "arms is 'published'"),
    (lambda run: run.site_amplification(within_km=-1), "within_km: Input should be greater than 0"),
    (lambda run: run.site_amplification(events="role:all"), "events is 'role:all'"),
    (lambda run: run.site_amplification(events=["foo"]), "write role:validation"),
    (lambda run: run.site_amplification(places=SITES), "the places have no column name"),
    (lambda run: run.site_amplification(ims=["SA(9)"], arms=()), "SA(9"),
    (lambda run: run.ensemble("SA(9)"), "there is no SA(9.0): ask for PGA"),
    (lambda run: run.ensemble([]), "there is no intensity measure to predict"),
    (lambda run: run.ensemble(condition=["all"]), "condition is ['all'], expected {"),
    (lambda run: run.field("SA(9)"), "has no SA(9.0)"),
    (lambda run: run.field(3), "im is 3"),
    (lambda run: run.field().sites(ROWS), "FieldTerms.sites: places is [{"),
    (lambda run: run.field().sample(EVENT, SITES, size=-1), "-1 samples"),
    (lambda run: run.field().paths(3), "station is 3"),
    (lambda run: run.predict(ROWS, "x.nc"), "Run.predict: events is [{"),
    (lambda run: run.predict(EVENT, "x.csv", stations="K01"), 'expected sequence of str, or "all"'),
    (lambda run: run.predict(EVENT, "x.nc", exceed=0.1), "exceed is 0.1, expected sequence of float"),
    (lambda run: run.export(3), "Run.export: out is 3"),
    (lambda run: run.export("x", members=1.5), "members is 1.5, expected int"),
    (lambda run: run.export("x", im="SA(9)"), "SA(9.0)"),
]
#: What an ensemble and a client are asked in the same way.
CALLS_OF_BOTH = [
    (lambda one: one.maps(ROWS), "maps: events is [{"),
    (lambda one: one.maps(SITES), "the events have no column depth_km, magnitude"),
    (lambda one: one.maps(EVENT.assign(magnitude="big")), "column magnitude: big"),
    (lambda one: one.maps(EVENT.iloc[:0]), "there are no events to predict for"),
    (lambda one: one.at_sites(EVENT, ROWS), "at_sites: sites is [{"),
    (lambda one: one.at_sites(EVENT, EVENT[["magnitude"]]), "the sites have no column longitude"),
    (lambda one: one.at_stations(EVENT, "K01"), "at_stations: stations is 'K01', expected sequence of str"),
    (lambda one: one.at_stations(EVENT, 3), "stations is 3"),
    (lambda one: one.at_stations(EVENT, []), "there are no"),
]


def refused(call: Callable[[], object], says: str) -> None:
    with pytest.raises(TfgmmError) as error:
        call()
    assert isinstance(error.value, UsageError | DataError)
    message = one_line(error.value)
    assert says in message and message == str(error.value) and len(message) < 500


@pytest.mark.parametrize(("call", "says"), CALLS, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_arguments(call, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refused(call, says)
    assert not [*tmp_path.iterdir()], "nothing is written"


@pytest.mark.slow
def test_wrong_arguments_of_a_run_and_its_parts(field_run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = tfgmm.open_run(field_run)
    for call, says in CALLS_OF_RUN:
        refused(lambda call=call: call(run), says)
    for one in (run.ensemble(), run.ensemble("all"), tfgmm.Client(URL)):
        for call, says in CALLS_OF_BOTH:
            refused(lambda call=call, one=one: call(one), says)
    assert not [*tmp_path.iterdir()], "nothing is written"


def test_every_public_function_and_method_is_checked():
    public = [getattr(tfgmm, name) for name in tfgmm.__all__]
    functions = [one for one in public if inspect.isfunction(one)]
    for owner in (tfgmm.Dataset, tfgmm.Run, tfgmm.Client, Predictor, FieldTerms):
        functions += [
            getattr(owner, name)
            for name, member in vars(owner).items()
            if not name.startswith("_") and isinstance(member, classmethod | type(refused))
        ]
    assert not [one.__qualname__ for one in functions if not hasattr(one, "__wrapped__")]


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (np.float32(1), float, True),
        (np.int64(1), int, True),
        (1, float, True),
        (True, float, False),
        (1.0, int, False),
        (None, float | None, True),
        (np.array([1.0, 2.0]), Sequence[float], True),
        (pd.Series(["K01"]), Sequence[str], True),
        (np.ones((2, 2)), Sequence[float], False),
        (iter(["K01"]), Iterable[str], True),
        ("K01", Iterable[str], False),
        ({"a": 1}, Sequence[str], False),
        ({"a": 1}, Mapping[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        ([1, 2], tuple[float, float], True),
        ((), tuple[()], True),
        ((1,), tuple[()], False),
        ((1, 2, 3), tuple[int, ...], True),
        ("nearest", Literal["nearest"], True),
        (["nearest"], Literal["nearest"], False),
        (print, Callable[[str], None], True),
        ("print", Callable[[str], None], False),
        (object(), Any, True),
        (Path("x"), str, False),
    ],
)
def test_values_of_annotated_types(value, hint, expected):
    assert arguments.matches(value, hint) is expected


def test_an_iterator_is_not_consumed():
    @arguments.checked
    def together(names: Iterable[str]) -> list[str]:
        return [*names]

    assert together(iter("ab")) == ["a", "b"]
