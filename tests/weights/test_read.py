"""Reading files of weights: those of torch's own writer, damaged ones, and malicious ones."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors
from safetensors.numpy import save_file

from sparseshape_jax.errors import InputError
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.read import read_arrays, read_metadata
from sparseshape_jax.weights.restricted_pickle import STORAGES, Storage, Tensor

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(torch, value, path: Path, zipped: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@FORMATS
def test_tensors_of_every_kind(torch, tmp_path, zipped):
    base = torch.arange(60, dtype=torch.float32).reshape(5, 12)
    tensors = {
        "plain": base,
        "transposed (shared storage)": base.T,
        "window with an offset and strides": base[1:4, 2::3],
        "parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "double": torch.randn(4, dtype=torch.float64),
        "half": torch.randn(4).half(),
        "long": torch.arange(3),
        "bool": torch.tensor([True, False]),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "named": torch.nn.Linear(2, 3).weight,
    }
    arrays = read_arrays(save(torch, tensors, tmp_path / "any.name", zipped))
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        expected = tensor.detach().numpy()
        assert arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(arrays[name], expected, err_msg=name)


@FORMATS
def test_bfloat16(torch, tmp_path, zipped):
    values = torch.randn(7)
    array = read_arrays(save(torch, {"x": values.bfloat16()}, tmp_path / "x.pth", zipped))["x"]
    assert array.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(array.astype(np.float32), values.bfloat16().float().numpy())


@FORMATS
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "net"])
def test_checkpoints_are_unwrapped(torch, tmp_path, zipped, wrapper):
    """As `DataParallel` networks are saved: all of it wrapped, or (Geirhos' AlexNet and VGG) only `features`."""
    network = torch.nn.Sequential(
        OrderedDict(
            features=torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))),
            classifier=torch.nn.Linear(4, 2),
        )
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.features(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = torch.nn.DataParallel(network).state_dict()
    checkpoint = {"epoch": 60, "arch": "x", "best_prec1": torch.tensor(60.2), "optimizer": optimizer.state_dict()}
    value = state if wrapper is None else {**checkpoint, wrapper: state}
    arrays = read_arrays(save(torch, value, tmp_path / "checkpoint.pth.tar", zipped))
    assert list(arrays) == [
        "features.0.weight",
        "features.0.bias",
        "features.1.weight",
        "features.1.bias",
        "features.1.running_mean",
        "features.1.running_var",
        "classifier.weight",
        "classifier.bias",
    ]
    np.testing.assert_array_equal(arrays["classifier.bias"], network.classifier.bias.detach().numpy())


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_nested_arrays(tmp_path, protocol):
    rng = np.random.default_rng(0)
    tree = {
        "conv1": [rng.normal(size=(3, 3, 3, 4)).astype(np.float32), np.asfortranarray(rng.normal(size=(2, 5)))],
        "deep": {"er": (np.arange(3), np.float32(1.5)), "half": np.ones(2, ml_dtypes.bfloat16)},
    }
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    arrays = read_arrays(path)
    assert list(arrays) == ["conv1/0", "conv1/1", "deep/er/0", "deep/er/1", "deep/half"]
    np.testing.assert_array_equal(arrays["conv1/0"], tree["conv1"][0])
    np.testing.assert_array_equal(arrays["conv1/1"], tree["conv1"][1])
    np.testing.assert_array_equal(arrays["deep/er/0"], np.arange(3))
    assert arrays["deep/er/1"].shape == ()
    assert arrays["deep/er/1"] == 1.5
    assert arrays["deep/half"].dtype == ml_dtypes.bfloat16


def test_safetensors(tmp_path):
    arrays = {"module.b": np.arange(3.0), "module.a": np.ones((2, 2), ml_dtypes.bfloat16)}
    save_file(arrays, tmp_path / "x.bin", {"architecture": "none"})
    read = read_arrays(tmp_path / "x.bin")
    assert set(read) == {"a", "b"}
    np.testing.assert_array_equal(read["b"], arrays["module.b"])
    assert read["a"].dtype == ml_dtypes.bfloat16
    assert read_metadata(tmp_path / "x.bin") == {"architecture": "none"}


class _Call:
    """What a malicious file pickles: on reading, `function(*arguments)` is called."""

    def __init__(self, function, *arguments) -> None:
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def _stack_global(module: str, name: str, *arguments: str) -> bytes:
    """A pickle (protocol 4) that calls `module.name`, where `name` may have dots."""
    texts = [pickle.BINUNICODE + len(t).to_bytes(4, "little") + t.encode() for t in (module, name, *arguments)]
    call = texts[0] + texts[1] + pickle.STACK_GLOBAL + pickle.MARK + b"".join(texts[2:]) + pickle.TUPLE
    return pickle.PROTO + b"\x04" + call + pickle.REDUCE + pickle.STOP


@pytest.mark.parametrize("container", ["pickle", "zip", "legacy", "nested"])
@pytest.mark.parametrize("attack", ["system", "eval", "getattr"])
def test_malicious_pickles_are_refused_without_running(torch, tmp_path, container, attack):
    witness, path = tmp_path / "witness", tmp_path / "weights.pth"
    call, named = {
        "system": (_Call(os.system, f"touch {witness}"), "posix.system"),
        "eval": (_Call(eval, f"__import__('pathlib').Path({str(witness)!r}).touch()"), "eval"),
        "getattr": (_Call(getattr, _Call(Path, witness), "touch"), "getattr"),
    }[attack]
    if container == "pickle":
        path.write_bytes(pickle.dumps(call))
    elif container == "nested":
        path.write_bytes(pickle.dumps({"state_dict": {"a": [np.ones(3), {"b": call}]}}))
    else:
        save(torch, {"state_dict": {"a": torch.ones(2), "b": call}}, path, zipped=container == "zip")
    with pytest.raises(InputError, match=f"{path.name}.*{named}.*refused"):
        read_arrays(path)
    assert not witness.exists()
    # The attack is real: the standard unpickler runs the same file.
    if container in ("zip", "legacy"):
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert witness.exists() == (attack != "getattr")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "abc.sys.modules"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("_codecs", "decode"),
        ("builtins", "exec"),
        ("sparseshape_jax.weights.restricted_pickle", "load"),
    ],
)
def test_only_listed_globals_by_their_full_name(tmp_path, module, name):
    path = tmp_path / "x.pkl"
    path.write_bytes(_stack_global(module, name, "x"))
    with pytest.raises(InputError, match="refused"):
        read_arrays(path)


def test_a_pickle_cannot_change_how_the_next_is_read(tmp_path):
    """BUILD sets attributes of whatever the pickle was given, functions too."""
    reconstruct = pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n"
    state = pickle.EMPTY_DICT + pickle.BINUNICODE + b"\x08\0\0\0__name__" + pickle.NONE + pickle.SETITEM
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.PROTO + b"\x02" + reconstruct + pickle.NONE + state + pickle.TUPLE2 + pickle.BUILD + b".")
    with pytest.raises(InputError):
        read_arrays(path)
    path.write_bytes(pickle.dumps({"x": np.arange(3)}, 2))
    np.testing.assert_array_equal(read_arrays(path)["x"], np.arange(3))


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"<!DOCTYPE html><html>not found</html>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        (10).to_bytes(8, "little") + b"{" + bytes(20),
        pickle.dumps([1, 2]),
        pickle.dumps({"a": np.ones(2), "epoch": 60}),
        pickle.dumps({"a": np.array(["text"])}),
        pickle.dumps({"a": np.arange(3).astype(">i4")}),
        pickle.dumps({"a": np.array([{}], object)}),
        pickle.dumps({}),
    ],
    ids=["empty", "html", "png", "safetensors", "numbers", "epoch", "text", "big-endian", "objects", "nothing"],
)
def test_other_files_are_refused_by_name(tmp_path, contents):
    path = tmp_path / "weights.pth"
    path.write_bytes(contents)
    with pytest.raises(InputError, match=r"weights\.pth") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


def test_a_pickle_of_itself_ends(tmp_path):
    loop: list = []
    loop.append(loop)
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(loop))
    with pytest.raises(InputError, match="nested"):
        read_arrays(tmp_path / "loop.pkl")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(InputError, match=path.name):
            read_arrays(path)


def test_unusual_zip_archives(torch, tmp_path):
    original = save(torch, {"x": torch.arange(3.0)}, tmp_path / "x.pth")

    def altered(name: str, replaced: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(original) as old, zipfile.ZipFile(tmp_path / name, "w", compression) as new:
            for entry in old.namelist():
                new.writestr(entry, replaced.get(entry, old.read(entry)))
        return tmp_path / name

    np.testing.assert_array_equal(read_arrays(altered("same.pth", {}))["x"], np.arange(3.0))
    with pytest.raises(InputError, match="big-endian"):
        read_arrays(altered("big.pth", {"x/byteorder": b"big"}))
    with pytest.raises(InputError, match="compressed"):
        read_arrays(altered("deflated.pth", {}, zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match="damaged"):
        read_arrays(altered("short.pth", {"x/data/0": bytes(8)}))
    np.savez(tmp_path / "x.npz", x=np.ones(2))
    with pytest.raises(InputError, match=r"torch\.save"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (-1, (2,), (1,)), (0, (2,), (-1,)), (0, (9, 9), (0, 0)),
     (0, (2, 2), (1,)), (0, (2.0,), (1,)), (0, (1 << 62, 4), (0, 1))],
)  # fmt: skip
def test_tensors_outside_their_storage(offset, shape, strides):
    with pytest.raises(ValueError, match="tensor"):
        Tensor(Storage("0", STORAGES["FloatStorage"], 4), offset, shape, strides).array(bytes(16))


@pytest.fixture(scope="module")
def whole_files(torch, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    state = torch.nn.BatchNorm2d(3).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    return {
        "zip": save(torch, state, folder / "zip").read_bytes(),
        "legacy": save(torch, state, folder / "legacy", zipped=False).read_bytes(),
        "pickle": pickle.dumps(arrays),
        "safetensors": save_safetensors(arrays),
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["zip", "legacy", "pickle", "safetensors"]))
def test_truncated_files_are_refused(whole_files, tmp_path, data, name):
    whole = whole_files[name]
    path = tmp_path / "weights"
    path.write_bytes(whole)
    assert set(read_arrays(path)) == {"weight", "bias", "running_mean", "running_var"}
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match=r"is not a file of weights|is damaged, cut short"):
        read_arrays(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
            lambda name: "module" not in name and "." not in name
        ),
        st.lists(st.integers(0, 3), max_size=4),
        min_size=1,
        max_size=4,
    ),
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_]),
)
def test_what_we_write_torch_and_we_read(torch, tmp_path, shapes, dtype):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(0, 9, shape).astype(dtype).T for name, shape in shapes.items()}
    torch_format.write_zip(arrays, tmp_path / "x.pth")
    loaded, ours = torch.load(tmp_path / "x.pth", weights_only=True), read_arrays(tmp_path / "x.pth")
    assert list(loaded) == list(ours) == list(arrays)
    for name, array in arrays.items():
        assert loaded[name].is_contiguous()
        np.testing.assert_array_equal(loaded[name].numpy(), array)
        np.testing.assert_array_equal(ours[name], array)


def test_a_pickle_cannot_claim_memory(tmp_path):
    """Contents that are a number: `bytes(number)` would be that many zeros."""

    class Huge:
        def __reduce__(self):
            return np.array(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (1,), np.dtype("u1"), False, 1 << 40)

    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"x": Huge()}))
    with pytest.raises(InputError, match="damaged"):
        read_arrays(tmp_path / "x.pkl")


def test_writing_bfloat16_and_dtypes_that_torch_lacks(torch, tmp_path):
    torch_format.write_zip({"x": np.arange(4, dtype=ml_dtypes.bfloat16)}, tmp_path / "x.pth")
    assert torch.load(tmp_path / "x.pth", weights_only=True)["x"].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="uint16"):
        torch_format.write_zip({"x": np.arange(4, dtype=np.uint16)}, tmp_path / "y.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_legacy_magic_is_torchs(torch):
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    buffer.seek(0)
    assert pickle.load(buffer) == torch_format.LEGACY_MAGIC


class TestTensorsPickledWithoutTorchSave:
    """Such a tensor has its storage as a file of its own, inside the pickle: the published masks and losses do."""

    @pytest.fixture
    def published(self, reference_data):
        folder = reference_data / "goldens" / "frequency" / "authors_format"
        with np.load(folder / "expected.npz") as file:
            return folder, dict(file)

    @pytest.mark.parametrize(("name", "key"), [("resnet18_DFM_5.pkl", "dfm"), ("resnet18loss4.pkl", "loss")])
    def test_published_masks_and_losses(self, published, name, key):
        folder, expected = published
        found = read_arrays(folder / name)
        assert list(found) == ["0", "1", "2", "3"]
        np.testing.assert_array_equal(np.stack(list(found.values())), expected[key])

    def test_an_array_of_objects(self, published):
        folder, expected = published
        images = np.stack(list(read_arrays(folder / "train_data_complex_special_1_par.npy").values()))
        pixels = (np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(pixels, expected["images"])
        labels = read_arrays(folder / "train_label_complex_special_1_par.npy")
        np.testing.assert_array_equal(labels["array"], expected["labels"])

    def test_tensors_of_this_torch(self, torch, tmp_path):
        path = tmp_path / "x.pkl"
        path.write_bytes(pickle.dumps({"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.ones(2, dtype=torch.int64)}))
        found = read_arrays(path)
        np.testing.assert_array_equal(found["a"], [[0, 3], [1, 4], [2, 5]])
        np.testing.assert_array_equal(found["b"], [1, 1])

    @pytest.mark.parametrize("contents", ["code", "nested", "dict", "text", "nothing"])
    def test_what_else_the_bytes_may_hold(self, tmp_path, contents):
        """The file inside is read with the same restrictions, and may hold a storage only."""
        path, witness = tmp_path / "x.pkl", tmp_path / "witness"
        legacy = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        begin = b"".join(pickle.dumps(part, 2) for part in legacy)
        code = pickle.dumps(Call(Path.touch, (witness,)))
        inside = {
            "code": code,
            "nested": begin + _call("torch.storage", "_load_from_bytes", b"x"),
            "dict": begin + pickle.dumps({"a": 1}, 2) + pickle.dumps([], 2),
            "text": "text",
            "nothing": b"",
        }[contents]
        path.write_bytes(_call("torch.storage", "_load_from_bytes", inside))
        with pytest.raises(InputError, match="refused" if contents in ("code", "nested") else "damaged"):
            read_arrays(path)
        assert not witness.exists()

    def test_an_array_of_objects_that_holds_code(self, tmp_path):
        path, witness = tmp_path / "x.npy", tmp_path / "witness"
        with path.open("wb") as file:
            np.save(file, np.array([Call(Path.touch, (witness,))], object), allow_pickle=True)
        with pytest.raises(InputError, match="refused"):
            read_arrays(path)
        assert not witness.exists()

    def test_a_cut_npy_file(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(path, np.arange(100))
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(InputError, match="damaged"):
            read_arrays(path)


class Call:
    """Pickled, it asks for a function to be called."""

    def __init__(self, function, arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _call(module, name, argument):
    """A pickle that calls a function with one argument."""
    ask = pickle.GLOBAL + f"{module}\n{name}\n".encode()
    inside = pickle.dumps(argument, 3)[2:-1]
    return pickle.PROTO + b"\x03" + ask + inside + pickle.TUPLE1 + pickle.REDUCE + pickle.STOP
