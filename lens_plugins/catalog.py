"""What there is: one row per modality, per released or shipped lens, per host. Data and look-ups, no heavy imports.

Rows are completed by the entry points ``lens_plugins.modalities`` and ``lens_plugins.hosts``: each names a
`ModalityRow` or a `HostKind` object. Two rows of one name are an error that names both packages. The entry points
``lens_plugins.folders`` name functions that find, fetch or check the folder of a model, by the model's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from .errors import ConfigError

__all__ = [
    "HOSTS",
    "HostKind",
    "HostRow",
    "LENSES",
    "LensRow",
    "ModalityRow",
    "find_host",
    "find_lens",
    "find_modality",
    "folder_of",
    "folders",
    "host_kinds",
    "is_hub_id",
    "modalities",
    "modality_of_suffix",
    "resolve",
]


@dataclass(frozen=True)
class ModalityRow:
    """One modality: which files are its own, who reads them, which embedding turns its tensors into tokens."""

    name: str
    noun: str  # as a sentence names one of it
    suffixes: tuple[str, ...]  # file endings that mean this modality when no prefix says otherwise
    also: tuple[str, ...]  # endings it reads under an explicit `name:` prefix
    reader: str  # "module:function" (path | array, settings) -> ModalityInput
    settings: str  # "module:class", the frozen dataclass of its preprocessing
    embedding: str | None  # "module:class" of its tokenizer; None: the host's own patch embedding reads it
    ndim: int  # of one input's tensor, without batch and clips: 3 for (C, H, W), 2 for (P, 3)
    preview: str | None = None  # "module:function" (tensor) -> PIL picture; None: by the number of dimensions


@dataclass(frozen=True)
class LensRow:
    """One released or shipped lens."""

    id: str
    modality: str
    family: str  # "eva_g14", "clip_l14", "clip_bigg14" or "pocket"
    source: str  # hub repository, or the name of one of `folders`
    file: str  # file inside it
    licence: str
    sha256: str | None = None  # None: not published, so not checked
    size: int | None = None  # bytes
    note: str = ""


@dataclass(frozen=True)
class HostRow:
    """One known host: a hub repository, or a folder that ships with the package."""

    id: str
    kind: str  # name of a HostKind
    source: str  # hub repository, or the name of one of `folders`
    licence: str
    language_model: str
    note: str = ""


@dataclass(frozen=True)
class HostKind:
    """One family of hosts and the class that drives it."""

    name: str
    host: str  # "module:class", a subclass of lens_plugins.hosts.base.Host
    model_types: tuple[str, ...]  # `model_type` in config.json that this kind loads


_INPUTS, _EMBED = "lens_plugins.inputs", "lens_plugins.lens.embeddings"
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

_MODALITIES = (
    ModalityRow(
        "image",
        "a picture",
        _PICTURES,
        (".npy", ".pt"),
        f"{_INPUTS}.image:read",
        f"{_INPUTS}.image:ImageSettings",
        None,
        3,
    ),
    ModalityRow(
        "point_cloud",
        "a point cloud",
        (".ply", ".obj", ".glb", ".gltf", ".stl", ".off", ".xyz", ".pcd", ".npy", ".npz"),
        (".pt",),
        f"{_INPUTS}.point_cloud:read",
        f"{_INPUTS}.point_cloud:PointCloudSettings",
        f"{_EMBED}.point_cloud:PointEmbedding",
        2,
        preview=f"{_INPUTS}.preview:cloud",
    ),
    ModalityRow(
        "depth",
        "a depth map",
        (".exr",),
        (".png", ".tif", ".tiff", ".npy", ".npz", ".pt"),
        f"{_INPUTS}.depth:read",
        f"{_INPUTS}.depth:DepthSettings",
        f"{_EMBED}.depth:DepthEmbedding",
        3,
    ),
    ModalityRow(
        "audio",
        "an audio clip",
        (".wav", ".flac", ".ogg", ".mp3", ".opus"),
        (".npy", ".pt"),
        f"{_INPUTS}.audio:read",
        f"{_INPUTS}.audio:AudioSettings",
        f"{_EMBED}.spectrogram:SpectrogramEmbedding",
        2,
    ),
    ModalityRow(
        "tactile",
        "a tactile image",
        (),
        (*_PICTURES, ".npy", ".pt"),
        f"{_INPUTS}.tactile:read",
        f"{_INPUTS}.tactile:TactileSettings",
        f"{_EMBED}.patch:PatchEmbedding",
        3,
    ),
    ModalityRow(
        "eeg",
        "an EEG recording",
        (".edf", ".bdf", ".fif", ".set"),
        (".npy", ".npz", ".pt"),
        f"{_INPUTS}.eeg:read",
        f"{_INPUTS}.eeg:EegSettings",
        f"{_EMBED}.eeg:EegEmbedding",
        2,
        preview=f"{_INPUTS}.preview:traces",
    ),
)

_VIT_LENS = "TencentARC/ViT-Lens"
_LICENCE = "ViT-Lens licence, see hub"
_CLIP_NOTE = "fits CLIP ViT-L/14 (width 1024), not InstructBLIP, BLIP-2 or SEED-LLaMA (width 1408)"

LENSES = (
    *(
        LensRow(
            f"pocket-{name}",
            name.replace("-", "_"),
            "pocket",
            f"pocket-{name}",
            "model.safetensors",
            "Apache-2.0; data: pocket/weights/ATTRIBUTION.md",
            note=f"for pocket-instructblip: 64 latents of width 256{more}",
        )
        for name, more in (
            ("point-cloud", ""),
            ("audio", ""),
            ("depth", ""),
            ("tactile", "; trained on simulated frames"),
            ("eeg", "; trained on simulated trials"),
        )
    ),
    LensRow("eva_g14_objaverse", "point_cloud", "eva_g14", _VIT_LENS, "eva_g14_objaverse.pt", _LICENCE),
    LensRow(
        "eva_g14-audio-asvgg-dur2",
        "audio",
        "eva_g14",
        _VIT_LENS,
        "eva_g14-audio-asvgg-dur2.pt",
        _LICENCE,
        note="named once upstream, not verified to be public",
    ),
    *(
        LensRow(id_, modality, "clip_l14", _VIT_LENS, f"{id_}.pt", _LICENCE, note=_CLIP_NOTE)
        for id_, modality in (
            ("vitlensL_audio", "audio"),
            ("vitlensL_depth", "depth"),
            ("vitlensL_tactile", "tactile"),
            ("vitlensL_eeg", "eeg"),
            ("Datacomp_L14_objaverse", "point_cloud"),
            ("Datacomp_L14_ShapeNet", "point_cloud"),
        )
    ),
)

HOSTS = (
    HostRow(
        "pocket-instructblip",
        "instructblip",
        "pocket-instructblip",
        "Apache-2.0; data: pocket/weights/ATTRIBUTION.md",
        "SmolLM2-135M-Instruct",
        note="ships with the package: 112 px, 64 patches, width 256",
    ),
    HostRow(
        "pocket-seed-llama",
        "seed_llama",
        "pocket-seed-llama",
        "Apache-2.0; data: pocket/weights/seed-llama/LICENCES.md",
        "a LLaMA of its own, 8 M parameters",
        note="ships with the package: the same ViT, 32 codes of 1024, draws 64 px",
    ),
    *(
        HostRow(f"Salesforce/instructblip-{llm}", "instructblip", f"Salesforce/instructblip-{llm}", licence, name)
        for llm, name, licence in (
            ("vicuna-7b", "Vicuna-7B v1.1", "other (LLaMA)"),
            ("vicuna-13b", "Vicuna-13B v1.1", "other (LLaMA)"),
            ("flan-t5-xl", "FLAN-T5-XL", "MIT"),
            ("flan-t5-xxl", "FLAN-T5-XXL", "MIT"),
        )
    ),
    *(
        HostRow(f"Salesforce/blip2-{llm}", "blip2", f"Salesforce/blip2-{llm}", "MIT", name)
        for llm, name in (
            ("opt-2.7b", "OPT-2.7B"),
            ("opt-6.7b", "OPT-6.7B"),
            ("flan-t5-xl", "FLAN-T5-XL"),
            ("flan-t5-xxl", "FLAN-T5-XXL"),
        )
    ),
    *(
        HostRow(
            f"AILab-CVC/seed-llama-{size}-{stage}", "seed_llama", f"AILab-CVC/seed-llama-{size}-{stage}", licence, llm
        )
        for size, llm, licence in (
            ("8b", "Vicuna-7B", "other (LLaMA)"),
            ("14b", "LLaMA2-chat-13B", "LLaMA 2 community licence"),
        )
        for stage in ("sft", "pretrain")
    ),
)

_KINDS = (
    HostKind("instructblip", "lens_plugins.hosts.instructblip:InstructBlipHost", ("instructblip",)),
    HostKind("blip2", "lens_plugins.hosts.instructblip:Blip2Host", ("blip-2",)),
    HostKind("lavis", "lens_plugins.hosts.lavis:LavisHost", ()),  # LAVIS's loaded models are told by their attributes
    HostKind("lavis-qformer", "lens_plugins.hosts.lavis:LavisQFormerHost", ()),
    HostKind("seed_llama", "lens_plugins.hosts.seed_llama.host:SeedLlamaHost", ("llama",)),
)

Row = TypeVar("Row", ModalityRow, HostKind)


def _with_entry_points(own: Iterable[Row], group: str, type_: type[Row]) -> dict[str, Row]:
    rows: dict[str, Row] = {row.name: row for row in own}
    owner = dict.fromkeys(rows, "lens-plugins")
    point: EntryPoint
    for point in entry_points(group=group):
        package = point.dist.name if point.dist else point.value
        row = point.load()
        if not isinstance(row, type_):
            raise ConfigError(
                f"The entry point {point.name!r} of {package} in {group!r} must name a {type_.__name__}, "
                f"but {point.value} is a {type(row).__name__}."
            )
        if row.name in rows:
            raise ConfigError(
                f"Two packages bring {group.rpartition('.')[2]} {row.name!r}: {owner[row.name]} and {package}."
            )
        rows[row.name], owner[row.name] = row, package
    return rows


@cache
def modalities() -> dict[str, ModalityRow]:
    """All modalities by name: ours and those of installed packages."""
    return _with_entry_points(_MODALITIES, "lens_plugins.modalities", ModalityRow)


@cache
def host_kinds() -> dict[str, HostKind]:
    """All kinds of host by name: ours and those of installed packages."""
    return _with_entry_points(_KINDS, "lens_plugins.hosts", HostKind)


@cache
def folders() -> dict[str, EntryPoint]:
    """Models whose folder a function of ours or of another package gives, by name; nothing is imported.

    Raises:
        ConfigError: two packages bring one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group="lens_plugins.folders"), key=lambda point: point.name):
        if point.name in found:
            owners = (each.dist.name if each.dist else each.value for each in (found[point.name], point))
            raise ConfigError(f"Two packages bring a folder {point.name!r}: {' and '.join(owners)}.")
        found[point.name] = point
    return found


def folder_of(name: str) -> Path:
    """The folder of a model: fetched on first use, or found and checked.

    Raises:
        ConfigError: there is none of that name.
        LensPluginsError: it is absent and cannot be fetched, or damaged.
    """
    if name not in folders():
        raise ConfigError(f"There is no model folder {name!r}; known: {', '.join(folders())}.")
    return Path(folders()[name].load()())


def find_modality(name: str) -> ModalityRow:
    """The row of a modality.

    Raises:
        ConfigError: there is none of that name.
    """
    rows = modalities()
    if name not in rows:
        near = get_close_matches(name, rows, n=1)
        raise ConfigError(
            f"There is no modality {name!r}; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + f"Known: {', '.join(rows)}."
        )
    return rows[name]


def modality_of_suffix(suffix: str) -> str | None:
    """The modality that a file ending (with its dot) stands for when nothing else says so."""
    suffix = suffix.lower()
    return next((row.name for row in modalities().values() if suffix in row.suffixes), None)


def find_lens(id_: str) -> LensRow | None:
    """The row of a released or shipped lens, or None."""
    return next((row for row in LENSES if row.id == id_), None)


def find_host(id_: str) -> HostRow | None:
    """The row of a known or shipped host, or None."""
    return next((row for row in HOSTS if row.id == id_), None)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form owner/name; what looks like a path is none."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and "\\" not in name


def resolve(dotted: str) -> Any:
    """Import the object behind ``"package.module:name"``."""
    module, _, name = dotted.partition(":")
    return getattr(import_module(module), name)
