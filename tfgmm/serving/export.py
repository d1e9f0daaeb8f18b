"""An ensemble -> one TensorFlow SavedModel, in a new version folder, with all that a server needs."""

import dataclasses
import importlib.metadata
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfgmm import __version__
from tfgmm.core import files
from tfgmm.core.errors import DataError, TfgmmError, UsageError
from tfgmm.network import member
from tfgmm.network.channels import Rasteriser
from tfgmm.prediction.ranges import Ranges, trained_stations
from tfgmm.runs.run import RunFolder
from tfgmm.serving import warmup
from tfgmm.serving.graph import EVENT, SITES, Graph, SiteTerms, detached
from tfgmm.serving.model import definitions
from tfgmm.serving.models import version_number
from tfgmm.serving.path_graph import PathGraph
from tfgmm.serving.projection import Projection
from tfgmm.serving.readme import MODELS_CONFIG, README_MARK, readme
from tfgmm.stats import calibration
from tfgmm.stats.random_effects import RandomEffects

#: How weights may be stored. What is computed is float32 in any case.
PRECISIONS = ("float32", "float16")
#: What the model is: grid, intensity measure, units, training ranges, versions, licence.
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
    """What would be written where; `write` does it.

    Attributes
    ----------
    run : RunFolder
    im : str
    members : list of (chunk, init)
    precision : str
    version : Path
        The new version folder.
    weights : int
        Of one member.
    path_terms : int
        Weights of the path terms of one member, always float32.
    """

    run: RunFolder
    im: str
    members: list[tuple[int, int]]
    precision: str
    version: Path
    weights: int
    path_terms: int

    @property
    def name(self) -> str:
        """The model's name in a server."""
        return self.version.parent.name

    @property
    def size_bytes(self) -> int:
        """Of all weights as they are stored."""
        size = self.weights * tf.as_dtype(self.precision).size + self.path_terms * tf.float32.size
        return len(self.members) * size

    @property
    def summary(self) -> str:
        """What will be written, and how it could be smaller if it is huge."""
        text = (
            f"{self.version}: {len(self.members)} members of {self.weights:,} weights in {self.precision}, "
            f"{self.size_bytes / 1e6:,.1f} MB"
        )
        if self.size_bytes < _HUGE:
            return text
        return (
            f"{text}. A server needs as much memory. --members K keeps K of them, --precision float16 "
            "halves the size"
        )

    def write(self, report: Callable[[int], None] = lambda done: None) -> Path:
        """Write the version folder, whole or not at all; then ``models.config`` and a README beside it.

        Members are loaded one at a time.

        Parameters
        ----------
        report : callable
            Called with the number of members that are done.

        Returns
        -------
        Path
            The version folder: a higher number where another process has taken that of `version`.

        Raises
        ------
        DataError
            The run is damaged, or the file system refuses to write.
        """
        module, functions = tf.Module(), []
        module.weights = []
        for chunk, init in self.members:
            model = member.load(self.run.member(chunk, init), self.im)
            variables, function = detached(model, tf.as_dtype(self.precision))
            module.weights.append(variables)
            functions.append(function)
            report(len(functions))
        graph, description = self._graph(functions)
        module.table, module.paths = graph.table, graph.path_weights
        return self._write(module, graph, description)

    def _write(self, module: tf.Module, graph: Graph, description: dict) -> Path:
        """Write what `write` has made, under the next version number that is free."""
        description = description | {"version": int(self.version.name)}
        try:
            with files.whole_folder(self.version) as temporary:
                _save(module, graph, temporary)
                warmup.write(temporary, self.name, _requests(description))
                (temporary / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
        except TfgmmError:
            if not self.version.exists():
                raise
            # Another process has taken the number meanwhile: both exports are kept.
            version = self.version.with_name(str(_next_version(self.version.parent, self.im)))
            return dataclasses.replace(self, version=version)._write(module, graph, description)
        self._write_beside(description)
        return self.version

    def _graph(self, functions: list) -> tuple[Graph, dict]:
        chosen, trained_km = self.run.calibration(self.im), None
        if chosen:
            trained_km = trained_stations(self.run, self.im)[["x_km", "y_km"]].to_numpy()
        effects = self.run.random_effects(self.im)
        terms = None if effects is None else self._site_terms(effects)
        graph = Graph(
            functions,
            Rasteriser.of_run(self.run),
            calibration=chosen,
            trained_km=trained_km,
            effects=effects,
            terms=terms,
        )
        return graph, self._description(chosen, effects)

    def _site_terms(self, effects: RandomEffects) -> SiteTerms:
        table, grid = self.run.stations(), self.run.experiment.grid
        lonlat = table["longitude"], table["latitude"]
        xy_km, pixel = np.stack(grid.project(*lonlat), axis=-1), np.stack(grid.locate(*lonlat)[:2], axis=-1)
        terms = [effects.terms_at(*one, table["terms_of"], xy_km) for one in self.members]
        term, stddev = (np.stack(parts, axis=1) for parts in zip(*terms, strict=True))
        centres_km = grid.centres_km(grid.output_size)
        field = np.stack([effects.field(*one, centres_km) for one in self.members])
        paths = PathGraph(effects.paths.of_members(self.members), table["station_id"], xy_km)
        return SiteTerms(table["station_id"], pixel.astype("int32"), term, stddev, field, paths)

    def _description(self, chosen: calibration.Calibration | None, effects: RandomEffects | None) -> dict:
        experiment, data = self.run.experiment, self.run.data
        return {
            "name": self.name,
            "version": int(self.version.name),
            "simulated": self.run.simulated,
            "intensity_measure": self.im,
            "component": data["component"],
            "unit": "natural logarithm of g; stddev, aleatory and epistemic are standard deviations of it",
            "grid": experiment.grid.model_dump(),
            "pixels": "row 0 is north, column 0 is west; a site takes the value of the pixel it lies in",
            "ranges": Ranges.of(self.run, self.im).model_dump(),
            "members": [{"chunk": chunk, "init": init} for chunk, init in self.members],
            "precision": self.precision,
            "size_bytes": self.size_bytes,
            "calibration": chosen and dataclasses.asdict(chosen) | {"distance_km": _DISTANCE},
            "random_effects": effects
            and {
                name: getattr(effects, name) for name in ("tau", "phi_s2s", "phi_p2p", "phi_place", "error")
            }
            | {"stations": self.run.stations()["station_id"].tolist()},
            "data": {name: data.get(name, "") for name in ("name", "digest", "truncation")},
            "run": self.run.path.name,
            "versions": {"tfgmm": __version__}
            | {name: importlib.metadata.version(name) for name in _PACKAGES},
            "licence": _LICENCE,
            "attribution": data.get("attribution", ""),
        }

    def _write_beside(self, description: dict) -> None:
        page = readme(description, definitions(self.version).signature_def)
        texts = {"models.config": MODELS_CONFIG.format(name=self.name), "README.md": page}
        for name, text in texts.items():
            with files.whole_file(self.version.parent / name) as temporary:
                temporary.write_text(text)


def prepare(
    run: Path | str,
    out: Path | str | None = None,
    im: str | None = None,
    members: int | None = None,
    precision: str = "float32",
    *,
    overwrite: bool = False,
) -> Export:
    """Decide what is written where, before hours or gigabytes are spent.

    Parameters
    ----------
    run : path
        Of a run.
    out : path, optional
        Folder of the model, whose last part is its name; ``saved_models/RUN`` by default, with the
        intensity measure added where it is not the run's first.
    im : str, optional
        Intensity measure; the run's first one by default.
    members : int, optional
        Keep only so many, spread over the chunks first: the first initialisation of every chunk, then
        the second ones. All trained members by default.
    precision : str
        How weights are stored; ``float16`` halves the size and changes ln IM by some thousandths.

    overwrite : bool
        Replace a ``README.md`` and a ``models.config`` in the folder that are not of an export.

    Raises
    ------
    UsageError
        Something does not fit the run, the run's map projection cannot be exported, or the folder holds
        a model of another intensity measure or files of others.
    DataError
        The disk is too small.
    """
    folder = RunFolder.open(Path(run))
    im = im or folder.experiment.ims[0]
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: choose {' or '.join(PRECISIONS)}")
    chosen = _chosen(folder, im, members)
    Projection(folder.experiment.grid)
    target = Path(out) if out else Path("saved_models") / _default_name(folder, im)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", target.resolve().name):
        raise UsageError(
            f"{target.name!r} cannot be the name of a served model: use letters, digits, dots, dashes"
        )
    weights = member.load(folder.member(*chosen[0]), im).count_params()
    version = target / str(_next_version(target, im))
    found = Export(folder, im, chosen, precision, version, weights, _path_terms(folder, im))
    _refuse_strangers(found, overwrite)
    _refuse_small_disk(found)
    return found


def _path_terms(run: RunFolder, im: str) -> int:
    """Weights of the path terms of a member."""
    effects = run.random_effects(im)
    return 0 if effects is None else effects.paths.weights[0].size


def _save(module: tf.Module, graph: Graph, folder: Path) -> None:
    try:
        tf.saved_model.save(module, str(folder), graph.signatures())
    except tf.errors.OpError as error:  # TensorFlow's own word for a full disk
        reason = error.message.rpartition("; ")[2]  # after the name of a temporary file
        raise OSError(reason.partition(" [Op:")[0]) from error


def _chosen(run: RunFolder, im: str, count: int | None) -> list[tuple[int, int]]:
    """Trained members, one of every chunk before a second of any."""
    trained = sorted(run.trained(im), key=lambda place: place[::-1])
    if count is not None and not 1 <= count <= len(trained):
        raise UsageError(f"--members {count}: run {run.path} has 1 to {len(trained)} to choose from")
    return trained[:count]


def _default_name(run: RunFolder, im: str) -> str:
    name = run.path.resolve().name
    name = name if im == run.experiment.ims[0] else f"{name}-{im}"
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")


def _next_version(model: Path, im: str) -> int:
    """One more than the highest version there is, which must be of the same intensity measure."""
    versions = {version_number(path.name): path for path in sorted(model.glob("*")) if path.is_dir()}
    versions.pop(None, None)
    if not versions:
        return 1
    last = versions[max(versions)] / DESCRIPTION
    try:
        other = files.read_json(last)["intensity_measure"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{model} holds something else than exports of tfgmm: choose another --out"
        ) from error
    if other != im:
        raise UsageError(f"{model} is a model of {other}, not {im}: choose another --out")
    return max(versions) + 1


def _refuse_strangers(export: Export, overwrite: bool) -> None:
    texts = {"README.md": README_MARK, "models.config": MODELS_CONFIG.format(name=export.name)}
    paths = [export.version.parent / name for name in texts]
    files.refuse_strangers(paths, lambda path: files.holds(path, texts[path.name]), overwrite)


def _refuse_small_disk(export: Export) -> None:
    existing = next(path for path in export.version.resolve().parents if path.exists())
    free = shutil.disk_usage(existing).free
    if free < export.size_bytes:
        raise DataError(
            f"{export.summary}, but only {free / 1e6:,.1f} MB are free at {export.version.parent}: "
            "make room, or choose fewer --members or --precision float16"
        )


def _requests(description: dict) -> dict[str, dict[str, np.ndarray]]:
    """One request a signature: an event in the middle of the map and of what was learned."""
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
    found = {"serving_default": event, "at_sites": event | sites, "normal_parameters": event}
    if description["random_effects"]:
        first = np.array([description["random_effects"]["stations"][:1]], object)
        found["at_stations"] = event | {"station_id": first}
    return found
