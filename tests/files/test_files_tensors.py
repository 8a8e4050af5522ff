import io
import os
import pickle
import time
import zipfile
from collections import OrderedDict
from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lens_plugins.errors import CheckpointError, ConfigError, InputError
from lens_plugins.files.tensors import (
    FLOATS,
    check_finite,
    dtype_of,
    flat_state,
    read_pt,
    read_pt_value,
    read_safetensors,
    read_state,
    write_pt,
    write_safetensors,
)

KINDS = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip


def same(a, b):
    if isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(b, dict):
        return isinstance(a, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in b)
    if isinstance(b, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("legacy", [False, True])
class TestReadsWhatTorchSaves:
    def there_and_back(self, tmp_path, value, legacy):
        torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        return read_pt_value(tmp_path / "a.pt")

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    def test_number_types(self, tmp_path, legacy, kind):
        value = {"a": (torch.arange(15) % 3).reshape(3, 5).to(kind), "b": torch.tensor(1).to(kind)}
        assert same(self.there_and_back(tmp_path, value, legacy), value)

    def test_plain_values(self, tmp_path, legacy):
        value = {
            "text": "ä" * 300, "numbers": [1, -1, 2**40, -(2**63), 1.5, True, None], "shape": (1, (2, 3)), 7: b"abc",
            "empty": [{}, [], ()], ("a", 1): 2, "dtype": torch.bfloat16,
        }  # fmt: skip
        assert same(self.there_and_back(tmp_path, value, legacy), value)

    def test_views_of_one_storage_stay_views(self, tmp_path, legacy):
        whole = torch.arange(24.0).reshape(4, 6)
        value = {"row": whole[1], "column": whole[:, 2], "turned": whole.T, "all": whole, "none": whole[:0]}
        read = self.there_and_back(tmp_path, value, legacy)
        assert same(read, value)
        assert read["row"].untyped_storage().data_ptr() == read["all"].untyped_storage().data_ptr()

    def test_parameters_sizes_and_ordered_dictionaries(self, tmp_path, legacy):
        module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
        value = {"state": module.state_dict(), "weight": module[0].weight, "size": module[0].weight.shape}
        read = self.there_and_back(tmp_path, value, legacy)
        assert same(read["state"], dict(module.state_dict()))
        assert same(read["weight"], module[0].weight.data)
        assert read["size"] == (3, 2)

    def test_the_state_of_an_optimizer(self, tmp_path, legacy):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.AdamW([weight])
        weight.sum().backward()
        optimizer.step()
        assert same(self.there_and_back(tmp_path, optimizer.state_dict(), legacy), optimizer.state_dict())

    def test_a_shared_list_is_repeated(self, tmp_path, legacy):
        shared = [1, 2]
        read = self.there_and_back(tmp_path, {"a": shared, "b": shared, "c": (shared, shared)}, legacy)
        assert read == {"a": [1, 2], "b": [1, 2], "c": ([1, 2], [1, 2])}

    def test_numpy_numbers(self, tmp_path, legacy):
        read = self.there_and_back(
            tmp_path, {"lr": np.float64(0.25), "step": np.int64(-3), "on": np.bool_(True)}, legacy
        )
        assert read == {"lr": 0.25, "step": -3, "on": True}

    def test_writing_to_a_tensor_leaves_the_file(self, tmp_path, legacy):
        read = self.there_and_back(tmp_path, {"a": torch.zeros(1000)}, legacy)
        read["a"] += 1
        assert read_pt(tmp_path / "a.pt")["a"].sum() == 0

    def test_every_cut_is_refused(self, tmp_path, legacy):
        torch.save({"a": torch.zeros(9)}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        whole = (tmp_path / "a.pt").read_bytes()
        for length in range(0, len(whole), 7):
            (tmp_path / "a.pt").write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=r"a\.pt cannot be read: it is damaged, cut short or no PyTorch"):
                read_pt_value(tmp_path / "a.pt")

    @pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
    @pytest.mark.parametrize("kind", ["complex", "conjugated", "float8", "sparse", "quantised"])
    def test_other_tensors_are_refused_in_one_sentence(self, tmp_path, legacy, kind):
        value = {
            "complex": lambda: torch.zeros(2, dtype=torch.complex64),
            "conjugated": lambda: torch.zeros(2, dtype=torch.complex64).conj(),
            "float8": lambda: torch.zeros(2).to(torch.float8_e4m3fn),
            "sparse": lambda: torch.eye(2).to_sparse(),
            "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
        }[kind]()
        with pytest.raises(CheckpointError, match=r"a\.pt holds .*(not read|more than tensors)") as caught:
            self.there_and_back(tmp_path, {"a": value}, legacy)
        assert "weights_only" not in str(caught.value)

    def test_code_is_refused_and_not_run(self, tmp_path, legacy):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "sprung"),)

        with pytest.raises(CheckpointError, match=r"holds more than tensors \(posix.mkdir\)"):
            self.there_and_back(tmp_path, {"a": torch.zeros(1), "b": Trap()}, legacy)
        assert not (tmp_path / "sprung").exists()


def archive(path, data: bytes, members=()):
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/data.pkl", data)
        for name, content in members:
            made.writestr(name, content)


def tensor_pickle(count: int, shape: tuple, strides: tuple, offset: int = 0) -> bytes:
    """What torch writes for one float32 tensor, with numbers of our own."""
    numbers = b"".join(b"\x8a\x08" + n.to_bytes(8, "little") for n in (count,))

    def lengths(values):
        return b"(" + b"".join(b"\x8a\x08" + n.to_bytes(8, "little") for n in values) + b"t"

    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpu" + numbers + b"tQ\x8a\x08" + offset.to_bytes(8, "little") + lengths(shape)
        + lengths(strides) + b"\x89ccollections\nOrderedDict\n)RtR."
    )  # fmt: skip


class TestHostile:
    def refused(self, path, said, seconds=2.0):
        before = time.monotonic()
        with pytest.raises(CheckpointError, match=said) as caught:
            read_pt_value(path)
        assert time.monotonic() - before < seconds
        assert len(str(caught.value)) < 500
        assert "weights_only" not in str(caught.value)

    def test_tuples_of_tuples_never_end(self, tmp_path):
        doublings = b"".join(b"q%ch%c\x86" % (n, n) for n in range(40))
        for key in (b"}K\x01\x85" + doublings + b"K\x01s.", b"K\x01\x85" + doublings + b"."):
            archive(tmp_path / "a.pt", b"\x80\x02" + key)
            self.refused(tmp_path / "a.pt", "containers that hold")

    def test_an_allocation_without_bytes(self, tmp_path):
        for call in (b"cbuiltins\nbytearray\n", b"cbuiltins\nbytes\n", b"ctorch\nzeros\n", b"cnumpy\nzeros\n"):
            archive(tmp_path / "a.pt", b"\x80\x02" + call + b"\x8a\x05\x00\x00\x00\x00\x0c\x85R.")
            self.refused(tmp_path / "a.pt", "holds more than tensors")

    def test_a_list_in_itself(self, tmp_path):
        archive(tmp_path / "a.pt", b"\x80\x02]q\x00h\x00a.")
        assert read_pt_value(tmp_path / "a.pt") == [[]]  # a copy from before it was put inside: it ends

    def test_deep_lists(self, tmp_path):
        archive(tmp_path / "a.pt", b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b".")
        self.refused(tmp_path / "a.pt", "nested deeper than 48")

    def test_a_million_steps(self, tmp_path):
        archive(tmp_path / "a.pt", b"\x80\x02(" + b"N" * 3_000_000 + b"t.")
        self.refused(tmp_path / "a.pt", "more than 2000000 steps", seconds=30)

    def test_a_text_longer_than_the_file(self, tmp_path):
        archive(tmp_path / "a.pt", b"\x80\x02X\xff\xff\xff\x7fabc.")
        self.refused(tmp_path / "a.pt", "not a whole pickle")

    def test_a_huge_integer(self, tmp_path):
        archive(tmp_path / "a.pt", b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b".")
        self.refused(tmp_path / "a.pt", "more than 127 bits")

    @pytest.mark.parametrize(
        ("numbers", "said"),
        [
            ((4, (4,), (1,)), None),
            ((2, (2, 2), (0, 1)), None),
            ((5, (4,), (1,)), "5 numbers in 16 bytes"),
            ((2**61, (4,), (1,)), "numbers in 16 bytes"),
            ((4, (5,), (1,)), "needs 20 bytes of a storage of 16"),
            ((4, (4,), (2,)), "needs 28 bytes of a storage of 16"),
            ((4, (4,), (1,), 1), "needs 20 bytes"),
            ((4, (2**40, 2**20), (0, 0)), r"tensors of \d+ bytes in a file of"),
            ((4, (2**40, 0), (1, 1)), None),
            ((4, (1,) * 20, (1,) * 20), "20 axes"),
            ((4, (4, 1), (1,)), "2 axes and 1 strides"),
        ],
    )
    def test_sizes_against_the_bytes_held(self, tmp_path, numbers, said):
        archive(tmp_path / "a.pt", tensor_pickle(*numbers), [("a/data/0", bytes(16)), ("a/version", b"3\n")])
        if said is None:
            assert read_pt_value(tmp_path / "a.pt").shape == torch.Size(numbers[1])
        else:
            self.refused(tmp_path / "a.pt", said)

    def test_a_storage_that_is_absent(self, tmp_path):
        archive(tmp_path / "a.pt", tensor_pickle(4, (4,), (1,)))
        self.refused(tmp_path / "a.pt", "storage 0 is absent")

    def test_big_endian(self, tmp_path):
        archive(tmp_path / "a.pt", tensor_pickle(4, (4,), (1,)), [("a/data/0", bytes(16)), ("a/byteorder", b"big")])
        self.refused(tmp_path / "a.pt", "big-endian")

    def test_a_compressed_archive(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("a/data.pkl", tensor_pickle(2**26, (4,), (1,)))
            made.writestr("a/data/0", bytes(2**28))
        self.refused(tmp_path / "a.pt", r"unpacks to \d+ bytes; at most")

    def test_two_members_of_one_name(self, tmp_path):
        with pytest.warns(UserWarning, match="Duplicate"):
            archive(tmp_path / "a.pt", tensor_pickle(4, (4,), (1,)), [("a/data/0", bytes(16))] * 2)
        self.refused(tmp_path / "a.pt", "two members of one name")

    def test_pickles_of_other_things(self, tmp_path):
        for data in (pickle.dumps({"a": 1}), pickle.dumps([1], 5), b"\x80\x02.", b"junk", bytes(1000)):
            (tmp_path / "a.pt").write_bytes(data)
            self.refused(tmp_path / "a.pt", "damaged, cut short or no PyTorch file")

    def test_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "a.pt")
        self.refused(tmp_path / "a.pt", "pipe or a device")

    def test_mutations_of_a_good_file_end_in_our_error_or_a_value(self, tmp_path):
        random = np.random.default_rng(0)
        for legacy in (False, True):
            torch.save(
                {"a": torch.ones(3), "b": [1, "x"]}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy
            )
            whole = (tmp_path / "a.pt").read_bytes()
            for _ in range(300):
                data = bytearray(whole)
                for at in random.integers(0, len(data), random.integers(1, 6)):
                    data[at] = random.integers(256)
                (tmp_path / "a.pt").write_bytes(data)
                with suppress(CheckpointError):  # anything else fails the test
                    read_pt_value(tmp_path / "a.pt")


def test_only_named_values(tmp_path):
    write_pt(tmp_path / "a.pt", [torch.zeros(1)])
    with pytest.raises(InputError, match=r"a\.pt does not hold named tensors: it holds a list"):
        read_pt(tmp_path / "a.pt", error=InputError)


STATE = {"a.weight": torch.ones(2), "b.bias": torch.zeros(1)}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {}}},
        {"module": STATE},
        {"state_dict": {"model": STATE}},
        {f"module.{name}": value for name, value in STATE.items()},
        {f"_orig_mod.{name}": value for name, value in STATE.items()},
        {"model": {f"module._orig_mod.{name}": value for name, value in STATE.items()} | {"step": 3}},
        OrderedDict({name.replace(".", "._orig_mod."): value for name, value in STATE.items()}),
    ],
)
def test_wrappers(tmp_path, content):
    write_pt(tmp_path / "a.pt", content)
    assert same(read_state(tmp_path / "a.pt"), STATE)


def test_names_that_would_clash_stay():
    clash = {"_orig_mod.a": torch.ones(1), "a": torch.zeros(1)}
    assert list(flat_state(clash)) == ["_orig_mod.a", "a"]
    assert list(flat_state({"module.a": torch.ones(1), "b": torch.zeros(1)})) == ["module.a", "b"]


def test_a_file_without_tensors(tmp_path):
    write_pt(tmp_path / "a.pt", {"state_dict": {"epoch": 3}})
    with pytest.raises(CheckpointError, match=r"a\.pt does not hold named tensors"):
        read_state(tmp_path / "a.pt")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, bad, kind):
    state = {"good": torch.ones(3), "latents": torch.tensor([1, bad, 2], dtype=kind), "ids": torch.arange(3)}
    said = "is damaged: 1 of the 3 values of latents are NaN or infinite"
    with pytest.raises(CheckpointError, match=f"^it {said}"):
        check_finite(state, "it")
    write_pt(tmp_path / "a.pt", state)
    write_safetensors(tmp_path / "a.safetensors", state)
    for path in (tmp_path / "a.pt", tmp_path / "a.safetensors"):
        with pytest.raises(CheckpointError, match=said):
            read_state(path)
        assert read_state(path, finite=False).keys() == state.keys()


def test_safetensors_there_and_back(tmp_path):
    state = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.nn.Parameter(torch.ones(2))}
    write_safetensors(tmp_path / "x" / "a.safetensors", state, {"note": "n"})
    read = read_safetensors(tmp_path / "x" / "a.safetensors")
    assert all(torch.equal(read[name], state[name]) for name in state)
    assert load_file(tmp_path / "x" / "a.safetensors").keys() == state.keys()
    assert (tmp_path / "x" / "a.safetensors").stat().st_mode & 0o077 == 0o666 & 0o077 & ~umask()


def umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_safetensors_that_are_none(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": torch.ones(3)})
    whole = path.read_bytes()
    for content in (whole[:-1], b"junk", b"\xff" * 64, whole[:8] + b"{" * (len(whole) - 8)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
            read_safetensors(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="pipe or a device"):
        read_safetensors(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        with open("/dev/full", "wb") as file:
            file.write(bytes(10_000))

    monkeypatch.setattr("lens_plugins.files.tensors.save_file", full)
    with pytest.raises(CheckpointError, match=r"a\.safetensors cannot be written: No space left"):
        write_safetensors(tmp_path / "a.safetensors", {"a": torch.ones(3)})
    assert list(tmp_path.iterdir()) == []


def test_dtype_words():
    assert dtype_of(None) == dtype_of("float32") == dtype_of(torch.float32) == torch.float32
    assert dtype_of("torch.bfloat16") == dtype_of(torch.bfloat16) == torch.bfloat16
    assert dtype_of("float64", allowed=FLOATS) == torch.float64
    for word in ("float64", "bfloat", torch.int8, "nn", 3):
        with pytest.raises(ConfigError, match="one of float32, float16, bfloat16"):
            dtype_of(word)


def test_reading_a_buffer_of_torch_is_like_torch(tmp_path):
    """The same values as torch's own reader, on a state of many tensors."""
    state = torch.nn.TransformerEncoderLayer(16, 2, 32).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    (tmp_path / "a.bin").write_bytes(buffer.getvalue())
    theirs = torch.load(tmp_path / "a.bin", weights_only=True)
    assert same(read_state(tmp_path / "a.bin"), dict(theirs))
