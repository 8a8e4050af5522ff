"""A look at a host before loading it, and a check that it and its lenses go together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..catalog import resolve
from ..errors import DoesNotFit, Unsupported
from ..files.tensors import dtype_of
from ..splice import digest
from .base import Host, LoadOptions
from .loading import FULL_PRECISION, load_host
from .outline import OutlinedHost, Weights
from .source import find_source, kind_of, read_host_json

if TYPE_CHECKING:
    from ..lens.lens import Lens

__all__ = ["FileInfo", "HostReport", "LensVerdict", "PartInfo", "VerifyReport", "inspect_host", "verify_host"]

_BITS = {"4bit": 4.5, "8bit": 8.0}  # nf4 keeps one float32 for each 64 weights
_LAVIS_NAMES = ("blip2_vicuna_instruct", "blip2_t5_instruct", "blip2_opt", "blip2_t5")


@dataclass(frozen=True)
class PartInfo:
    """One part of a host: how many parameters, and the bytes they take when loaded as asked."""

    name: str
    parameters: int
    bytes: int


@dataclass(frozen=True)
class FileInfo:
    """A file of weights: here already, or to be fetched. `bytes` is None where nobody could be asked."""

    name: str
    bytes: int | None
    here: bool


@dataclass(frozen=True)
class HostReport:
    """What loading a host would take."""

    source: str
    kind: str
    model_type: str
    dtype: str
    quantization: str | None
    parts: list[PartInfo]
    files: list[FileInfo]
    warnings: list[str]

    @property
    def bytes(self) -> int:
        """Memory of all weights; activations and caches come on top."""
        return sum(part.bytes for part in self.parts)

    @property
    def to_fetch(self) -> int | None:
        """Bytes that would come over the network; None where it is not known."""
        sizes = [file.bytes for file in self.files if not file.here]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


@dataclass(frozen=True)
class LensVerdict:
    """Whether a lens fits, and the refusal where it does not."""

    modality: str
    fits: bool
    reason: str | None


@dataclass(frozen=True)
class VerifyReport:
    """What came of trying a host with its lenses."""

    name: str
    lenses: list[LensVerdict]
    digest: str
    stable: bool  # the digest is the same after plugging, encoding and unplugging
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether every lens fits and nothing moved."""
        return self.stable and all(lens.fits for lens in self.lenses)


def inspect_host(
    source: str | os.PathLike[str], *, dtype: str | torch.dtype | None = None, quantization: str | None = None
) -> HostReport:
    """What a host is made of and what it needs, from its configuration alone: no weights are read or fetched.

    Args:
        source: as for `load_host`.
        dtype: precision to reckon with; float32 by default.
        quantization: "4bit" or "8bit" of the language model.

    Raises:
        CheckpointError: nothing there, or no configuration.
        ConfigError: an unknown dtype or kind of host.
        Unsupported: a kind of host whose configuration does not tell its parts.
    """
    options = LoadOptions(dtype_of(dtype), quantization=quantization)
    _refuse_lavis(str(source))
    found = find_source(source)
    kind = kind_of(found)
    host = resolve(kind.host)
    if not issubclass(host, OutlinedHost):
        raise Unsupported(
            f"{source} cannot be inspected before it is loaded: a host of kind {kind.name!r} tells no parts."
        )
    outline = host.outline(found)
    whole = replace(options, dtype=torch.float32, quantization=None)
    parts = [
        _part(name, module, whole if name in outline.full_precision else options)
        for name, module in outline.parts.items()
    ]
    return HostReport(
        source=str(source),
        kind=kind.name,
        model_type=outline.config.model_type,
        dtype=str(options.dtype).removeprefix("torch."),
        quantization=quantization,
        parts=parts,
        files=[file for weights in outline.weights for file in _files(weights)],
        warnings=[*outline.warnings, *_warnings(str(source), outline.config, options)],
    )


def verify_host(source: str | os.PathLike[str] | Host, lenses: Sequence[Lens] = ()) -> VerifyReport:
    """Load a host, try each lens on it and compare the digest of all weights before and after.

    A lens that does not fit is part of the report, not an error. The host is left with the lenses it had.

    Raises:
        LensPluginsError: the host cannot be loaded.
    """
    host = source if isinstance(source, Host) else load_host(source)
    before = digest(host.model)
    # a host that comes with lenses is tried with them
    verdicts = [_try(host, lens) for lens in [*host.lenses.values(), *lenses]]
    config = getattr(host.model, "config", None)
    return VerifyReport(
        name=host.name,
        lenses=verdicts,
        digest=before,
        stable=digest(host.model) == before,
        warnings=_warnings(host.name, config, LoadOptions()),
    )


def _try(host: Host, lens: Lens) -> LensVerdict:
    try:
        host.check_lens(lens)
        with torch.no_grad():
            latents = torch.zeros(1, lens.num_tokens, lens.width, dtype=lens.dtype, device=lens.device)
            features = host.read_latents(lens, latents)
    except DoesNotFit as error:
        return LensVerdict(lens.modality, False, str(error))
    if not torch.isfinite(features).all():
        return LensVerdict(lens.modality, False, f"{host.vit.name} makes features that are not finite.")
    return LensVerdict(lens.modality, True, None)


def _refuse_lavis(source: str) -> None:
    if Path(source).name in _LAVIS_NAMES or source.endswith((".pth", ".pt")):
        raise Unsupported(
            f"{source} is a model of LAVIS, not of transformers: convert its files with "
            "lens_plugins.hosts.convert.from_lavis, or let LAVIS load it and give load_host the model."
        )


def _part(name: str, module: nn.Module, options: LoadOptions) -> PartInfo:
    counts = {full: weight.numel() for full, weight in module.named_parameters()}
    linear = {
        f"{full}.weight"
        for full, one in module.named_modules()
        if isinstance(one, nn.Linear) and full.split(".")[-1] not in FULL_PRECISION
    }
    small = linear if options.quantization and name == "language_model" else set()
    bits = _BITS.get(options.quantization or "", 0.0)
    whole = options.dtype.itemsize * 8
    total = sum(count * (bits if full in small else whole) for full, count in counts.items())
    return PartInfo(name, sum(counts.values()), round(total / 8))


def _files(weights: Weights) -> list[FileInfo]:
    source, before = weights.source, f"{weights.label}/" if weights.label else ""
    if isinstance(source, Path):
        found = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
        if weights.names is not None and source.is_dir():
            found = [source / name for name in weights.names if (source / name).is_file()]
        inside = source.parent if source.is_file() else source
        return [FileInfo(before + file.relative_to(inside).as_posix(), file.stat().st_size, True) for file in found]
    names = weights.names
    if names is None:
        index = read_host_json(source, "model.safetensors.index.json")
        names = tuple(sorted(set(index["weight_map"].values()))) if index else ("model.safetensors",)
    sizes = _hub_sizes(source)
    return [FileInfo(before + name, sizes.get(name), _cached(source, name)) for name in names]


def _hub_sizes(source: str) -> dict[str, int | None]:
    """What the hub says of a repository's files; nothing where it cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return {file.rfilename: file.size for file in HfApi().model_info(source, files_metadata=True).siblings or ()}
    except (OSError, ValueError):
        return {}


def _cached(source: str, name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source, name), str)


def _warnings(source: str, config: Any, options: LoadOptions) -> list[str]:
    """Known traps that this host and these options lead into."""
    found = []
    text = getattr(config, "text_config", None)
    origin = f"{source} {getattr(text, '_name_or_path', '')}".lower()
    if "vicuna" in origin and any(mark in origin for mark in ("-v0", "delta-v0", "_v0")):
        found.append("Vicuna v0: it loads and writes gibberish, since InstructBLIP was trained on Vicuna v1.1.")
    if options.dtype != torch.float32 and not torch.cuda.is_available():
        name = str(options.dtype).removeprefix("torch.")
        found.append(f"{name} on a CPU multiplies many times slower than float32: it saves memory only.")
    if options.quantization and not torch.cuda.is_available():
        found.append(f"{options.quantization} on a CPU saves memory only: one token takes about 15 times as long.")
    return found
