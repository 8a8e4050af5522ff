"""A released ``.pt``, a folder of ours, a hub id or a shipped lens -> Lens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .. import catalog
from ..errors import CheckpointError
from ..files.digests import sha256_of
from ..files.folders import CONFIG_FILE, WEIGHTS_FILE
from ..files.hub import fetch
from ..files.opening import brief, local_path, parsing
from ..files.tensors import FLOATS, dtype_of, flat_state, read_pt_value
from .layouts import Released, check_modality, infer, recognise
from .lens import Lens, meta_state

__all__ = ["has_vit_copy", "load_lens", "locate", "open_released", "vit_copy"]

# Of each lens loaded from a released file: the ViT beside it there, mapped, so that `plug` need not open it again.
_vit_copies: WeakKeyDictionary[Lens, Mapping[str, Tensor]] = WeakKeyDictionary()


def load_lens(
    source: str | os.PathLike[str],
    modality: str | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    **overrides: Any,
) -> Lens:
    """Load a lens; in eval mode, frozen.

    Args:
        source: a released ``.pt``; a folder that `Lens.save_pretrained` wrote; a catalogue id ("eva_g14_objaverse",
            "pocket-point-cloud"); on the hub a repository of ours ("owner/name") or a file in one
            ("TencentARC/ViT-Lens/eva_g14_objaverse.pt").
        modality: what it reads. Needed where a file holds several lenses; compared with the file otherwise.
        dtype: of the weights in memory ("bfloat16" or torch.bfloat16); float32 by default, whatever the file has.
        device: where they go; the CPU by default.
        revision: branch, tag or commit of a hub id; None: the default branch.
        **overrides: what the shapes of the weights cannot tell, by name: ``latent_dim_head``, ``cross_dim_head``,
            ``group_size``, ``num_groups``, ``mel_bins``, ``size``, ``clips`` and the other settings of the parts.

    Raises:
        CheckpointError: absent, unreachable, damaged, not a lens, partly a lens, or one of another modality.
        ConfigError: an override that nothing reads or that contradicts the weights; a folder from a newer version.
        Unsupported: a lens of the bigG-14 family.
    """
    dtype, device = dtype_of(dtype, allowed=FLOATS), device or "cpu"
    path = locate(source, revision)
    if path.is_dir():
        lens = Lens.from_pretrained(path, dtype=dtype, device=device, overrides=overrides)
        check_modality(source, lens.modality, modality)
        return lens
    row = catalog.find_lens(os.fspath(source))
    released = open_released(path, modality or (row.modality if row else None))
    with parsing(str(path), "lens", "fetch it again", error=CheckpointError):
        config = infer(released, overrides)
        expected = meta_state(config, released.tensors, str(path))
        tensors = released.table.convert(released.tensors, expected, source=str(path))
    lens = Lens.from_state(config, tensors, str(path), dtype=dtype, device=device)
    lens.source = path
    _vit_copies[lens] = released.vit
    return lens


def vit_copy(lens: Lens) -> Mapping[str, Tensor]:
    """The ViT that lies beside a lens in the file it was loaded from, by LAVIS names; {} where there is none.

    Raises:
        CheckpointError: the lens was not loaded by `load_lens`, and its file cannot be read.
    """
    if lens.source is None or not has_vit_copy(lens):
        return {}
    return _vit_copies[lens] if lens in _vit_copies else open_released(lens.source, lens.modality).vit


def has_vit_copy(lens: Lens) -> bool:
    """Whether a ViT lies beside a lens in its file; no file is opened, so True where only that would tell."""
    if lens.source is None or lens.source.is_dir():
        return False
    return bool(_vit_copies.get(lens, True))


def locate(source: str | os.PathLike[str], revision: str | None = None) -> Path:
    """The file or folder behind a source, fetched from the hub where it is neither on this disk nor in the package.

    Raises:
        CheckpointError: there is none.
    """
    path = local_path(source)
    name = os.fspath(source)
    if _exists(path):
        return path
    row = catalog.find_lens(name)
    if row is not None and row.family == "pocket":
        return catalog.folder_of(row.source)
    if row is not None:
        return _checked(fetch(row.source, row.file, revision=revision), row)
    parts = name.split("/")
    if isinstance(source, os.PathLike) or name.startswith((".", "/", "~")) or len(parts) < 2 or "" in parts:
        raise CheckpointError(_absent(name))
    repository = "/".join(parts[:2])
    if len(parts) > 2:
        return fetch(repository, "/".join(parts[2:]), revision=revision)
    fetch(repository, WEIGHTS_FILE, revision=revision)
    return fetch(repository, CONFIG_FILE, revision=revision).parent


def open_released(path: Path, modality: str | None = None) -> Released:
    """Read a released ``.pt`` and find the lens in it; its tensors stay on the disk until they are used.

    Raises:
        CheckpointError: damaged, with code in it, not a lens, several of them, or one of another modality.
        Unsupported: a lens of the bigG-14 family.
    """
    content = read_pt_value(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} is not a lens: it holds a {type(content).__name__}, not named tensors.")
    tensors = flat_state(content, data_parallel=False)
    if not tensors:
        raise CheckpointError(f"{path} is not a lens: it holds no tensors by name, at the top or under 'state_dict'.")
    with parsing(str(path), "lens", "fetch it again", error=CheckpointError):
        return recognise(path, tensors, modality, variant=str(content.get("model_var", "")))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name of thousands of letters, or with a NUL byte
        return False


def _checked(path: Path, row: catalog.LensRow) -> Path:
    if row.sha256 is not None and (found := sha256_of(path, error=CheckpointError)) != row.sha256:
        raise CheckpointError(f"{path} is not the published {row.id}: its sha256 is {found}, expected {row.sha256}.")
    return path


def _absent(name: str) -> str:
    known = catalog.find_lens(Path(name).stem)
    near = get_close_matches(name, catalog.lenses(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    if known:
        hint = f" The released one is fetched with load_lens({known.id!r})."
    return f"There is no lens {brief(name)!r}: no such file or folder, and no such id in the catalogue.{hint}"
