"""Small files written by hand, byte for byte, for formats that our dependencies only read."""

import struct
from pathlib import Path

import numpy as np
import pytest


def write_edf(path: Path, data: np.ndarray, rate: int, *, unit: str = "uV", labels: list[str] | None = None) -> Path:
    """An EDF or BDF file (by suffix) of one-second records; `data` is (channels, time) in `unit`, whole seconds."""
    wide = path.suffix == ".bdf"
    channels, seconds = len(data), data.shape[1] // rate
    limit = 2**23 - 1 if wide else 2**15 - 1
    peak = float(np.ceil(np.abs(data).max())) or 1.0
    digital = np.round(data / peak * limit).astype("<i4").reshape(channels, seconds, rate)

    def field(values: list[object], width: int) -> bytes:
        return b"".join(str(value).encode().ljust(width)[:width] for value in values)

    labels = labels or [f"EEG {i}" for i in range(channels)]
    version = b"\xffBIOSEMI" if wide else b"0".ljust(8)
    header = version + field(["X"], 80) + field(["X"], 80) + field(["01.01.20", "00.00.00"], 8)
    header += field([256 * (channels + 1)], 8) + field(["24BIT" if wide else ""], 44) + field([seconds, 1], 8)
    header += field([channels], 4) + field(labels, 16) + field([""] * channels, 80) + field([unit] * channels, 8)
    header += field([-peak] * channels, 8) + field([peak] * channels, 8)
    header += field([-limit] * channels, 8) + field([limit] * channels, 8)
    header += field([""] * channels, 80) + field([rate] * channels, 8) + field([""] * channels, 32)
    records = digital.transpose(1, 0, 2)  # (seconds, channels, rate)
    if wide:
        body = records.astype("<i4").tobytes()
        body = np.frombuffer(body, np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        body = records.astype("<i2").tobytes()
    path.write_bytes(header + body)
    return path


def huge_png(width: int, height: int) -> bytes:
    """The first bytes of a PNG that declares so many pixels and has none."""
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


@pytest.fixture(name="write_edf")
def _write_edf():
    return write_edf


@pytest.fixture(name="huge_png")
def _huge_png():
    return huge_png
