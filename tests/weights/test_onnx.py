"""Reading ONNX files, which these tests write themselves, byte by byte as Protocol Buffers has it."""

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.weights.onnx import Graph, Node, convolutions, read_onnx

CODES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float64": 11}


def varint(value):
    value %= 1 << 64
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def message(number, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number, value):
    return varint(number << 3) + varint(value)


def tensor(name, array, *, raw=True, packed=True):
    dims = b"".join(varint(side) for side in array.shape)
    shape = message(1, dims) if packed else b"".join(whole(1, side) for side in array.shape)
    if raw:
        values = message(9, array.astype(array.dtype.newbyteorder("<")).tobytes())
    elif array.dtype == np.float32:
        values = message(4, array.astype("<f4").tobytes())
    else:
        numbers = [int(each) for each in array.ravel()]
        packed_values = message(5, b"".join(map(varint, numbers)))
        values = packed_values if packed else b"".join(whole(5, each) for each in numbers)
    return shape + whole(2, CODES[array.dtype.name]) + values + message(8, name)


def node(kind, inputs, outputs, attributes=b""):
    names = b"".join(message(1, each) for each in inputs) + b"".join(message(2, each) for each in outputs)
    return names + message(3, "its name") + message(4, kind) + attributes


def model(nodes, constants, **options):
    graph = b"".join(message(1, each) for each in nodes)
    graph += b"".join(message(5, tensor(name, array, **options)) for name, array in constants.items())
    return whole(1, 8) + message(2, "a producer") + message(7, graph) + message(8, whole(2, 17))


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / "model.onnx").write_bytes(data)
        return tmp_path / "model.onnx"

    return write


RNG = np.random.default_rng(0)
CONSTANTS = {
    "weights": RNG.integers(-127, 128, (4, 3, 2, 5)).astype(np.int8),
    "scales": RNG.random(4, np.float32),
    "zeros": RNG.integers(-3, 4, 4).astype(np.int8),
    "bias": RNG.integers(-900, 900, 4).astype(np.int32),
    "bias scales": RNG.random(4, np.float32),
    "plain": RNG.random((6, 4, 1, 1), np.float32),
}
AXIS = message(5, message(1, "axis") + whole(3, 0) + whole(20, 2))
PADS = message(5, message(1, "pads") + message(8, varint(0) + varint(-1 % (1 << 64))) + whole(20, 7))
NODES = [
    node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], AXIS),
    node("DequantizeLinear", ["bias", "bias scales"], ["b"], AXIS),
    node("Conv", ["image", "w", "b"], ["x"], PADS),
    node("Conv", ["x", "plain"], ["y"]),
]


@pytest.mark.parametrize("options", [{}, {"raw": False}, {"raw": False, "packed": False}])
def test_nodes_and_constants(write, options):
    graph = read_onnx(write(model(NODES, CONSTANTS, **options)))
    assert graph.nodes[0] == Node("DequantizeLinear", ("weights", "scales", "zeros"), ("w",), {"axis": 0})
    assert graph.nodes[2] == Node("Conv", ("image", "w", "b"), ("x",), {"pads": [0, -1]})
    assert graph.constants.keys() == CONSTANTS.keys()
    for name, array in CONSTANTS.items():
        assert graph.constants[name].dtype == array.dtype
        np.testing.assert_array_equal(graph.constants[name], array)


def test_convolutions_are_followed_through_their_inputs(write):
    found = convolutions(read_onnx(write(model(NODES, CONSTANTS))))
    kernel, bias = found["weights"]
    c = CONSTANTS
    expected = (c["weights"].astype(float) - c["zeros"].reshape(4, 1, 1, 1)) * c["scales"].reshape(4, 1, 1, 1)
    np.testing.assert_allclose(kernel, expected.transpose(2, 3, 1, 0), rtol=1e-6)
    np.testing.assert_allclose(bias, c["bias"].astype(float) * c["bias scales"], rtol=1e-6)
    assert kernel.dtype == bias.dtype == np.float32
    kernel, bias = found["plain"]
    np.testing.assert_array_equal(kernel, c["plain"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(bias, np.zeros(6))


def test_weights_that_are_computed_are_refused():
    graph = Graph((Node("Conv", ("x", "w"), ("y",)), Node("Mul", ("a", "b"), ("w",))), {})
    with pytest.raises(InputError, match=r"the convolution y cannot be read \(w should be a constant, and is computed"):
        convolutions(graph)


DATA = model(NODES, CONSTANTS)


@pytest.mark.parametrize("length", [*range(1, 30, 7), len(DATA) // 2, len(DATA) - 30])
def test_truncated_files(write, length):
    with pytest.raises(InputError, match=r"model.onnx is not an ONNX network, or is damaged"):
        read_onnx(write(DATA[:length]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no graph"),
        (b"not an ONNX file", "model.onnx is not an ONNX network"),
        (DATA + DATA, "more than one graph"),
        (model([], {"w": np.zeros(2, np.float32)}).replace(message(8, "w"), whole(14, 1) + message(8, "w")), "damaged"),
    ],
)
def test_other_files(write, data, message):
    with pytest.raises(InputError, match=message):
        read_onnx(write(data))


def test_stored_outside_and_strange_types(write):
    outside = message(8, "w") + whole(2, 1) + message(13, "elsewhere")
    with pytest.raises(InputError, match="a tensor has the field 13"):
        read_onnx(write(message(7, message(5, outside))))
    with pytest.raises(InputError, match="the tensor w has the type 8"):
        read_onnx(write(message(7, message(5, message(8, "w") + whole(2, 8)))))
    with pytest.raises(InputError, match="cannot reshape"):
        read_onnx(write(message(7, message(5, whole(1, 3) + whole(2, 1) + message(9, struct.pack("<f", 1))))))


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (Node("Conv", ("x",), ("y",)), {}),
        (Node("Conv", ("x", "w"), ("y",)), {"w": np.zeros((2, 3))}),
        (Node("Conv", ("x", "w", "b"), ("y",)), {"w": np.zeros((2, 3, 1, 1)), "b": np.zeros(3)}),
    ],
)
def test_convolutions_that_cannot_be(node, constants):
    with pytest.raises(InputError, match="the convolution y cannot be read"):
        convolutions(Graph((node,), constants))


@given(st.integers(0, len(DATA) - 1), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_else(tmp_path_factory, position, byte):
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes(DATA[:position] + bytes([byte]) + DATA[position + 1 :])
    with contextlib.suppress(InputError):
        convolutions(read_onnx(path))
