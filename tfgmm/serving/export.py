"""Export an ensemble as one TensorFlow SavedModel in a new version folder, with a README."""

import dataclasses
import importlib.metadata
import itertools
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfgmm import __version__
from tfgmm.core import files, imt, outputs
from tfgmm.core.errors import DataError, TfgmmError, UsageError, listed
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser
from tfgmm.prediction import spectra
from tfgmm.prediction.conditioning import Condition
from tfgmm.runs.member_folder import Ranges
from tfgmm.runs.run import RunFolder
from tfgmm.serving.graph import (
    EVENT,
    KNOWN,
    SITES,
    Graph,
    Measure,
    Projection,
    Stations,
    detached,
    shared_arrays,
)
from tfgmm.serving.models import WARMUP, definitions, version_number
from tfgmm.serving.readme import MODELS_CONFIG, README_MARK, readme
from tfgmm.stats.support import Support

#: Types in which weights may be stored; computations are in float32 in any case.
PRECISIONS = ("float32", "float16")
#: File that describes the model: grid, intensity measure, units, training ranges, versions, licence.
DESCRIPTION = "assets.extra/tfgmm.json"

_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy", "pyproj")
_HUGE = 1e9
_DISTANCE = "to the nearest trained site, from the pixel's centre or the site that is asked for"
_LICENCE = (
    "The graph was made by tfgmm, whose licence is MIT. The weights were learned from the records named "
    "here, whose terms apply to them."
)


@dataclasses.dataclass(frozen=True)
class Export:
    """A planned export of an ensemble; `write` carries it out.

    Attributes
    ----------
    run : RunFolder
        The run whose networks are exported.
    measures : dict of str to (Condition, Support)
        By intensity measure, backbone and field of each chunk, given all records or the training records;
        and joint support of predictions by training records.
    members : list of (chunk, init)
        Members to export. A member is one trained network: a station chunk times an initialisation.
    precision : str
        Type in which the weights are stored, one of `PRECISIONS`.
    version : Path
        The new version folder.
    weights : int
        Number of weights of one member.
    """

    run: RunFolder
    measures: dict[str, tuple[Condition, Support]]
    members: list[tuple[int, int]]
    precision: str
    version: Path
    weights: int

    @property
    def ims(self) -> tuple[str, ...]:
        """Return the names of the intensity measures."""
        return tuple(self.measures)

    @property
    def name(self) -> str:
        """Return the name under which a server offers the model: the name of the folder of its versions."""
        return self.version.parent.name

    @property
    def steps(self) -> int:
        """Return the number of steps that `write` reports: the number of members."""
        return len(self.members)

    @property
    def shared(self) -> int:
        """Return the number of values that members share: backbone, field and support; always float32."""
        arrays = [
            shared_arrays(condition.of(self.members), support).values()
            for condition, support in self.measures.values()
        ]
        return sum(array.size for array in itertools.chain.from_iterable(arrays))

    @property
    def size_bytes(self) -> int:
        """Return the size of the stored weights of all members and of what they share, bytes."""
        size = self.weights * tf.as_dtype(self.precision).size
        return len(self.members) * size + self.shared * tf.float32.size

    @property
    def summary(self) -> str:
        """Return a sentence on folder, members and size of the export, with advice for a large one."""
        text = (
            f"{self.version}: {len(self.members)} members of {self.weights:,} weights in {self.precision}, "
            f"{self.size_bytes / 1e6:,.1f} MB"
        )
        if self.size_bytes < _HUGE:
            return text
        return (
            f"{text}. A server needs as much memory. --members K keeps K of them, --precision float16 "
            "halves their weights, and fewer --im need fewer fields"
        )

    def write(self, progress: Callable[[int], None] = lambda done: None) -> Path:
        """Write the version folder, then ``models.config`` and a README; return the version folder.

        The version folder is written completely or not at all. Members are loaded one at a time.

        Parameters
        ----------
        progress : callable
            Called with the number of members that are done.

        Returns
        -------
        Path
            The new version folder, with a higher number if another process has written `version` meanwhile.

        Raises
        ------
        DataError
            The run is damaged, or the file system refuses to write.
        """
        module, functions = tf.Module(), []
        module.weights = []
        for chunk, init in self.members:
            networks = member.load_networks(self.run.member(chunk, init), self.ims)
            variables, function = detached(networks, tf.as_dtype(self.precision))
            module.weights.append(variables)
            functions.append(function)
            progress(len(functions))
        graph, description = self._graph(functions)
        module.table, module.shared = graph.table, [*graph.shared.values()]
        return self._write(module, graph, description)

    def _write(self, module: tf.Module, graph: Graph, description: dict) -> Path:
        """Write the SavedModel, its description and the files beside it; return the version folder.

        If another process has written the folder `version` meanwhile, the next free number is taken.

        Parameters
        ----------
        module : tensorflow.Module
            Object that holds the weights of all members.
        graph : Graph
            Functions that become the signatures of the SavedModel.
        description : dict
            Content of the file `DESCRIPTION`.

        Returns
        -------
        Path
            The version folder.
        """
        description = description | {"version": int(self.version.name)}
        try:
            with files.whole_folder(self.version) as temporary:
                _save(module, graph, temporary)
                write_warmup(temporary, self.name, _requests(description))
                (temporary / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
        except TfgmmError:
            if not self.version.exists():
                raise
            # Another process has taken the version number meanwhile: both exports are kept.
            version = self.version.with_name(str(_next_version(self.version.parent, self.ims)))
            return dataclasses.replace(self, version=version)._write(module, graph, description)
        self._write_beside(description)
        return self.version

    def _graph(self, functions: list) -> tuple[Graph, dict]:
        """Return the TensorFlow functions of the ensemble, and the description of the model."""
        measures = {}
        for im, (condition, support) in self.measures.items():
            calibration, trained_km = self.run.calibration(im), None
            if calibration:
                trained_km = self.run.trained_stations(im)[["x_km", "y_km"]].to_numpy()
            conditioned, shrinkage = condition.of(self.members), self.run.shrinkage(im)
            measures[im] = Measure(conditioned, support, shrinkage, calibration, trained_km)
        has_field = any(measure.conditioned[0].field for measure in measures.values())
        graph = Graph(
            functions,
            Rasteriser.of_run(self.run),
            measures,
            stations=self._stations() if has_field else None,
            vs30=self.run.vs30_map(),
            hides_vs30=self.run.experiment.hides_vs30,
        )
        return graph, self._description(measures)

    def _stations(self) -> Stations:
        """Return the stations of the run."""
        table, grid = self.run.stations(), self.run.experiment.grid
        lonlat = table["longitude"], table["latitude"]
        return Stations(
            ids=table["station_id"].tolist(),
            site_ids=table["terms_of"].tolist(),
            pixel=np.stack(grid.locate(*lonlat)[:2], axis=-1).astype("int32"),
            xy_km=np.stack(grid.project(*lonlat), axis=-1),
            vs30=table["vs30"].to_numpy(),
        )

    def _description(self, measures: dict[str, Measure]) -> dict:
        """Return the description of the model: the content of the file `DESCRIPTION`."""
        experiment, data = self.run.experiment, self.run.data
        (condition, _), *_ = self.measures.values()
        calibrations = {im: measure.calibration for im, measure in measures.items() if measure.calibration}
        fields = {im: measure.conditioned[0].field for im, measure in measures.items()}
        units = [f"{im} in {imt.unit(im)}" for im in self.ims]
        return {
            "name": self.name,
            "version": int(self.version.name),
            "simulated": self.run.simulated,
            "intensity_measures": [*self.ims],
            "component": data["component"],
            "unit": f"natural logarithm of {', '.join(units)}; stddev, aleatory and epistemic are standard "
            "deviations of it",
            "grid": experiment.grid.model_dump(),
            "pixels": "row 0 is north, column 0 is west; a site takes the value of the pixel it lies in",
            "ranges": _widest([self.run.ranges(im) for im in self.ims]),
            "members": [{"chunk": chunk, "init": init} for chunk, init in self.members],
            "precision": self.precision,
            "backbone": None if experiment.backbone == "none" else experiment.backbone,
            "size_bytes": self.size_bytes,
            "calibration": {
                im: dataclasses.asdict(chosen) | {"distance_km": _DISTANCE}
                for im, chosen in calibrations.items()
            },
            "field": {im: field.covariance.stddevs for im, field in fields.items() if field},
            "stations": self.run.stations()["station_id"].tolist() if any(fields.values()) else [],
            **dict.fromkeys(("conditioned_on", "data_hash")) | condition.attributes,
            "data": {name: data.get(name, "") for name in ("name", "digest", "truncation")},
            "run": self.run.path.name,
            "versions": {"tfgmm": __version__}
            | {name: importlib.metadata.version(name) for name in _PACKAGES},
            "licence": _LICENCE,
            "attribution": data.get("attribution", ""),
        }

    def _write_beside(self, description: dict) -> None:
        """Write ``README.md`` and ``models.config`` into the folder of the model."""
        page = readme(description, definitions(self.version).signature_def)
        texts = {"models.config": MODELS_CONFIG.format(name=self.name), "README.md": page}
        for name, text in texts.items():
            with files.whole_file(self.version.parent / name) as temporary:
                temporary.write_text(text)


def prepare(
    run: RunFolder | Path | str,
    out: Path | str | None = None,
    im: str | Sequence[str] | None = None,
    members: int | None = None,
    precision: str = "float32",
    *,
    condition: str = "all",
    overwrite: bool = False,
) -> Export:
    """Check that an export is possible, and return the planned export; nothing is written.

    Parameters
    ----------
    run : path
        Run folder.
    out : path, optional
        Folder of the model; its last part is the name of the model. The default is ``saved_models/RUN``,
        with the intensity measure added if it is not the first one of the run, or ``spectra`` for several.
    im : str or sequence of str, optional
        Intensity measure or measures of the run, or ``all``; the first one of the run by default.
    members : int, optional
        Number of members to export: the first initialisation of every chunk, then the second initialisation
        of every chunk, and so on. All trained members by default.
    precision : str
        Type of the stored weights; ``float16`` halves the weights and changes ln IM by some thousandths.
    condition : {"all", "training"}
        Records on which backbone and field are conditioned: all of the run, or for each chunk its training
        records.
    overwrite : bool
        If True, replace a ``README.md`` and a ``models.config`` in the folder that no export has written.

    Returns
    -------
    Export
        The planned export.

    Raises
    ------
    UsageError
        An argument does not fit the run, the run is not finished, its map projection cannot be exported, or
        the folder holds a model of another intensity measure or files that no export has written.
    DataError
        The disk has too little space.
    """
    folder = RunFolder.open(run)
    ims = _measures(folder, im)
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: choose {' or '.join(PRECISIONS)}")
    chosen = _chosen(folder, ims[0], members)
    Projection(folder.experiment.grid)
    target = Path(out) if out else Path("saved_models") / _default_name(folder, ims)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", target.resolve().name):
        raise UsageError(
            f"{target.name!r} cannot be the name of a served model: use letters, digits, dots, dashes"
        )
    networks = member.load_networks(folder.member(*chosen[0]), ims)
    weights = sum(model.count_params() for model in networks.models)
    version = target / str(_next_version(target, ims))
    export = Export(
        folder,
        {im: (Condition.of_run(folder, im, chosen, condition), folder.support(im)) for im in ims},
        *(chosen, precision, version, weights),
    )
    _refuse_strangers(export, overwrite)
    _refuse_small_disk(export)
    return export


def _save(module: tf.Module, graph: Graph, folder: Path) -> None:
    """Write a SavedModel into a folder; raise `OSError` if the file system refuses to write."""
    try:
        tf.saved_model.save(module, str(folder), graph.signatures())
    except tf.errors.OpError as error:  # TensorFlow's own word for a full disk
        reason = error.message.rpartition("; ")[2]  # after the name of a temporary file
        raise OSError(reason.partition(" [Op:")[0]) from error


def _chosen(run: RunFolder, im: str, count: int | None) -> list[tuple[int, int]]:
    """Return (chunk, init) of the members to export: the first `count` trained members, or all if None.

    The members are ordered by initialisation, then by chunk. Raise `UsageError` if `count` is out of range.
    """
    trained = sorted(run.trained(im), key=lambda place: place[::-1])
    if count is not None and not 1 <= count <= len(trained):
        raise UsageError(f"--members {count}: run {run.path} has 1 to {len(trained)} to choose from")
    return trained[:count]


def _measures(run: RunFolder, im: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the intensity measures to export; raise `UsageError` for one that the run does not have."""
    if im is None:
        return run.experiment.ims[:1]
    pairs = spectra.measures(run.experiment.ims, [im] if isinstance(im, str) else im)
    for name, (first, second, _) in pairs.items():
        if first != second:
            raise UsageError(f"{name} is between {first} and {second}, which a model has: ask for these")
    return tuple(pairs)


def _default_name(run: RunFolder, ims: Sequence[str]) -> str:
    """Return the default name of a model: RUN, RUN-IM if IM is not the run's first, or RUN-spectra."""
    name = run.path.resolve().name
    if len(ims) > 1:
        name = f"{name}-spectra"
    elif ims[0] != run.experiment.ims[0]:
        name = f"{name}-{ims[0]}"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")


def _next_version(model: Path, ims: Sequence[str]) -> int:
    """Return the highest version number in the folder of a model plus one; 1 if there is no version.

    Raise `UsageError` if the highest version is no export of tfgmm for these intensity measures.
    """
    versions = {version_number(path.name): path for path in sorted(model.glob("*")) if path.is_dir()}
    versions.pop(None, None)
    if not versions:
        return 1
    last = versions[max(versions)] / DESCRIPTION
    try:
        last_ims = files.read_json(last)["intensity_measures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{model} holds something else than exports of tfgmm: choose another --out"
        ) from error
    if last_ims != [*ims]:
        raise UsageError(
            f"{model} is a model of {listed(last_ims)}, not {listed(ims)}: choose another --out"
        )
    return max(versions) + 1


def _refuse_strangers(export: Export, overwrite: bool) -> None:
    """Raise `UsageError` if a ``README.md`` or ``models.config`` exists that no export has written."""
    texts = {"README.md": README_MARK, "models.config": MODELS_CONFIG.format(name=export.name)}
    paths = [export.version.parent / name for name in texts]
    outputs.refuse_strangers(paths, lambda path: outputs.holds(path, texts[path.name]), overwrite)


def _refuse_small_disk(export: Export) -> None:
    """Raise `DataError` if the disk has too little free space for the weights."""
    existing = next(path for path in export.version.resolve().parents if path.exists())
    free = shutil.disk_usage(existing).free
    if free < export.size_bytes:
        raise DataError(
            f"{export.summary}, but only {free / 1e6:,.1f} MB are free at {export.version.parent}: "
            "make room, or choose fewer --members or --precision float16"
        )


def _widest(ranges: Sequence[Ranges]) -> dict[str, tuple[float, float]]:
    """Return the ranges of the training records of all measures together, by name of the parameter."""
    every = [one.model_dump() for one in ranges]
    return {
        name: (min(one[name][0] for one in every), max(one[name][1] for one in every)) for name in every[0]
    }


def _requests(description: dict) -> dict[str, dict[str, np.ndarray]]:
    """Return one example request per signature, for the centre of the map and of the training ranges."""
    grid, ranges = description["grid"], description["ranges"]
    values = {
        "longitude": grid["longitude"],
        "latitude": grid["latitude"],
        "depth_km": np.mean(ranges["depth_km"]),
        "magnitude": np.mean(ranges["magnitude"]),
    }
    event = {name: np.array([values[name]], dtype.as_numpy_dtype) for name, dtype in EVENT.items()}
    sites = {
        name: np.array([[values[name.removeprefix("site_")]]], dtype.as_numpy_dtype)
        for name, dtype in SITES.items()
    }
    requests = {"serving_default": event, "at_sites": event | sites, "normal_parameters": event}
    if description["backbone"] not in (None, "ergodic"):
        unknown = {name: np.zeros((1, 1), dtype.as_numpy_dtype) for name, dtype in KNOWN.items()}
        requests["at_known_sites"] = event | sites | unknown
    if description["field"]:
        first = np.array([description["stations"][:1]], object)
        requests["at_stations"] = event | {"station_id": first}
    return requests


def write_warmup(version: Path, model: str, requests: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write example requests into a version folder; a server runs them while it loads the model.

    After these requests the first request of a user is not slow. The file is a TFRecord of
    ``PredictionLog`` messages.

    Parameters
    ----------
    version : Path
        Version folder of a SavedModel.
    model : str
        Name of the model in the server.
    requests : dict of str to dict of str to ndarray
        Arrays by name of input, for each signature by name.
    """
    path = version / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name, values in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
            writer.write(log.SerializeToString())
