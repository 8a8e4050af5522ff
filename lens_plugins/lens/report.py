"""What a lens file holds, and how its copy of the ViT compares with a host's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..keymap import compare_state
from .config import LensConfig, presets
from .layouts import CLIP, check_modality, infer_with_notes
from .lens import Lens, meta_state, read_lens_folder
from .loading import locate, open_released, vit_copy

__all__ = ["LensReport", "compare_vit", "inspect_lens"]


@dataclass(frozen=True)
class LensReport:
    """A look at one lens."""

    path: Path
    modality: str
    family: str
    config: LensConfig
    shapes: dict[str, tuple[int, ...]]  # of the lens's own tensors, keys as the file has them
    parameters: int
    presets: list[str]  # released lenses of the same dimensions, by catalogue id
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # known and not the lens's
    notes: list[str] = field(default_factory=list)
    vit_differences: list[tuple[str, float]] | None = None  # None: not compared


def inspect_lens(
    source: str | os.PathLike[str],
    host_vit: Mapping[str, Tensor] | None = None,
    modality: str | None = None,
    **overrides: object,
) -> LensReport:
    """Look at a lens without building it.

    Args:
        source: as `lens_plugins.load_lens` takes it.
        host_vit: a host's ViT by LAVIS names, to compare the file's copy with.
        modality: which lens, where a file holds several.
        **overrides: what the shapes cannot tell, by name.

    Raises:
        CheckpointError: damaged, not a lens, or one whose dimensions cannot be read at all. Missing and unexpected
            tensors are listed, not raised.
        ConfigError: an override that nothing reads or that contradicts the weights.
        Unsupported: a lens of the bigG-14 family.
    """
    path = locate(source)
    report = _folder_report(path, overrides) if path.is_dir() else _file_report(path, modality, overrides)
    check_modality(source, report.modality, modality)
    if host_vit is None:
        return report
    return replace(report, vit_differences=compare_vit(path, host_vit, report.modality))


def compare_vit(
    lens: Lens | str | os.PathLike[str], host_vit: Mapping[str, Tensor], modality: str | None = None
) -> list[tuple[str, float]]:
    """Tensors of the ViT in a lens file that differ from a host's by more than a rounding to half precision.

    A lens was trained in front of the ViT in its own file. A folder that `save_pretrained` wrote holds no ViT, nor
    does a lens that was not loaded from a file: nothing differs then. Tensors that only one side has are not compared.

    Args:
        lens: a loaded lens or its file. The file is mapped, not read whole.
        host_vit: the host's ViT by LAVIS names (``blocks.0.attn.qkv.weight``).
        modality: which lens, where a file holds several.

    Returns:
        (name, largest absolute difference) of each, the largest first; infinity where the shapes differ.
    """
    if isinstance(lens, Lens):
        own = vit_copy(lens)
    else:
        path = locate(lens)
        own = {} if path.is_dir() else open_released(path, modality).vit
    # Names that one side lacks are no difference: hosts drop the last block, files drop heads.
    found = ((name, _difference(own[name], host_vit[name])) for name in own.keys() & host_vit.keys())
    return sorted(((name, value) for name, value in found if value > 0), key=lambda pair: (-pair[1], pair[0]))


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference where it exceeds half-precision rounding of either side; 0 where none does."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().float().cpu(), b.detach().float().cpu()
    gap = (a - b).abs()
    allowed = torch.maximum(a.abs(), b.abs()).mul_(2**-10).add_(2**-24)  # one unit in float16's last place
    return float(gap.max()) if bool((gap > allowed).any()) else 0.0


def _file_report(path: Path, modality: str | None, overrides: Mapping[str, object]) -> LensReport:
    released = open_released(path, modality)
    config, notes = infer_with_notes(released, overrides, guess_heads=True)
    match = released.table.match(released.tensors, meta_state(config, released.tensors, str(path)))
    if config.family == CLIP and config.tower is None:
        notes.append("The file holds no tower for this lens.")
    return LensReport(
        path,
        config.modality,
        config.family,
        config,
        {key: tuple(tensor.shape) for key, tensor in sorted(released.tensors.items())},
        sum(tensor.numel() for tensor in match.tensors.values()),
        _matching_presets(config),
        match.missing,
        match.unexpected,
        match.misshapen,
        sorted({*released.ignored, *match.ignored}),
        notes,
    )


def _folder_report(path: Path, overrides: Mapping[str, object]) -> LensReport:
    config, tensors = read_lens_folder(path)
    config = config.override(overrides)
    match = compare_state(tensors, meta_state(config, tensors, str(path)))
    return LensReport(
        path,
        config.modality,
        config.family,
        config,
        {key: tuple(tensor.shape) for key, tensor in sorted(tensors.items())},
        sum(tensor.numel() for tensor in tensors.values()),
        _matching_presets(config),
        match.missing,
        match.unexpected,
        match.misshapen,
    )


def _matching_presets(config: LensConfig) -> list[str]:
    return [id_ for id_, halves in presets().items() if halves == (config.embedding, config.resampler)]
