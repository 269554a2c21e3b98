"""Reading ONNX files: the nodes of a graph and its constants, without onnx or onnxruntime.

The format is Protocol Buffers (onnx/onnx.proto). Only the parts are read that trained networks need, and whatever is
not as expected is refused, so that damage never becomes a weight.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sparseshape_jax.errors import InputError

DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
"""NumPy's names of ONNX's types of tensors."""
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Protocol Buffers' wire types."""


@dataclass(frozen=True)
class Node:
    """One operation."""

    kind: str
    """ONNX's operator, such as Conv."""
    inputs: tuple[str, ...]
    """Names of values: of the graph's inputs, constants, or other nodes' outputs. "" is an input that is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    """Numbers, texts as bytes, tensors as arrays, and lists of numbers."""


@dataclass(frozen=True)
class Graph:
    """A network as ONNX has it."""

    nodes: tuple[Node, ...]
    """In an order in which they can be computed."""
    constants: dict[str, np.ndarray]
    """By name, with the dtype of the file."""


def read_onnx(path: Path) -> Graph:
    """The graph in a file.

    Raises:
        InputError: the file is missing, truncated, or holds something other than a plain ONNX network.
    """
    try:
        data = path.read_bytes()
        graphs = [value for number, value in _fields(data) if number == 7]
        if len(graphs) != 1:
            raise ValueError("it has no graph" if not graphs else "it has more than one graph")
        parts = list(_fields(_bytes(graphs[0])))
        constants = dict(_tensor(_bytes(value)) for number, value in parts if number == 5)
        return Graph(tuple(_node(_bytes(value)) for number, value in parts if number == 1), constants)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (ValueError, IndexError, struct.error, OSError, MemoryError) as error:
        raise InputError(f"{path} is not an ONNX network, or is damaged ({error}); replace it") from None


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a message: their numbers and values."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | float | bytes
        if wire == VARINT:
            value, at = _varint(data, at)
        elif wire == LENGTH:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        elif wire == FOUR_BYTES:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        elif wire == EIGHT_BYTES:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        else:
            raise ValueError(f"there is no wire type {wire}")
        if number == 0 or at > len(data):
            raise ValueError("a field ends after the file" if number else "a field has the number 0")
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number of seven bits a byte at a position, and the position after it."""
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number has no end")


def _signed(value: int | float | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a field is not the whole number that it should be")
    return value - (1 << 64) if value >> 63 else value


def _bytes(value: int | float | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is not the message that it should be")
    return value


def _numbers(value: int | float | bytes) -> list[int]:
    """One number of a repeated field, or many that are packed."""
    if not isinstance(value, bytes):
        return [_signed(value)]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(_signed(number))
    return found


def _tensor(data: bytes) -> tuple[str, np.ndarray]:
    """The name and the values of a TensorProto."""
    shape: list[int] = []
    kind, name, raw = 0, "", None
    integers: list[int] = []
    floats = b""
    for number, value in _fields(data):
        if number == 1:
            shape += _numbers(value)
        elif number == 2:
            kind = _signed(value)
        elif number == 4:
            floats += value if isinstance(value, bytes) else struct.pack("<f", value)
        elif number in (5, 7):
            integers += _numbers(value)
        elif number == 8:
            name = _bytes(value).decode()
        elif number == 9:
            raw = _bytes(value)
        elif number != 12:  # a text for people
            raise ValueError(f"a tensor has the field {number}, which is not supported")
    if kind not in DTYPES:
        raise ValueError(f"the tensor {name} has the type {kind}, which is not supported")
    if any(side < 0 for side in shape):
        raise ValueError(f"the tensor {name} has the shape {shape}")
    dtype = np.dtype(DTYPES[kind])
    if raw is not None:
        array = np.frombuffer(raw, dtype)
    else:
        array = np.frombuffer(floats, "<f4").astype(dtype) if kind == 1 else np.asarray(integers, dtype)
    return name, array.reshape(shape)


def _attribute(data: bytes) -> tuple[str, Any]:
    """The name and the value of an AttributeProto."""
    name = ""
    found: Any = None
    several: list[Any] = []
    for number, value in _fields(data):
        if number == 1:
            name = _bytes(value).decode()
        elif number == 2:
            found = value
        elif number == 3:
            found = _signed(value)
        elif number == 4:
            found = _bytes(value)
        elif number == 5:
            found = _tensor(_bytes(value))[1]
        elif number == 7:
            several += np.frombuffer(value, "<f4").tolist() if isinstance(value, bytes) else [value]
        elif number == 8:
            several += _numbers(value)
        elif number not in (13, 20):  # a text for people, and the type, which the field says already
            raise ValueError(f"an attribute has the field {number}, which is not supported")
    return name, found if found is not None else several


def _node(data: bytes) -> Node:
    """A NodeProto."""
    inputs: list[str] = []
    outputs: list[str] = []
    kind, attributes = "", {}
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_bytes(value).decode())
        elif number == 2:
            outputs.append(_bytes(value).decode())
        elif number == 4:
            kind = _bytes(value).decode()
        elif number == 5:
            name, found = _attribute(_bytes(value))
            attributes[name] = found
        elif number not in (3, 6, 7):  # its name, a text for people, and its set of operators
            raise ValueError(f"a node has the field {number}, which is not supported")
    return Node(kind, tuple(inputs), tuple(outputs), attributes)


def convolutions(graph: Graph) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The kernels (h, w, inputs, outputs) and biases of all convolutions, float32, by the names of the kernels.

    Whole numbers become w = (q - z)·scale, with a scale for each output channel. A layer's bias is found through the
    node's inputs, because layers without one share a constant of another name.

    Raises:
        InputError: a convolution whose weights are no constants, or have shapes that do not belong together.
    """
    made = {output: node for node in graph.nodes for output in node.outputs}
    found = {}
    for node in graph.nodes:
        if node.kind != "Conv":
            continue
        try:
            name, kernel = _constant(graph, made, node.inputs[1])
            bias = _constant(graph, made, node.inputs[2])[1] if len(node.inputs) > 2 else np.zeros(len(kernel), "f4")
            if kernel.ndim != 4 or bias.shape != kernel.shape[:1]:
                raise ValueError(f"a kernel {kernel.shape} and a bias {bias.shape}")
        except (ValueError, IndexError, TypeError) as error:
            raise InputError(
                f"the convolution {' '.join(node.outputs)} cannot be read ({error}); give another ONNX file"
            ) from None
        found[name] = kernel.transpose(2, 3, 1, 0), bias
    return found


def _constant(graph: Graph, made: dict[str, Node], name: str) -> tuple[str, np.ndarray]:
    """The name of the stored constant behind a value, and the value in float32."""
    if name in graph.constants:
        return name, graph.constants[name].astype(np.float32)
    node = made.get(name)
    if node is None or node.kind != "DequantizeLinear" or not {*node.inputs} <= graph.constants.keys():
        raise ValueError(f"{name} should be a constant, and is computed")
    whole, scale, *zero = (graph.constants[each] for each in node.inputs)
    shape = [1] * whole.ndim
    if scale.ndim:
        shape[node.attributes.get("axis", 1)] = -1
    offset = zero[0].astype(np.int64).reshape(shape) if zero else 0
    return node.inputs[0], ((whole.astype(np.int64) - offset) * scale.reshape(shape)).astype(np.float32)
