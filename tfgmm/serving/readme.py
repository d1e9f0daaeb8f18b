"""What stands beside an exported model: how to serve it, how to ask it."""

import json

#: Configuration file of TensorFlow Serving, in its container.
MODELS_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

_README = """\
# {name}

Ground-motion model for {intensity_measure} ({component}), made by tfgmm: {count} networks as one TensorFlow
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

Signatures, for n events (every input is a vector of n) and m sites:

- `serving_default`: `longitude`, `latitude` (degrees), `depth_km`, `magnitude` -> maps `mean`, `stddev`,
  `aleatory`, `epistemic` [n, {size}, {size}]; row 0 is north
- `at_sites`: the same and `site_longitude`, `site_latitude` [n, m] -> the same [n, m], and `inside`: 0
  where a site lies off the map and has the values of its edge
- `normal_parameters`: as `serving_default` -> `mean`, `stddev` [n, {count}, {size}, {size}] of every
  network, not calibrated

`mean` is ln IM with IM in g; the others are standard deviations in ln units, `stddev`^2 = `aleatory`^2 +
`epistemic`^2. gRPC clients accept messages of up to 4 MB by default: ask for maps of a few events at once.

It has learned from magnitudes {magnitude}, depths {depth_km} km and hypocentral distances {r_hyp_km} km.
{calibrated} More: `VERSION/assets.extra/tfgmm.json`.

{licence} {attribution}
"""


def readme(description: dict) -> str:
    """The page for a model, from its description (`tfgmm.serving.export.DESCRIPTION`)."""
    ranges = {name: f"{low:g} to {high:g}" for name, (low, high) in description["ranges"].items()}
    grid = description["grid"]
    inputs = {
        "longitude": [grid["longitude"]],
        "latitude": [grid["latitude"]],
        "depth_km": [30.0],
        "magnitude": [6.0],
        "site_longitude": [[grid["longitude"]]],
        "site_latitude": [[grid["latitude"]]],
    }
    return (
        _README.format(
            **description | ranges,
            count=len(description["members"]),
            size=grid["output_size"],
            request=json.dumps({"signature_name": "at_sites", "inputs": inputs}),
            origin="Its records are SIMULATED, not measured: it says nothing about real earthquakes."
            if description["simulated"]
            else "Its records were measured.",
            calibrated="Standard deviations are calibrated."
            if description["calibration"]
            else "Standard deviations are not calibrated.",
        ).rstrip()
        + "\n"
    )
