"""A client of the C++ runtime in the TensorFlow wheel, through its C API; no TensorFlow Python.

    python c_api.py LIBRARIES SAVED_MODEL REQUESTS.npz ANSWERS.npz

runs every request (arrays named CASE/SIGNATURE/INPUT) by signature, as a model server does: the graph is
loaded by its tag, XLA is off. Answers are CASE/SIGNATURE/OUTPUT, or CASE/SIGNATURE/error, and what is in
the graph: signatures, ops, those without a processor kernel here, attributes.
"""

import ctypes as c
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

DTYPES = {1: np.float32, 2: np.float64, 3: np.int32}
TEXT, TEXT_BYTES = 7, 24
CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}
#: A serialised ConfigProto: one thread, graph_options.optimizer_options.global_jit_level OFF.
XLA_OFF = b"\x10\x01\x28\x01\x52\x0d\x1a\x0b\x28" + b"\xff" * 9 + b"\x01"


class Buffer(c.Structure):
    _fields_ = (("data", c.c_void_p), ("length", c.c_size_t), ("free", c.c_void_p))

    def bytes(self):
        return c.string_at(self.data, self.length)


class Output(c.Structure):
    _fields_ = (("operation", c.c_void_p), ("index", c.c_int))


def fields(message):
    """Protocol buffer -> {field number: [values]}; numbers as int, everything else as bytes."""
    found, at = defaultdict(list), 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            found[key >> 3].append(varint())
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            found[key >> 3].append(message[at : at + size])
            at += size
    return found


def mapping(entries):
    """The entries of a map field with string keys."""
    return {e[1][0].decode(): e[2][0] for e in map(fields, entries)}


class Runtime:
    """libtensorflow_cc with a SavedModel in it."""

    def __init__(self, libraries, saved_model):
        c.CDLL(str(next(libraries.glob("libtensorflow_framework.so*"))), c.RTLD_GLOBAL)
        self.lib = c.CDLL(str(next(libraries.glob("libtensorflow_cc.so*"))), c.RTLD_GLOBAL)
        self.status = self.call("NewStatus")
        self.graph = self.call("NewGraph")
        options, meta_graph = self.call("NewSessionOptions"), Buffer()
        self.checked("SetConfig", c.c_void_p(options), XLA_OFF, c.c_size_t(len(XLA_OFF)))
        tags = (c.c_char_p * 1)(b"serve")
        folder = str(saved_model).encode()
        self.session = self.checked(
            "LoadSessionFromSavedModel",
            *(c.c_void_p(options), None, folder, tags, 1, c.c_void_p(self.graph), c.byref(meta_graph)),
        )
        self.meta_graph = fields(meta_graph.bytes())

    def call(self, name, *arguments, returns=c.c_void_p):
        function = getattr(self.lib, f"TF_{name}")
        function.restype = returns
        return function(*arguments)

    def checked(self, name, *arguments):
        """Call a function whose last argument is the status."""
        result = self.call(name, *arguments, c.c_void_p(self.status))
        if self.call("GetCode", c.c_void_p(self.status), returns=c.c_int):
            raise RuntimeError(self.call("Message", c.c_void_p(self.status), returns=c.c_char_p).decode())
        return result

    def run(self, signature, inputs):
        """Named arrays -> named arrays."""
        definition = fields(mapping(self.meta_graph[5])[signature])
        feeds, fetches = (
            {name: self.output(fields(info)[1][0].decode()) for name, info in mapping(entries).items()}
            for entries in (definition[1], definition[2])
        )
        if set(inputs) != set(feeds):
            raise RuntimeError(f"{signature} takes {sorted(feeds)}, not {sorted(inputs)}")
        given = (c.c_void_p * len(feeds))(*(self.tensor(inputs[name]) for name in feeds))
        got = (c.c_void_p * len(fetches))()
        self.checked(
            "SessionRun",
            *(c.c_void_p(self.session), None, (Output * len(feeds))(*feeds.values()), given, len(feeds)),
            *((Output * len(fetches))(*fetches.values()), got, len(fetches), None, 0, None),
        )
        return {name: self.array(c.c_void_p(tensor)) for name, tensor in zip(fetches, got, strict=True)}

    def output(self, tensor_name):
        operation, _, index = tensor_name.partition(":")
        found = self.call("GraphOperationByName", c.c_void_p(self.graph), operation.encode())
        return Output(found, int(index))

    def tensor(self, values):
        values = np.ascontiguousarray(values)
        shape = (c.c_int64 * values.ndim)(*values.shape)
        if values.dtype.kind == "S":
            return self.texts(values, shape)
        code = CODES[values.dtype]
        found = self.call("AllocateTensor", code, shape, values.ndim, c.c_size_t(values.nbytes))
        data = self.call("TensorData", c.c_void_p(found))
        c.memmove(data, values.ctypes.data, values.nbytes)
        return found

    def texts(self, values, shape):
        size = c.c_size_t(values.size * TEXT_BYTES)
        found = self.call("AllocateTensor", TEXT, shape, values.ndim, size)
        place = self.call("TensorData", c.c_void_p(found))
        for number, text in enumerate(values.ravel().tolist()):
            one = c.c_void_p(place + number * TEXT_BYTES)
            self.call("StringInit", one, returns=None)
            self.call("StringCopy", one, text, c.c_size_t(len(text)), returns=None)
        return found

    def array(self, tensor):
        rank = self.call("NumDims", tensor, returns=c.c_int)
        shape = [self.call("Dim", tensor, i, returns=c.c_int64) for i in range(rank)]
        dtype = DTYPES[self.call("TensorType", tensor, returns=c.c_int)]
        data = c.string_at(
            self.call("TensorData", tensor), self.call("TensorByteSize", tensor, returns=c.c_size_t)
        )
        return np.frombuffer(data, dtype).reshape(shape)

    def signatures(self):
        return sorted(mapping(self.meta_graph[5]))

    def nodes(self):
        """Ops and attribute names of all nodes and functions in graph and function library."""
        graph = fields(self.meta_graph[2][0])
        functions = [fields(function) for library in graph[2] for function in fields(library)[1]]
        nodes = [fields(node) for node in graph[1] + [node for one in functions for node in one[3]]]
        attributes = {name for one in nodes + functions for name in mapping(one[5])}
        return {node[2][0].decode() for node in nodes}, attributes

    def has_cpu_kernel(self, op):
        listed = c.cast(self.checked("GetRegisteredKernelsForOp", op.encode()), c.POINTER(Buffer))
        devices = {fields(kernel)[2][0] for kernel in fields(listed.contents.bytes())[1]}
        return bool(devices & {b"CPU", b"DEFAULT"})  # the second stands for every device


def main(libraries, saved_model, requests, answers):
    runtime = Runtime(Path(libraries), saved_model)
    grouped, found = defaultdict(dict), {}
    for name, values in np.load(requests).items():
        request, _, given = name.rpartition("/")
        grouped[request][given] = values
    for request, inputs in grouped.items():
        try:
            outputs = runtime.run(request.rpartition("/")[2], inputs)
        except RuntimeError as error:
            outputs = {"error": np.array(str(error))}
        found |= {f"{request}/{name}": values for name, values in outputs.items()}
    ops, attributes = runtime.nodes()
    missing = [op for op in sorted(ops) if not runtime.has_cpu_kernel(op)]
    imported = sorted(name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras"))
    lists = {"ops": sorted(ops), "without_kernel": missing, "attributes": sorted(attributes)}
    lists |= {"signatures": runtime.signatures(), "imported": imported}
    np.savez(answers, **found, **{name: np.array(values, str) for name, values in lists.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
