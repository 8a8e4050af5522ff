"""What there is: one row per modality, per released or shipped lens, per host. Data and look-ups, no heavy imports.

Rows are completed in two ways: by the entry points ``lens_plugins.modalities`` and ``lens_plugins.hosts``, each of
which names a `ModalityRow` or a `HostKind` object, and by `register` in a running process. Two rows of one name are an
error that names both packages. The entry points ``lens_plugins.folders`` name functions that find, fetch or check the
folder of a model, by the model's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint  # its import takes 30 ms, which a command that names no package saves

__all__ = [
    "DATACOMP",
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
    "hosts",
    "is_hub_id",
    "lenses",
    "modalities",
    "modality_of_suffix",
    "register",
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
    augment: str | None = None  # "module:class", how training varies a batch, as `train.augment.Augment`; None: not
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
    files: tuple[str, ...] = ()  # names, with * for anything, by which a folder without config.json is known
    lenses: bool = False  # whether lenses lie in its folders, which are plugged where it is loaded


_INPUTS, _EMBED, _AUGMENT = "lens_plugins.inputs", "lens_plugins.lens.embeddings", "lens_plugins.train.augment"
_PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")

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
        f"{_AUGMENT}:PointCloudAugment",
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
        f"{_AUGMENT}:DepthAugment",
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
        f"{_AUGMENT}:AudioAugment",
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
        f"{_AUGMENT}:TactileAugment",
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
        f"{_AUGMENT}:EegAugment",
        preview=f"{_INPUTS}.preview:traces",
    ),
)

_VIT_LENS = "TencentARC/ViT-Lens"
_LICENCE = "ViT-Lens licence, see hub"
_CLIP_NOTE = "a whole tower of width 1024, for --host vitlensL; not for InstructBLIP, BLIP-2 or SEED-LLaMA (width 1408)"

LENSES = (
    *(
        LensRow(
            f"pocket-{name}",
            name.replace("-", "_"),
            "pocket",
            f"pocket-{name}",
            "model.safetensors",
            f"Apache-2.0{also}; data: docs/licences.md",
            note=f"for pocket-instructblip: 64 latents of width 256{more}",
        )
        for name, also, more in (
            ("point-cloud", "", ""),
            ("audio", " AND CC-BY-4.0", ""),
            ("depth", "", ""),
            ("tactile", "", "; trained on simulated frames"),
            ("eeg", "", "; trained on simulated trials, in the repository alone"),
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

DATACOMP = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
"""The CLIP that the vitlensL lenses were trained beside: their pictures and texts."""

HOSTS = (
    HostRow(
        "pocket-instructblip",
        "instructblip",
        "pocket-instructblip",
        "Apache-2.0; data: docs/licences.md",
        "SmolLM2-135M-Instruct",
        note="ships with the package: 112 px, 64 patches, width 256",
    ),
    HostRow(
        "pocket-seed-llama",
        "seed_llama",
        "pocket-seed-llama",
        "Apache-2.0; data: docs/licences.md",
        "a LLaMA of its own, 8 M parameters",
        note="in the repository alone: the same ViT, 32 codes of 1024, draws 64 px",
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
    HostRow(
        "vitlensL",
        "clip",
        _VIT_LENS,
        f"{_LICENCE}; CLIP: MIT",
        "none: it embeds",
        note="pictures, texts and every vitlensL lens in one space of width 768; vitlensL.pt holds all of it",
    ),
    HostRow(DATACOMP, "clip", DATACOMP, "MIT", "none: it embeds", note="CLIP ViT-L/14, pictures and texts alone"),
    HostRow(
        "Vision-CAIR/MiniGPT-4",
        "minigpt4",
        "Vision-CAIR/MiniGPT-4",
        "BSD-3-Clause; Vicuna and LLaMA have their own",
        "Vicuna v0 7B, 13B",
        note="holds the projection alone: lens_plugins.hosts.convert.convert_minigpt4 makes a host of it",
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
    HostKind("instructblipvideo", "lens_plugins.hosts.instructblip:InstructBlipVideoHost", ("instructblipvideo",)),
    HostKind("minigpt4", "lens_plugins.hosts.minigpt4:MiniGPT4Host", ()),  # a BLIP-2 to transformers, told by a note
    HostKind("lavis", "lens_plugins.hosts.lavis:LavisHost", ()),  # LAVIS's loaded models are told by their attributes
    HostKind("lavis-qformer", "lens_plugins.hosts.lavis:LavisQFormerHost", ()),
    HostKind(
        "clip",
        "lens_plugins.hosts.clip:ClipHost",
        ("clip",),
        ("open_clip_*", "vitlensL*.pt", "Datacomp_L14_*.pt"),
        lenses=True,
    ),
    HostKind("seed_llama", "lens_plugins.hosts.seed_llama.host:SeedLlamaHost", ("llama",)),
)

Row: TypeAlias = "ModalityRow | HostKind | LensRow | HostRow"
R = TypeVar("R", ModalityRow, HostKind, LensRow, HostRow)

_OURS = "lens-plugins"
_registered: list[tuple[Row, str]] = []  # rows of this process, and who brought each


def register(row: Row, *, package: str | None = None) -> None:
    """Add a row for the rest of this process, as a package adds one by an entry point.

    The same row may be registered again, as when a notebook's cell runs twice.

    Args:
        row: a `ModalityRow`, `HostKind`, `LensRow` or `HostRow`.
        package: who brings it, for messages; by default the package of the reader or host that it names.

    Raises:
        ConfigError: it is no row, or there is another one of that name; names both packages.
    """
    if not isinstance(row, (ModalityRow, HostKind, LensRow, HostRow)):
        raise ConfigError(f"A {type(row).__name__} is no row; give a ModalityRow, a HostKind, a LensRow or a HostRow.")
    owner = package or _package_of(row)
    kind: Any = type(row)
    known, owners = _rows_and_owners(kind)
    # An equal row is no clash: a notebook's cell runs twice.
    if _key(row) in known and known[_key(row)] != row:
        raise _clash(row, owners[_key(row)], owner)
    if _key(row) not in known:
        _registered.append((row, owner))
        _rows_and_owners.cache_clear()


def _collect(type_: type[R]) -> dict[str, R]:
    kind: Any = type_  # mypy takes a frozen dataclass's class for unhashable
    return _rows_and_owners(kind)[0]


@cache
def _rows_and_owners(type_: type[Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """All rows of a kind by name, and who brought each: ours, those of installed packages, those of this process."""
    rows = {_key(row): row for row in _ours()[type_]}
    owners = dict.fromkeys(rows, _OURS)
    here = [(row, owner) for row, owner in _registered if isinstance(row, type_)]
    installed = [found for group, kind in _GROUPS.items() if kind is type_ for found in _from_entry_points(group)]
    for row, owner in [*installed, *here]:
        name = _key(row)
        if name in rows:
            raise _clash(row, owners[name], owner)
        rows[name], owners[name] = row, owner
    return rows, owners


def entry_points(*, group: str) -> Iterable[EntryPoint]:
    """What installed packages name in a group."""
    from importlib.metadata import entry_points as installed

    return installed(group=group)


@cache
def _from_entry_points(group: str) -> list[tuple[Any, str]]:
    """Rows of installed packages, each with the package that brings it."""
    found = []
    for point in entry_points(group=group):
        package = point.dist.name if point.dist else point.value
        try:
            row = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"The entry point {point.name!r} of {package} in {group!r} cannot be loaded: {error}. "
                f"Mend or uninstall {package}."
            ) from error
        if not isinstance(row, _GROUPS[group]):
            raise ConfigError(
                f"The entry point {point.name!r} of {package} in {group!r} must name a {_GROUPS[group].__name__}, "
                f"but {point.value} is a {type(row).__name__}."
            )
        found.append((row, package))
    return found


def _key(row: Row) -> str:
    return row.name if isinstance(row, (ModalityRow, HostKind)) else row.id


def _package_of(row: Row) -> str:
    """The package whose code a row names; rows of weights name none."""
    dotted = row.reader if isinstance(row, ModalityRow) else row.host if isinstance(row, HostKind) else "this process"
    return dotted.partition(":")[0].partition(".")[0]


def _clash(row: Row, first: str, second: str) -> ConfigError:
    return ConfigError(f"Two packages bring {_NOUNS[type(row)]} {_key(row)!r}: {first} and {second}.")


def _ours() -> dict[type[Any], tuple[Any, ...]]:
    return {ModalityRow: _MODALITIES, HostKind: _KINDS, LensRow: LENSES, HostRow: HOSTS}


_GROUPS: dict[str, type[Any]] = {"lens_plugins.modalities": ModalityRow, "lens_plugins.hosts": HostKind}
_NOUNS: dict[type[Any], str] = {ModalityRow: "modalities", HostKind: "hosts", LensRow: "lenses", HostRow: "hosts"}


def modalities() -> dict[str, ModalityRow]:
    """All modalities by name."""
    return _collect(ModalityRow)


def host_kinds() -> dict[str, HostKind]:
    """All kinds of host by name."""
    return _collect(HostKind)


def lenses() -> dict[str, LensRow]:
    """All released and shipped lenses by id."""
    return _collect(LensRow)


def hosts() -> dict[str, HostRow]:
    """All known and shipped hosts by id."""
    return _collect(HostRow)


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
    # Ours come first, so that no package changes what an ending has meant so far.
    return next((row.name for row in modalities().values() if suffix in row.suffixes), None)


def find_lens(id_: str) -> LensRow | None:
    """The row of a released or shipped lens, or None."""
    return lenses().get(id_)


def find_host(id_: str) -> HostRow | None:
    """The row of a known or shipped host, or None."""
    return hosts().get(id_)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form owner/name; what looks like a path is none."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and "\\" not in name


def resolve(dotted: str) -> Any:
    """Import the object behind ``"package.module:name"``.

    Raises:
        ConfigError: there is no such module, or nothing of that name in it.
    """
    module, _, name = dotted.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"A row of the catalogue names {dotted!r}, which cannot be imported: {error}.") from error
