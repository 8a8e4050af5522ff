"""Data sets' pickles of arrays: the values come out, nothing else does."""

import io
import pickle
import struct

import numpy as np
import pytest

from lens_plugins.errors import InputError
from lens_plugins.files.numpy_pickles import read_numpy_pickle

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pair_of_lists_of_arrays(tmp_path, protocol):
    """ModelNet40's cache, in every protocol; 0 and 1 hold texts where others hold bytes."""
    clouds = [RNG.random((5, 6)).astype(np.float32) for _ in range(3)]
    labels = [np.array([number], np.int64) for number in range(3)]
    file = tmp_path / "cache.dat"
    file.write_bytes(pickle.dumps((clouds, labels), protocol))
    found = read_numpy_pickle(file)
    assert type(found) is tuple
    for got, want in zip([*found[0], *found[1]], [*clouds, *labels]):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "value",
    [
        {"xyz": RNG.random((4, 3)), "rgb": np.ones((4, 3), np.uint8), "label": [1, 2]},
        np.array([{"xyz": RNG.random((2, 3))}, {"xyz": np.zeros((1, 3), np.float16)}], dtype=object),
        np.array([np.arange(3), "two", None], dtype=object),
        np.asfortranarray(RNG.random((3, 4))),
        np.arange(4, dtype=">i4"),
    ],
    ids=["dictionary", "dictionaries", "mixed", "column-major", "big-endian"],
)
def test_what_numpy_saves_with_pickle(tmp_path, value):
    file = tmp_path / "cloud.npy"
    np.save(file, value, allow_pickle=True)
    found, want = read_numpy_pickle(file), value.tolist() if getattr(value, "dtype", "") == "O" else value
    assert_same(found, want)
    plain = tmp_path / "plain.dat"
    plain.write_bytes(pickle.dumps(value))
    assert_same(read_numpy_pickle(plain), want)


def assert_same(found, want):
    if isinstance(want, dict):
        assert found.keys() == want.keys()
        for key in want:
            assert_same(found[key], want[key])
    elif isinstance(want, list):
        assert len(found) == len(want)
        for one, other in zip(found, want):
            assert_same(one, other)
    elif isinstance(want, np.ndarray):
        assert (found.dtype, found.shape) == (want.dtype, want.shape)
        np.testing.assert_array_equal(found, want)
    else:
        assert found == want


def test_one_array_named_twice_is_read_twice(tmp_path):
    array = np.arange(3)
    file = tmp_path / "twice.dat"
    file.write_bytes(pickle.dumps([array, array]))
    first, second = read_numpy_pickle(file)
    np.testing.assert_array_equal(first, second)


class Evil:
    def __init__(self, call, *arguments):
        self.how = call, arguments

    def __reduce__(self):
        return self.how


def test_code_is_named_and_not_run(tmp_path):
    marker = tmp_path / "was-run"
    file = tmp_path / "evil.dat"
    file.write_bytes(pickle.dumps([np.arange(2), Evil(open, str(marker), "w")]))
    with pytest.raises(InputError, match="holds more than arrays and plain values"):
        read_numpy_pickle(file)
    saved = tmp_path / "evil.npy"
    np.save(saved, np.array([Evil(open, str(marker), "w")], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="more than arrays"):
        read_numpy_pickle(saved)
    assert not marker.exists()


def rebuilt(shape: tuple, data: bytes | list, code: str = "f4") -> bytes:
    """A pickle of one array with any shape and any data, as numpy's own code would write it."""

    class Made:
        def __reduce__(self):
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(code), False, data)

    return pickle.dumps(Made())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (rebuilt((3,), struct.pack("<2f", 1, 2)), "other bytes than that needs"),
        (rebuilt((2**40, 2**40), b"1234"), "other bytes than that needs"),
        (rebuilt((-1,), b"1234"), "a length that is no number"),
        (rebuilt((2, 2), [1, 2, 3, 4], "O"), "an array of objects of shape"),
        (rebuilt((3,), [1, 2], "O"), "an array of objects of shape"),
        (pickle.dumps(np.arange(9))[:-20], "damaged or no pickle"),
        (b"not a pickle at all", "damaged or no pickle"),
        (pickle.dumps(np.array(["text"])), "numpy type that is no number"),
    ],
)
def test_damage_is_one_sentence(tmp_path, content, reason):
    file = tmp_path / "bad.dat"
    file.write_bytes(content)
    with pytest.raises(InputError, match=reason) as told:
        read_numpy_pickle(file)
    assert "\n" not in str(told.value)


def test_arrays_of_objects_do_not_nest_without_end(tmp_path):
    inner = np.empty(1, object)
    inner[0] = np.array([1, None], object)
    file = tmp_path / "deep.dat"
    file.write_bytes(pickle.dumps(inner))
    with pytest.raises(InputError, match="inside each other"):
        read_numpy_pickle(file)
    ring = np.empty(1, object)
    ring[0] = ring
    file.write_bytes(pickle.dumps(ring))
    with pytest.raises(InputError, match="inside each other"):
        read_numpy_pickle(file)


def test_plain_numbers_in_npy_come_as_numpy_reads_them(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(6).reshape(2, 3))
    file = tmp_path / "plain.npy"
    file.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read_numpy_pickle(file), np.arange(6).reshape(2, 3))
