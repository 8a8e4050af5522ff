"""What a host is made from: which folder or repository a name means, its notes, and which kind of host it holds.

An existing folder wins, then the name of a shipped host, then the hub. What looks like a path never goes to the hub.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from typing_extensions import Self

from .._config import FrozenConfig
from ..catalog import HostKind, HostRow, find_host, folder_of, folders, host_kinds, hosts, is_hub_id, resolve
from ..errors import CheckpointError, ConfigError
from ..files.hub import fetch_optional
from ..files.jsons import read_json_object
from ..files.opening import local_path, reason_of

if TYPE_CHECKING:
    from .base import Host

__all__ = [
    "HostNotes",
    "HubId",
    "brings_lenses",
    "find_source",
    "from_pretrained_options",
    "refuse_kernels",
    "kind_of",
    "kind_of_model",
    "name_of",
    "read_host_json",
    "unreachable",
]

NOTES_FILE = "lens_plugins.json"


class HubId(str):
    """A repository of the hub, and which revision of it is meant.

    Args:
        name: "owner/name".
        revision: branch, tag or commit; None: the default branch.
        row: of the catalogue, where its files do not tell by themselves what the repository holds.
    """

    revision: str | None
    row: HostRow | None

    def __new__(cls, name: str, revision: str | None = None, row: HostRow | None = None) -> Self:
        hub_id = super().__new__(cls, name)
        hub_id.revision, hub_id.row = revision, row
        return hub_id


@dataclass(frozen=True)
class HostNotes(FrozenConfig):
    """`lens_plugins.json` beside a host's config.json: what transformers' own files have no place for."""

    format: int = 1
    name: str | None = None  # what the host calls itself; None: as its folder or repository
    kind: str | None = None  # name of a HostKind, where config.json does not tell
    language_model_source: str | None = None  # a language model kept elsewhere, by its name in the catalogue
    default_prompt: str | None = None
    text_tower: str | None = None  # what the folder's text_head leads to, by its name in the catalogue
    digest: str | None = None  # of all weights in the folder, as `splice.digest` gives it
    lens_settings: Mapping[str, Any] = field(default_factory=dict)
    """What the weights of released lenses in the folder cannot tell, by modality: ``{"audio": {"heads": 4}}``."""

    def __post_init__(self) -> None:
        self._require(self.format <= 1, f"format is {self.format}, this version reads 1; upgrade lens-plugins.")
        for name in ("language_model_source", "text_tower"):
            value = getattr(self, name)
            self._require(value in (None, *folders()), f"{name} is {value!r}; known: {', '.join(folders())}.")
        given = self.lens_settings
        named = isinstance(given, Mapping) and all(isinstance(values, Mapping) for values in given.values())
        self._require(named, f"lens_settings is {given!r}; it must hold named values for each modality.")

    @classmethod
    def of(cls, source: str | Path) -> Self:
        """The notes in a folder; the defaults where it has none, as hosts of the hub.

        Raises:
            CheckpointError: the file is damaged.
            ConfigError: an unknown field or a wrong value.
        """
        raw = read_host_json(source, NOTES_FILE) if isinstance(source, Path) else None
        return cls.from_dict(raw or {})

    def language_model_folder(self) -> Path | None:
        """Where the language model lies, fetched on first use; None where the host's folder holds it."""
        return folder_of(self.language_model_source) if self.language_model_source else None


def find_source(source: str | os.PathLike[str], revision: str | None = None) -> Path | HubId:
    """The folder meant, or the repository of the hub.

    Raises:
        CheckpointError: it looks like a path, and no folder is there.
        ConfigError: a revision of what is no repository.
    """
    path = local_path(source)
    if not path.is_dir():
        row = find_host(str(source))
        path = folder_of(row.source) if row is not None and row.source in folders() else path
    if path.is_dir():
        if revision is not None:
            raise ConfigError(f"{source} is a folder, which has no revision {revision!r}; leave out revision=.")
        return path
    text = str(source)
    if not (path.exists() or isinstance(source, os.PathLike)) and (known := _known_by_row(text)) is not None:
        return HubId(known.source, revision, known)
    if path.exists() or isinstance(source, os.PathLike) or not is_hub_id(text):
        what = "is a file, not a folder" if path.exists() else "is no folder, no shipped host and no hub id"
        raise CheckpointError(
            f"The host {text} {what}. A hub id has the form owner/name; shipped: pocket-instructblip."
        )
    return HubId(text, revision)


def _known_by_row(text: str) -> HostRow | None:
    """The row of a host whose name or repository this is, where the repository's own files do not tell its kind."""
    named = (row for row in hosts().values() if row.id != row.source and row.source not in folders())
    return next((row for row in named if text in (row.id, row.source)), None)


def brings_lenses(source: str | os.PathLike[str]) -> bool:
    """Whether lenses come with a host, as far as the catalogue or a folder tells; the hub is not asked.

    Raises:
        CheckpointError: the configuration of a folder cannot be read.
        ConfigError: a folder says a kind that no host drives.
    """
    path = local_path(source)
    if path.is_dir():
        return kind_of(path).lenses
    row = _known_by_row(str(source))
    return row is not None and host_kinds()[row.kind].lenses


def name_of(source: str | Path) -> str:
    """What a host calls itself: as its notes or the catalogue say, or the name of its folder or repository."""
    if (row := getattr(source, "row", None)) is not None:
        return str(row.id)
    return HostNotes.of(source).name or Path(source).name


def kind_of(source: str | Path) -> HostKind:
    """Which kind of host a folder or repository holds.

    Raises:
        CheckpointError: its configuration cannot be read.
        ConfigError: it says a kind that no host drives.
    """
    kinds = host_kinds()
    row = getattr(source, "row", None)
    named = HostNotes.of(source).kind if row is None else row.kind
    if named is not None:
        if named not in kinds:
            raise ConfigError(f"{source} is a host of kind {named!r}; known kinds: {', '.join(kinds)}.")
        return kinds[named]
    config = read_host_json(source, "config.json")
    if config is None:
        told = [kind for kind in kinds.values() if any(any(Path(source).glob(name)) for name in kind.files)]
        if isinstance(source, Path) and told:
            return told[0]
        raise CheckpointError(
            f"{source} has no config.json, so it is no transformers host. Files of LAVIS are converted with "
            "lens_plugins.hosts.convert.from_lavis, those of MiniGPT-4 with from_minigpt4."
        )
    model_type = config.get("model_type")
    for kind in kinds.values():
        if model_type in kind.model_types:
            return kind
    known = ", ".join(name for kind in kinds.values() for name in kind.model_types)
    raise ConfigError(f"{source} has the model_type {model_type!r}, which no kind of host drives; known: {known}.")


def kind_of_model(model: nn.Module) -> type[Host]:
    """The class that drives a loaded model.

    Raises:
        ConfigError: none does.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    # kinds told by attributes come first: such a model may have the model_type of another kind
    for kind in sorted(host_kinds().values(), key=lambda kind: bool(kind.model_types)):
        host: type[Host] = resolve(kind.host)
        if model_type in kind.model_types or host.accepts(model):
            return host
    raise ConfigError(
        f"A {type(model).__name__} (model_type {model_type!r}) is no host; known kinds: {', '.join(host_kinds())}."
    )


def read_host_json(source: str | Path, name: str) -> dict[str, Any] | None:
    """A JSON file of a host, from its folder or the hub; None where the host has no such file.

    Raises:
        CheckpointError: the hub cannot be reached, or the file is damaged.
    """
    path = _file(source, name)
    return None if path is None else read_json_object(path)


def _file(source: str | Path, name: str) -> Path | None:
    if isinstance(source, Path):
        return source / name if (source / name).exists() else None
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return fetch_optional(source, name, revision=getattr(source, "revision", None))
    except CheckpointError as error:
        # offline, the cache cannot tell a file that was never fetched from one that there is not
        if isinstance(error.__cause__, LocalEntryNotFoundError) and name != "config.json":
            return None
        raise unreachable(source, error) from error


def from_pretrained_options(source: str | Path) -> dict[str, Any]:
    """What every `from_pretrained` of transformers is told besides the source: no code of its own, which revision."""
    revision = getattr(source, "revision", None)
    return {"trust_remote_code": False, **({"revision": revision} if revision else {})}


def unreachable(source: str | Path, error: BaseException) -> CheckpointError:
    """The refusal of a host whose files cannot be fetched or read."""
    return CheckpointError(
        f"The host {source} cannot be loaded: {reason_of(error).rstrip('.')}. Check the name and the network, or give "
        "a folder; pocket-instructblip needs neither."
    )


def refuse_kernels(source: str | Path) -> None:
    """Refuse a host whose config.json names kernels of a hub repository for its attention: they are code.

    Raises:
        CheckpointError: names the repository.
    """
    waiting: list[Any] = [read_host_json(source, "config.json") or {}]
    while waiting:
        for name, value in waiting.pop().items():
            if isinstance(value, Mapping):
                waiting.append(value)
            elif name.endswith("_implementation") and isinstance(value, str) and "/" in value:
                raise CheckpointError(
                    f"{source} asks in its config.json for {name} {value!r}, which is code of a hub repository and is "
                    "not run; take that line out."
                )
