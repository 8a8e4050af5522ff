"""A released ``.pt``, a folder of ours, a hub id or a shipped lens -> Lens."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import catalog
from ..errors import CheckpointError, ConfigError
from .layouts import Released, check_modality, infer, recognise
from .lens import CONFIG_FILE, WEIGHTS_FILE, Lens, file_sha256, meta_state

__all__ = ["load_lens", "locate", "open_released", "read_state"]


def load_lens(
    source: str | os.PathLike[str],
    modality: str | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
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
        **overrides: what the shapes of the weights cannot tell, by name: ``latent_dim_head``, ``cross_dim_head``,
            ``group_size``, ``num_groups``, ``mel_bins``, ``size``, ``clips`` and the other settings of the parts.

    Raises:
        CheckpointError: absent, unreachable, damaged, not a lens, partly a lens, or one of another modality.
        ConfigError: an override that nothing reads or that contradicts the weights; a folder from a newer version.
        Unsupported: a lens of the bigG-14 family.
    """
    dtype, device = _dtype(dtype), device or "cpu"
    path = locate(source)
    if path.is_dir():
        lens = Lens.from_pretrained(path, dtype=dtype, device=device, overrides=overrides)
        check_modality(source, lens.modality, modality)
        return lens
    released = open_released(path, modality)
    config = infer(released, overrides)
    tensors = released.table.convert(released.tensors, meta_state(config), source=str(path))
    lens = Lens.from_state(config, tensors, str(path), dtype=dtype, device=device)
    lens.source = path
    return lens


def locate(source: str | os.PathLike[str]) -> Path:
    """The file or folder behind a source, fetched from the hub where it is neither on this disk nor in the package.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = os.fspath(source)
    row = catalog.find_lens(name)
    if row is not None and row.family == "pocket":
        return catalog.folder_of(row.source)
    if row is not None:
        return _checked(_fetch(row.source, row.file), row)
    parts = name.split("/")
    if isinstance(source, os.PathLike) or name.startswith((".", "/", "~")) or len(parts) < 2 or "" in parts:
        raise CheckpointError(_absent(name))
    repository = "/".join(parts[:2])
    if len(parts) > 2:
        return _fetch(repository, "/".join(parts[2:]))
    _fetch(repository, WEIGHTS_FILE)
    return _fetch(repository, CONFIG_FILE).parent


def open_released(path: Path, modality: str | None = None) -> Released:
    """Read a released ``.pt`` and find the lens in it; its tensors stay on the disk until they are used.

    Raises:
        CheckpointError: damaged, with code in it, not a lens, several of them, or one of another modality.
        Unsupported: a lens of the bigG-14 family.
    """
    content = _read_pt(path)
    return recognise(path, read_state(path, content), modality, variant=str(content.get("model_var", "")))


def read_state(path: Path, content: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """The flat tensors of a ``.pt``: what is under ``state_dict``, or the file itself where it has none.

    Raises:
        CheckpointError: damaged, with code in it, or without a tensor.
    """
    content = _read_pt(path) if content is None else content
    state = content.get("state_dict", content)
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)} if isinstance(state, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{path} is not a lens: it holds no tensors by name, at the top or under 'state_dict'.")
    return tensors


def _read_pt(path: Path) -> Mapping[str, Any]:
    try:
        mapped = zipfile.is_zipfile(path)  # the format before torch 1.6 cannot be mapped
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_unreadable(path, error)) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror or error}.") from error
    except (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be read: it is damaged, cut short or no PyTorch file.") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} is not a lens: it holds a {type(content).__name__}, not named tensors.")
    return content


def _unreadable(path: Path, error: Exception) -> str:
    if "GLOBAL" in str(error) or "call reduce" in str(error):
        return (
            f"{path} holds Python objects besides tensors and is not opened, since unpickling them can run code. "
            "Ask its author for a file of tensors alone, or for safetensors."
        )
    return f"{path} cannot be read: it is damaged, cut short or no PyTorch file."


def _fetch(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{repository}/{file} cannot be fetched from the hub ({type(error).__name__}). Check the name and the "
            "network; with HF_HUB_OFFLINE=1 only files already in the cache are found."
        ) from error


def _checked(path: Path, row: catalog.LensRow) -> Path:
    if row.sha256 is not None and (found := file_sha256(path)) != row.sha256:
        raise CheckpointError(f"{path} is not the published {row.id}: its sha256 is {found}, expected {row.sha256}.")
    return path


def _absent(name: str) -> str:
    known = catalog.find_lens(Path(name).stem)
    hint = f" The released one is fetched with load_lens({known.id!r})." if known else ""
    return f"There is no lens {name!r}: no such file or folder, and no such id in the catalogue.{hint}"


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, dtype)
    if dtype is None:
        return torch.float32
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ConfigError(f"dtype must be a floating-point type such as 'float32' or 'bfloat16', not {dtype!r}.")
    return dtype
