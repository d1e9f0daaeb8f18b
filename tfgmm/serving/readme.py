"""Write the README beside an exported model: how to serve the model, and how to request predictions."""

import itertools
import json
from collections.abc import Mapping

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from tfgmm.core import imt
from tfgmm.prediction.quantities import median_name
from tfgmm.serving.graph import output_name

#: Text of the configuration file for TensorFlow Serving in a docker container.
MODELS_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

#: Text in every README of an export, by which such a README is recognised.
README_MARK = "made by tfgmm: "

#: Meanings of inputs and outputs.
MEANINGS = {
    "longitude": "of the epicentre, degrees",
    "latitude": "of the epicentre, degrees",
    "depth_km": "of the hypocentre",
    "magnitude": "as in the training records",
    "site_longitude": "of the sites, degrees",
    "site_latitude": "of the sites, degrees",
    "site_vs30_m_s": "Vs30 of the sites, 30 to 5000 m/s; 0 where the map's own is to be taken, and at "
    "every site of a model that was trained without Vs30",
    "site_r_rup_km": "closest distance to the rupture, km; 0 where the rupture is unknown",
    "station_id": "of stations that the model knows, listed in `assets.extra/tfgmm.json`",
    "mean": "of ln IM, with IM in g (PGV: in cm/s)",
    "stddev": "total standard deviation of ln IM",
    "aleatory": "its part that the networks agree on: noise of a record, event term, and what records "
    "leave open of the terms of site, source and path, which more records would lower",
    "epistemic": "its part that the networks do not agree on and that too few records leave open; "
    "`stddev`^2 = `aleatory`^2 + `epistemic`^2",
    "support": "effective number of training records like the prediction in magnitude, distance, depth and "
    "source region; below 10 the prediction rests mainly on published models",
    "between_event": "its part that all places share in one earthquake, the event term",
    "within_event": "the rest, epistemic part and unknown site terms included, not phi alone: `stddev`^2 = "
    "`between_event`^2 + `within_event`^2",
    "inside": "1 where the site lies on the map; elsewhere 0, and the values of the map's edge",
}
#: Purposes of signatures.
_PURPOSES = {
    "serving_default": "maps, row 0 in the north",
    "at_sites": "places by their coordinates",
    "at_known_sites": "places whose Vs30 or distance to the rupture is known",
    "at_stations": "stations by their names, with what their records tell of site and paths",
    "normal_parameters": "maps of every network by itself, neither calibrated nor with the field of the "
    "records",
}
_TYPES = {"DT_DOUBLE": "float64", "DT_FLOAT": "float32", "DT_INT32": "int32", "DT_STRING": "text"}

_README = """\
# {name}

Ground-motion model for {ims} ({component}), made by tfgmm: {count} networks as one TensorFlow
SavedModel. {origin}

## Serve it

From the folder above this one:

```
docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 \\
  --mount type=bind,source="$PWD/{name}",target=/models/{name},readonly \\
  tensorflow/serving --model_config_file=/models/{name}/models.config
```

REST is at port 8501, gRPC at 8500. The server finds new version folders by itself.

## Ask it

```
curl http://127.0.0.1:8501/v1/models/{name}:predict \\
  -d '{request}'
```

## Use it in Python, without a server

From the folder above this one; nothing of tfgmm is needed, but TensorFlow is:

```python
{example}```

## Signatures

n events and m sites or stations; every input is needed, and all are given for the same n events.

{signatures}

| input or output | type | what it is |
|:--|:--|:--|
{glossary}

gRPC clients accept messages of up to 4 MB by default: ask for maps of a few events at once.

It has learned from magnitudes {magnitude}, depths {depth_km} km and hypocentral distances {r_hyp_km} km.
{conditioned}{calibrated} More: `VERSION/assets.extra/tfgmm.json`.

{licence} {attribution}
"""

_EXAMPLE = """\
import tensorflow as tf

model = tf.saved_model.load("{name}/{version}")  # keep it: its functions need it
event = {event}
inputs = event | {places}
known = model.signatures["{signature}"].structured_input_signature[1]
tensors = {{key: tf.constant(inputs[key], spec.dtype) for key, spec in known.items()}}
found = model.signatures["{signature}"](**tensors)
{median} = tf.exp(found["{mean}"]).numpy()
"""


def readme(description: dict, signatures: Mapping[str, SignatureDef]) -> str:
    """Return the text of the README of an exported model, in Markdown.

    Parameters
    ----------
    description : dict
        Description of the model: content of the file `tfgmm.serving.export.DESCRIPTION`.
    signatures : dict of str to SignatureDef
        Signatures of the SavedModel, as returned by `tfgmm.serving.models.definitions`.

    Returns
    -------
    str
        The text.
    """
    signatures = {name: signatures[name] for name in sorted(signatures) if not name.startswith("__")}
    ranges = {name: f"{low:g} to {high:g}" for name, (low, high) in description["ranges"].items()}
    event, sites = _question(description["grid"])
    return (
        _README.format(
            **description | ranges,
            ims=", ".join(description["intensity_measures"]),
            count=len(description["members"]),
            request=json.dumps({"signature_name": "at_sites", "inputs": event | sites}),
            example=_example(description, event, sites),
            signatures="\n".join(itertools.starmap(_signature, signatures.items())),
            glossary=_glossary(signatures),
            origin="Its records are SIMULATED, not measured: it says nothing about real earthquakes."
            if description["simulated"]
            else "Its records were measured.",
            conditioned=_conditioned(description),
            calibrated="Standard deviations are calibrated."
            if description["calibration"]
            else "Standard deviations are not calibrated.",
        ).rstrip()
        + "\n"
    )


def _conditioned(description: dict) -> str:
    """Return a sentence on the records that backbone and field are conditioned on, if there are any."""
    if not description["conditioned_on"]:
        return ""
    what = "Backbone and field of residuals are" if description["field"] else "The backbone is"
    return f"{what} conditioned on {description['conditioned_on']} of data {description['data_hash']}. "


def _question(grid: dict) -> tuple[dict[str, list], dict[str, list]]:
    """Return the inputs of an example request: an event and a site, both at the centre of the map."""
    place = {"longitude": [round(grid["longitude"], 4)], "latitude": [round(grid["latitude"], 4)]}
    sites = {f"site_{name}": [values] for name, values in place.items()}
    return place | {"depth_km": [30.0], "magnitude": [6.0]}, sites


def _example(description: dict, event: dict[str, list], sites: dict[str, list]) -> str:
    """Return example code in Python: for stations if the model knows stations, otherwise for a site."""
    signature, places = "at_sites", sites
    if description["field"]:
        signature, places = "at_stations", {"station_id": [description["stations"][:2]]}
    ims = description["intensity_measures"]
    return _EXAMPLE.format(
        **description,
        signature=signature,
        event=json.dumps(event),
        places=json.dumps(places),
        mean=output_name("mean", ims[0], len(ims)),
        median=median_name(ims[0]),
    )


def _signature(name: str, definition: SignatureDef) -> str:
    """Return one line of Markdown on the inputs and outputs of a signature."""
    inputs, outputs = (
        ", ".join(f"`{key}` {_shape(tensors[key])}" for key in _ordered(tensors))
        for tensors in (definition.inputs, definition.outputs)
    )
    purpose = f" ({_PURPOSES[name]})" if name in _PURPOSES else ""
    return f"- `{name}`{purpose}: {inputs} -> {outputs}"


def _glossary(signatures: Mapping[str, SignatureDef]) -> str:
    """Return the rows of the Markdown table that explains inputs and outputs."""
    tensors: dict[str, TensorInfo] = {}
    for definition in signatures.values():
        tensors |= dict(definition.inputs) | dict(definition.outputs)
    kinds = {name: types_pb2.DataType.Name(tensor.dtype) for name, tensor in tensors.items()}
    return "\n".join(
        f"| `{name}` | {_TYPES.get(kinds[name], kinds[name])} | {_meaning(name)} |"
        for name in _ordered(tensors)
    )


def _quantity(name: str) -> tuple[str, str]:
    """Return the quantity and the intensity measure of an output; the measure is empty without one."""
    quantity, _, im = name.rpartition("_")
    return (quantity, im) if imt.is_imt(im) else (name, "")


def _meaning(name: str) -> str:
    """Return the meaning of an input or output, with the intensity measure of the output."""
    quantity, im = _quantity(name)
    text = MEANINGS.get(quantity, "")
    return f"{im}: {text}" if im else text


def _ordered(names: Mapping[str, object]) -> list[str]:
    """Return names in the order of `MEANINGS`, because a SavedModel keeps no order."""
    order = list(MEANINGS)

    def key(name: str) -> tuple:
        quantity, im = _quantity(name)
        return imt.order(im) if im else (), order.index(quantity) if quantity in order else len(order), name

    return sorted(names, key=key)


def _shape(tensor: TensorInfo) -> str:
    """Return the shape of an input or output as text, as ``[n, m]``."""
    free = iter("nm")
    sizes = [dim.size if dim.size >= 0 else next(free, "?") for dim in tensor.tensor_shape.dim]
    return f"[{', '.join(map(str, sizes))}]"
