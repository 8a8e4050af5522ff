import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from lens_plugins.errors import InputError
from lens_plugins.inputs.matlab import check_matlab

CONTENT = {
    "srate": 250.0, "data": np.arange(12, dtype=np.float32).reshape(3, 4), "name": "ä name", "empty": np.zeros((0, 0)),
    "cells": np.array([[np.ones(2), "text"]], dtype=object), "complex": np.array([1 + 2j]), "flags": np.array([True]),
    "chanlocs": np.array([("a", 1.0), ("b", 2.0)], dtype=[("labels", "O"), ("X", "O")]), "none": "",
}  # fmt: skip


def saved(compressed: bool = False, **content) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, content or {"EEG": CONTENT}, do_compression=compressed)
    return buffer.getvalue()


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(class_: int, shape: tuple, *parts: bytes, order: str = "<") -> bytes:
    head = element(6, struct.pack(f"{order}II", class_, 0), order)
    head += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order) + element(1, b"x", order)
    return element(14, head + b"".join(parts), order)


def file(body: bytes, order: str = "<") -> bytes:
    return b"MATLAB 5.0".ljust(124) + (b"\x00\x01IM" if order == "<" else b"\x01\x00MI") + body


@pytest.mark.parametrize("compressed", [False, True])
def test_whole_files_pass(compressed):
    check_matlab(saved(compressed), "a.set", 2**20)
    check_matlab(file(matrix(6, (1, 2), element(9, bytes(16), ">"), order=">"), ">"), "a.set", 2**20)


def test_other_versions_pass_unseen():
    for content in (b"", b"junk", b"\0" * 200):
        check_matlab(content, "a.set", 2**20)


def test_version_7_3_is_refused_by_name():
    for start in (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", bytes(124) + b"\0\x02IM"):
        with pytest.raises(InputError, match=r"a\.set is a MATLAB 7\.3 file, which is not read"):
            check_matlab(start.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n", "a.set", 2**20)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda o: matrix(6, (10**6, 300), element(9, bytes(16), o), order=o), "declares 300000000 elements.*hold 2"),
        (lambda o: matrix(4, (1, 10**9), element(16, b"text", o), order=o), "declares 1000000000 elements.*hold 4"),
        (lambda o: matrix(1, (1, 3 * 10**8), order=o), "declares 300000000 elements"),
        (
            lambda o: matrix(2, (3 * 10**8, 1), element(5, bytes(4), o), element(1, b"", o), order=o),
            "declares 300000000",
        ),
        (lambda o: matrix(6, (-1, 2), element(9, b"", o), order=o), r"shape \(-1, 2\)"),
        (lambda o: matrix(6, (1,) * 33, element(9, bytes(8), o), order=o), "33 dimensions"),
        (lambda o: matrix(6, (1, 1), element(99, bytes(8), o), order=o), "unknown type 99"),
        (lambda o: matrix(6, (1, 1), struct.pack(f"{o}II", 9, 2**31), order=o), "2147483648 bytes begins where 8"),
        (lambda o: matrix(6, (1, 1), order=o), "begins where 0 are left"),
    ],
)
def test_what_declares_more_than_it_holds(order, build, said):
    with pytest.raises(InputError, match=rf"^a\.set .*{said}"):
        check_matlab(file(build(order), order), "a.set", 2**20)


def test_deep_cells():
    inner = matrix(6, (1, 1), element(9, bytes(8)))
    for _ in range(40):
        inner = matrix(1, (1, 1), inner)
    with pytest.raises(InputError, match="nested deeper than 32"):
        check_matlab(file(inner), "a.set", 2**20)


def test_a_bomb_is_not_unpacked():
    packed = zlib.compress(bytes(2**22))
    with pytest.raises(InputError, match="unpacks to more than 1048576 bytes"):
        check_matlab(file(struct.pack("<II", 15, len(packed)) + packed), "a.set", 2**20)


def test_every_cut_is_refused():
    whole = saved()
    for length in range(136, len(whole) - 8, 8):
        with pytest.raises(InputError):
            check_matlab(whole[:length], "a.set", 2**20)
