"""The weights that ship: one row a file, where each lies, and whether it is the published one.

A wheel of the library carries what is marked so. The rest is kept in the repository alone: a checkout finds it beside
the other weights, an installed wheel below the folder that ``$LENS_PLUGINS_POCKET`` names.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, LensPluginsError
from ..files.digests import sha256_of
from ..files.writing import replacing
from .fetched import cache_folder

__all__ = ["ELSEWHERE", "ROWS", "WEIGHTS", "WeightRow", "checked_folder", "shipped", "shipped_folder"]

WEIGHTS = Path(__file__).parent / "weights"
ELSEWHERE = "LENS_PLUGINS_POCKET"  # environment variable: a folder of the same layout, for what the wheel leaves out
_STAMPS = "checked-weights.json"  # in the cache: which files were found whole, by size and time of change


@dataclass(frozen=True)
class WeightRow:
    """One file of weights. Whoever changes the file gives its model a new version."""

    id: str  # of the host or lens
    version: str  # of the host or lens
    file: str  # below the folder of weights
    size: int  # bytes
    sha256: str


ROWS = (
    WeightRow(
        "pocket-instructblip", "1.0", "instructblip/model.safetensors", 23_341_504,
        "3c8aca25d56d6995529155a2aa1acea6b93b79748c82b86710e7bbd23df2c9d1",
    ),
    WeightRow(
        "pocket-instructblip", "1.0", "instructblip/text_head/text_head.safetensors", 197_520,
        "f1bd5d3187fd30fdfc155f920f20979c7c733375f4692e5d5eec1e9bfd3a77bc",
    ),
    WeightRow(
        "pocket-seed-llama", "1.0", "seed-llama/llm/model.safetensors", 16_450_824,
        "b344285f85ff46d98da02ca4f0c62dbb74b0ee7f2a3ad258fd7fe993f3be3058",
    ),
    WeightRow(
        "pocket-seed-llama", "1.0", "seed-llama/tokenizer/model.safetensors", 21_805_808,
        "0ed3ea23d256d8b065e56e1e59a88ba4e98aded2d94ff0d82732ff9c6c8ce8d6",
    ),
    WeightRow(
        "pocket-seed-llama", "1.0", "seed-llama/unclip/image_normalizer/diffusion_pytorch_model.safetensors", 1_704,
        "2f53f2b42fe4316b12cd288830f76928e6d649341a2271e798bd3c6a16cef2bf",
    ),
    WeightRow(
        "pocket-seed-llama", "1.0", "seed-llama/unclip/text_encoder/model.safetensors", 5_752,
        "baba241db0e9c1750f9a0743af248b6b10d1ba7edfbfe2539952ea28af20fe99",
    ),
    WeightRow(
        "pocket-seed-llama", "1.0", "seed-llama/unclip/unet/diffusion_pytorch_model.safetensors", 29_690_112,
        "220be1affde5a14ea65bac7905f2b36f3a7ee1869d751b52f88c9b3e2abae145",
    ),
    WeightRow(
        "pocket-seed-llama", "1.0", "seed-llama/unclip/vae/diffusion_pytorch_model.safetensors", 5_008_246,
        "6d3b3177f7b14fe07eaec4711069ec3dfc65fc367de658d639dbc708fe419272",
    ),
    WeightRow(
        "pocket-point-cloud", "1.0", "lens-point-cloud/model.safetensors", 7_775_784,
        "04339f4858d677ab502b88b626a8ec5c0b42ccd81cf6a40d5eb36786eda201b9",
    ),
    WeightRow(
        "pocket-audio", "1.0", "lens-audio/model.safetensors", 17_032_714,
        "ce0fb81005a5013ed45f804692e363b8022032e0e3ba90459254fdcaf3098a39",
    ),
    WeightRow(
        "pocket-depth", "1.0", "lens-depth/model.safetensors", 7_573_216,
        "337bf6b1591923244f7bc983d7e1e5def8dbe64b93bc4a2c84488c2bd3341331",
    ),
    WeightRow(
        "pocket-tactile", "1.0", "lens-tactile/model.safetensors", 7_657_440,
        "8f0764260477a92ba89efedb774b490355e541760a9684db9f2e12955e758f00",
    ),
    WeightRow(
        "pocket-eeg", "1.0", "lens-eeg/model.safetensors", 4_430_928,
        "3e17786ae6d011fb68e5361606b9c7cc7f11477e30808f23dd348337b8e0739d",
    ),
)  # fmt: skip


def shipped(name: str) -> Path:
    """A folder of the weights ("heldout"), or of a shipped host or lens by its id, here or in the other place.

    Raises:
        CheckpointError: it is in neither.
    """
    folder = shipped_folder(name)
    if folder is None:
        named = os.environ.get(ELSEWHERE)
        raise CheckpointError(
            f"{name} is {f'neither in {named} nor' if named else 'not'} in this installation: the wheel leaves it out, "
            f"so set {ELSEWHERE} to the folder lens_plugins/pocket/weights of a checkout of the repository."
        )
    return folder


def shipped_folder(name: str) -> Path | None:
    """The same, or None."""
    folder = next((row.file.partition("/")[0] for row in ROWS if row.id == name), name)
    named = os.environ.get(ELSEWHERE)
    places = (root / folder for root in (WEIGHTS, *([Path(named)] if named else [])))
    return next((place for place in places if place.is_dir()), None)


def checked_folder(id_: str) -> Path:
    """The folder of a shipped host or lens, its files compared with their rows.

    A file that was once found whole is compared again when its size or its time of change differs.

    Raises:
        CheckpointError: absent, or a file is not the published one.
    """
    rows = [row for row in ROWS if row.id == id_]
    folder = shipped(id_)
    stamps = _read_stamps()
    known = dict(stamps)
    for row in rows:
        path = folder.parent / row.file
        try:
            status = path.stat()
        except OSError as error:
            raise CheckpointError(f"{path} of {id_} cannot be read: {error.strerror}. Install it again.") from error
        stamp = [status.st_size, status.st_mtime_ns, row.sha256]
        if known.get(str(path)) != stamp:
            if (found := sha256_of(path, error=CheckpointError)) != row.sha256:
                raise CheckpointError(
                    f"{path} is damaged: its sha256 is {found}, that of {id_} version {row.version} is {row.sha256}. "
                    "Install it again."
                )
            known[str(path)] = stamp
    if known != stamps:
        _write_stamps(known)
    return folder


def _read_stamps() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        read = json.loads((cache_folder() / _STAMPS).read_text("utf-8"))
        if isinstance(read, dict):
            return read
    return {}


def _write_stamps(stamps: dict[str, Any]) -> None:
    """As far as the cache can be written; without it every process checks anew."""
    with suppress(LensPluginsError, OSError), replacing(cache_folder() / _STAMPS) as path:
        path.write_text(json.dumps(stamps), encoding="utf-8")


# What pyproject.toml's entry points `lens_plugins.folders` name.
instructblip = partial(checked_folder, "pocket-instructblip")
seed_llama = partial(checked_folder, "pocket-seed-llama")
point_cloud = partial(checked_folder, "pocket-point-cloud")
audio = partial(checked_folder, "pocket-audio")
depth = partial(checked_folder, "pocket-depth")
tactile = partial(checked_folder, "pocket-tactile")
eeg = partial(checked_folder, "pocket-eeg")
