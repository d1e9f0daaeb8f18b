"""The JSON of a request -> arrays of a signature; types and shapes are checked before an array is made."""

import base64
import itertools
import json
from typing import NoReturn

import numpy as np

from tfgmm.serving.limits import Limits, Reason, RefusedError
from tfgmm.serving.models import Model, Signature

#: Kind of a NumPy type -> name of its values, and their types in JSON; all other kinds are texts.
_NUMBERS = {
    "f": ("numbers", {int, float}),
    "i": ("whole numbers", {int}),
    "u": ("whole numbers", {int}),
    "b": ("true or false", {bool}),
}
_JSON_TYPES = {
    str: "a text",
    bool: "true or false",
    type(None): "null",
    dict: "an object",
    int: "a number",
    float: "a number",
}
#: Key of an object that stands for a text of any bytes.
_BASE64 = "b64"


def read(content: bytes, limits: Limits) -> dict:
    """Read the JSON object of a request.

    A key that comes twice is refused: no reader can know which of the values is meant.

    Raises
    ------
    RefusedError
        The bytes are no JSON, hold too many values, or are no object with either inputs or instances.
    """
    if content.count(b",") >= limits.values:
        raise RefusedError(Reason.LARGE, f"a request may hold {limits.values} values: ask for less at once")
    if content.count(b":") >= limits.values // 4:  # keys of objects take several times the memory of values
        raise RefusedError(
            Reason.LARGE, f"a request may hold {limits.values // 4} keys: ask for less at once"
        )
    try:
        request = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError(Reason.BAD, f"the request is no JSON: {error}") from error
    if not isinstance(request, dict) or ("inputs" in request) == ("instances" in request):
        raise RefusedError(
            Reason.BAD, 'the request needs to be an object with either "inputs" or "instances"'
        )
    return request


def arrays(model: Model, request: dict, limits: Limits) -> tuple[Signature, dict[str, np.ndarray]]:
    """Return the signature of a request and the arrays of its inputs, given by rows or by columns.

    Raises
    ------
    RefusedError
        Names, types or shapes do not fit.
    """
    name = request.get("signature_name")
    if not isinstance(name, str | None):
        raise RefusedError(Reason.BAD, "signature_name needs to be a text")
    signature = model.signature(name)
    if "instances" in request:
        columns = _columns(signature, request["instances"])
    else:
        columns = _named(signature, request["inputs"])
    return signature, {name: _array(signature, name, values, limits) for name, values in columns.items()}


def _object(pairs: list[tuple[str, object]]) -> dict:
    """Return an object of JSON, if no key comes twice."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise RefusedError(Reason.BAD, f"the request has {twice[:50]!r} twice in one object")
    return unique


def _refuse_constant(text: str) -> NoReturn:
    """Raise `ValueError` for NaN and Infinity, which JSON does not know."""
    raise ValueError(f"{text} is no number")


def _named(signature: Signature, inputs: object) -> dict:
    """Return inputs by name; the only input of a signature needs no name."""
    if not isinstance(inputs, dict) or (len(signature.inputs) == 1 and inputs.keys() == {_BASE64}):
        inputs = {name: inputs for name in signature.inputs} if len(signature.inputs) == 1 else {}
    signature.check_names(inputs)
    return inputs


def _columns(signature: Signature, instances: object) -> dict[str, list]:
    """Return inputs by name from a list of instances."""
    if not isinstance(instances, list) or not instances:
        raise RefusedError(Reason.BAD, "instances needs to be a list with at least one instance")
    rows = [_named(signature, instance) for instance in instances]
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _array(signature: Signature, name: str, values: object, limits: Limits) -> np.ndarray:
    """Return the array of an input from nested lists."""
    leaves, shape = _flat(name, values)
    signature.check_shape(name, shape)
    dtype = np.dtype(signature.inputs[name].dtype.as_numpy_dtype)
    if dtype.kind in _NUMBERS:
        return _numbers(name, leaves, dtype).reshape(shape)
    texts = np.empty(len(leaves), object)
    texts[:] = [_text(name, leaf, limits) for leaf in leaves]
    return texts.reshape(shape)


def _flat(name: str, values: object) -> tuple[list, tuple[int, ...]]:
    """Return the values of nested lists, one after the other, and their shape."""
    leaves, shape = [values], []
    while leaves and isinstance(leaves[0], list):
        lengths = {len(part) if isinstance(part, list) else None for part in leaves}
        if len(lengths) > 1:
            raise _irregular(name)
        shape.append(lengths.pop())
        leaves = list(itertools.chain.from_iterable(leaves))
    return leaves, tuple(shape)


def _irregular(name: str) -> RefusedError:
    """Return the refusal of lists that are no array."""
    return RefusedError(Reason.BAD, f"input {name} is no regular array: lists differ in length or depth")


def _numbers(name: str, leaves: list, dtype: np.dtype) -> np.ndarray:
    """Return values as an array of a type, if all of them are numbers that fit the type."""
    kind_name, types = _NUMBERS[dtype.kind]
    strange = {type(leaf) for leaf in leaves} - types
    if list in strange:
        raise _irregular(name)
    if strange:
        types_found = " and ".join(sorted({_JSON_TYPES[kind] for kind in strange}))
        raise RefusedError(
            Reason.BAD,
            f"input {name} needs to hold {kind_name} only, of type {dtype}: it has {types_found}",
        )
    try:
        with np.errstate(over="ignore"):  # becomes infinite, which the graph refuses
            return np.array(leaves, dtype)
    except OverflowError as error:
        message = f"input {name} has a number beyond what {dtype} can hold"
        raise RefusedError(Reason.BAD, message) from error


def _text(name: str, value: object, limits: Limits) -> bytes:
    """Return the bytes of a text or of an object ``{"b64": ...}``, whose padding may be missing."""
    if isinstance(value, list):
        raise _irregular(name)
    try:
        if isinstance(value, str):
            text = value.encode("utf-8")
        elif isinstance(value, dict) and value.keys() == {_BASE64} and isinstance(value[_BASE64], str):
            coded = value[_BASE64]
            text = base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
        else:
            raise RefusedError(
                Reason.BAD, f'input {name} needs to hold texts only, or {{"{_BASE64}": "..."}} for bytes'
            )
    except ValueError as error:
        message = f"input {name} has a text that is no Unicode or no base64: {str(error)[:100]}"
        raise RefusedError(Reason.BAD, message) from error
    if len(text) > limits.text_bytes:
        raise RefusedError(
            Reason.LARGE,
            f"input {name} has a text of {len(text)} bytes, at most {limits.text_bytes} are taken",
        )
    return text
