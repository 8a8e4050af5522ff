import struct

import mne
import numpy as np
import pytest

from lens_plugins.errors import InputError
from lens_plugins.inputs.fiff import check_tags


def tag(kind: int, data: bytes, following: int) -> bytes:
    return struct.pack(">iIii", kind, 3, len(data), following) + data


def test_a_recording_of_mne_passes(tmp_path):
    info = mne.create_info(2, 100.0, "eeg", verbose="ERROR")
    mne.io.RawArray(np.zeros((2, 500)), info, verbose="ERROR").save(tmp_path / "a_raw.fif", verbose="ERROR")
    check_tags(tmp_path / "a_raw.fif")


def test_a_chain_that_jumps_forth_and_back_and_ends_passes(tmp_path):
    (tmp_path / "a.fif").write_bytes(tag(100, b"", 48) + tag(102, b"", -1) + tag(103, b"", 0) + tag(101, b"", 16))
    check_tags(tmp_path / "a.fif")


@pytest.mark.parametrize(
    "content", [b"x", tag(100, b"", 1000), tag(100, b"1234", 0), struct.pack(">iIii", 1, 2, -9, 0)]
)
def test_a_chain_that_leaves_the_file_is_left_to_the_reader(tmp_path, content):
    (tmp_path / "a.fif").write_bytes(content)
    check_tags(tmp_path / "a.fif")


def test_a_loop_is_refused(tmp_path):
    for content, position in ((tag(100, b"", 0) + tag(101, b"", 16), 16), (tag(100, b"", 0) * 3 + tag(1, b"", 32), 32)):
        (tmp_path / "a.fif").write_bytes(content)
        with pytest.raises(InputError, match=rf"tag at byte {position} comes twice"):
            check_tags(tmp_path / "a.fif")
