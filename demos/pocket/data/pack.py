"""The files that training reads: pictures as one memory-mapped array with an index of JSON lines, clouds likewise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lens_plugins.errors import InputError

from .render import SIDE

__all__ = ["Status", "read_lines", "write_clouds", "write_images", "write_lines", "publish"]


class Status:
    """One line per event, appended to `out/STATUS`, so that another process can follow."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "STATUS"

    def __call__(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(line + "\n")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines, one row each."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


def write_images(
    folder: Path, pictures: Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray | None]], limit: int
) -> tuple[int, int]:
    """Write images.npy (N, S, S, 4) uint8, depth.npy (M, S, S) uint16 and index.jsonl with N rows.

    Args:
        pictures: row, picture (S, S, 4) uint8, depth (S, S) uint16 or None; "depth" in a row is its place in depth.npy.
        limit: no more than this many pictures come; the file is cut to what came.

    Returns:
        N and M.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = np.lib.format.open_memmap(folder / "all.npy", "w+", np.uint8, (limit, SIDE, SIDE, 4))
    rows, depths = [], []
    for row, picture, depth in pictures:
        if picture.shape != (SIDE, SIDE, 4):
            raise InputError(f"{row['object']}: a picture of shape {picture.shape}; the pack holds {(SIDE, SIDE, 4)}.")
        images[len(rows)] = picture
        rows.append({**row, "depth": len(depths) if depth is not None else None})
        if depth is not None:
            depths.append(depth)
    cut = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (len(rows), SIDE, SIDE, 4))
    for start in range(0, len(rows), 1024):
        cut[start : start + 1024] = images[start : min(start + 1024, len(rows))]
    cut.flush()
    del images, cut
    (folder / "all.npy").unlink()
    if depths:
        np.save(folder / "depth.npy", np.stack(depths))
    write_lines(folder / "index.jsonl", rows)
    return len(rows), len(depths)


def write_clouds(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    clouds: Sequence[np.ndarray],
    normals: Sequence[np.ndarray] | None = None,
) -> None:
    """Write clouds.npy (M, P, 3) float16, normals.npy of the same shape where given, and clouds.jsonl with M rows."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "clouds.npy", np.stack(clouds).astype(np.float16))
    if normals is not None:
        np.save(folder / "normals.npy", np.stack(normals).astype(np.float16))
    write_lines(folder / "clouds.jsonl", rows)


def publish(temporary: Path, final: Path) -> None:
    """Put a finished folder in its place, so that a reader never meets half of one."""
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
