import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from lens_plugins.errors import InputError
from lens_plugins.inputs import arrays
from lens_plugins.inputs.arrays import array_names, as_array, load_array

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


class Trap:
    """Makes a folder when unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def npy(shape: str, dtype: str = "<f4", body: bytes = b"") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + body


def test_each_format_gives_what_was_saved(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    np.savez_compressed(tmp_path / "a.npz", anything=VALUES)
    torch.save(torch.from_numpy(VALUES), tmp_path / "a.pt")
    torch.save({"anything": torch.from_numpy(VALUES), "rate": 3}, tmp_path / "b.pt")
    for file in ("a.npy", "a.npz", "a.pt", "b.pt"):
        assert as_array(load_array(tmp_path / file), file).tolist() == VALUES.tolist()


def test_several_arrays_are_told_apart_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", other=VALUES * 0, data=VALUES, eeg=VALUES + 1)
    assert load_array(tmp_path / "a.npz", ("eeg", "data")).tolist() == (VALUES + 1).tolist()
    with pytest.raises(InputError, match="holds the arrays other, data, eeg; give one array, or name it one of depth"):
        load_array(tmp_path / "a.npz", ("depth",))


@pytest.mark.parametrize("file", ["a.npy", "a.npz", "a.pt", "b.pt"])
def test_nothing_is_unpickled(tmp_path, file):
    trap, path = Trap(tmp_path / "sprung"), tmp_path / file
    if file == "a.npy":
        np.save(path, np.array([trap], dtype=object), allow_pickle=True)
    elif file == "a.npz":
        np.savez(path, np.array([trap], dtype=object))
    elif file == "a.pt":
        torch.save(trap, path)
    else:
        path.write_bytes(pickle.dumps(trap))
    with pytest.raises(InputError) as caught:
        load_array(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy("(100000000000, 3)"), "not a whole .npy file"),
        (npy("(4, 3)", body=VALUES.tobytes()), "not a whole .npy file"),
        (npy("(2, 3)", "|O"), "not a whole .npy file"),
        (b"\x93NUMPY", "not a whole .npy file"),
        (npy("(2, 3"), "not a whole .npy file"),  # numpy's header parser raises tokenize.TokenError
        (b"PK\x03\x04" + bytes(40), "signature is missing"),
    ],
)
def test_npy_that_lies_or_stops(tmp_path, content, said):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_array(tmp_path / "a.npy")


def npz(path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def test_npz_is_measured_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_MAX_BYTES", 100_000)
    npz(tmp_path / "a.npz", x=npy("(50000,)", body=bytes(200_000)))
    assert (tmp_path / "a.npz").stat().st_size < 2000
    with pytest.raises(InputError, match=r"unpacks to 2\d+ bytes; at most 100000"):
        load_array(tmp_path / "a.npz")


def test_npz_member_that_declares_more_than_it_has(tmp_path):
    npz(tmp_path / "a.npz", x=npy("(100000000000, 3)", body=bytes(24)))
    with pytest.raises(InputError, match=r"x\.npy in .* declares 1200000000000 bytes of data but has \d+"):
        load_array(tmp_path / "a.npz")


def test_pt_is_measured_and_the_old_format_refused(tmp_path, monkeypatch):
    torch.save(torch.zeros(3), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"old\.pt is not a tensor file"):
        load_array(tmp_path / "old.pt")
    torch.save(torch.zeros(3), tmp_path / "a.pt")
    monkeypatch.setattr(arrays, "_MAX_BYTES", 10**5)
    with zipfile.ZipFile(tmp_path / "a.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10**6))
    with pytest.raises(InputError, match=r"unpacks to 1\d+ bytes; at most 100000"):
        load_array(tmp_path / "a.pt")


def test_an_expanded_view_is_measured_before_it_is_copied():
    with pytest.raises(InputError, match=r"shape \(1000000, 1000000\), over 134217728 values"):
        as_array(torch.zeros(1).expand(10**6, 10**6), "it")


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64), (np.uint16, np.float32),
        (np.bool_, np.float32), (np.int64, np.float64),
    ],
)  # fmt: skip
def test_number_types(given, dtype):
    assert as_array(np.ones(3, given), "it").dtype == dtype


def test_half_precision_tensors():
    for dtype in (torch.bfloat16, torch.float16):
        assert as_array(torch.full((2,), 0.5, dtype=dtype, requires_grad=True), "it").tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.ones(3, complex), "complex128"),
        (np.array(["a"]), "<U1"),
        ([1, 2], "list"),
        (np.zeros((0, 3)), r"shape \(0, 3\), 0 values; give between 1 and 134217728"),
        (np.array([1, np.nan, np.inf]), "2 of 3 values NaN or infinite"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.zeros(3, device="meta"), "meta tensor"),
        (torch.zeros(3, dtype=torch.complex64), "complex64"),
    ],
)
def test_what_is_no_array_of_numbers(given, said):
    with pytest.raises(InputError, match=f"it .*{said}"):
        as_array(given, "it")


def test_a_file_that_holds_something_else(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds a list; save one tensor"):
        load_array(tmp_path / "a.pt")
    buffer = io.BytesIO()
    np.savez(buffer)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="holds the arrays none"):
        load_array(tmp_path / "a.npz", ("x",))


def test_names_of_the_arrays_in_a_file(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.zeros((2, 3)), instance=np.zeros(2))
    assert array_names(tmp_path / "a.npz") == ["points", "instance"]
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 and nothing")
    with pytest.raises(InputError, match=r"b.npz is not a whole .npz file of numbers"):
        array_names(tmp_path / "b.npz")
