"""Options that several commands share, as groups: a command takes a group as one argument."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_type_hints

import typer

from ..catalog import find_modality, resolve
from ..errors import ConfigError

__all__ = [
    "BatchSize",
    "Fuse",
    "GenerationOptions",
    "HostOptions",
    "InputOptions",
    "Json",
    "Overrides",
    "Place",
    "Prompt",
    "ServedHostOptions",
    "ServedTextHostOptions",
    "TextHostOptions",
    "pairs",
    "spelled_out",
    "values_of",
]

Place: TypeAlias = Literal["vit", "qformer", "llm"]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Prompt: TypeAlias = Annotated[str | None, typer.Option(help="What to ask; the host's own default where not given.")]
Fuse: TypeAlias = Annotated[
    Place | None,
    typer.Option(help="Where inputs meet: before the ViT, the Q-Former or the language model; else as the host does."),
]
BatchSize: TypeAlias = Annotated[int, typer.Option(min=1, help="How many files go through the host together.")]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="What weights cannot tell, as latent_dim_head=16; repeatable."),
]


@dataclass(frozen=True)
class HostOptions:
    """Which host answers, through which lenses, and how it is loaded."""

    host: Annotated[str, typer.Option(metavar="ID", help="A shipped host, a hub id or a folder.")] = (
        "pocket-instructblip"
    )
    lens: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=PATH",
            help="A lens file, folder, catalogue or hub id; repeatable. Shipped hosts find their shipped lenses.",
        ),
    ] = None
    four_bit: Annotated[bool, typer.Option("--4bit", help="Language model in 4 bit (saves memory only, on a CPU).")] = (
        False
    )
    eight_bit: Annotated[bool, typer.Option("--8bit", help="Language model in 8 bit.")] = False
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Of the weights; float32 where not given. Half precision is slow on a CPU."),
    ] = None
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 or auto; cpu where not given.")
    ] = None

    @property
    def quantization(self) -> str | None:
        """As `load_host` takes it.

        Raises:
            ConfigError: both are asked for.
        """
        if self.four_bit and self.eight_bit:
            raise ConfigError("--4bit and --8bit exclude each other; give one of them.")
        return "4bit" if self.four_bit else "8bit" if self.eight_bit else None

    def loading(self) -> dict[str, Any]:
        """What `load_host` is told besides the host's name."""
        return {"dtype": self.dtype, "device_map": self.device, "quantization": self.quantization}


@dataclass(frozen=True)
class TextHostOptions(HostOptions):
    """`HostOptions` with a text tower for hosts that have none of their own."""

    text_tower: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="A sentence encoder, or its hub id; a shipped host has its own."),
    ] = None
    text_head: Annotated[
        str | None, typer.Option(metavar="FILE", help="What leads to it from the host's ViT, as training wrote it.")
    ] = None

    def loading(self) -> dict[str, Any]:
        """See `HostOptions.loading`."""
        return {**super().loading(), "text_tower": self.text_tower, "text_head": self.text_head}


_Server: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="LENS_PLUGINS_SERVER",
        help="Ask a running server, whose hosts and lenses answer; nothing is loaded here.",
    ),
]  # fmt: skip
_ServedHost: TypeAlias = Annotated[
    str,
    typer.Option(metavar="ID", help="A shipped host, a hub id or a folder; of a server, one of its models.",
                 show_default="pocket-instructblip, or the server's first"),
]  # fmt: skip


@dataclass(frozen=True)
class ServedHostOptions(HostOptions):
    """`HostOptions`, or a server that answers in place of a host here."""

    host: _ServedHost = ""
    server: _Server = None
    default_host: ClassVar[str] = HostOptions.host

    def here(self) -> HostOptions:
        """The options of a host here, its name filled in."""
        kind = TextHostOptions if isinstance(self, TextHostOptions) else HostOptions
        given = {field.name: getattr(self, field.name) for field in fields(kind)}
        return kind(**{**given, "host": self.host or self.default_host})

    def loaded_here(self) -> dict[str, Any]:
        """The options that mean nothing to a server, by their names."""
        named = {"four_bit": "--4bit", "eight_bit": "--8bit"}
        return {
            named.get(field.name, f"--{field.name.replace('_', '-')}"): getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("host", "server")
        }


@dataclass(frozen=True)
class ServedTextHostOptions(ServedHostOptions, TextHostOptions):
    """`TextHostOptions`, or a server."""


@dataclass(frozen=True)
class InputOptions:
    """What files do not say of themselves."""

    clips: Annotated[
        int | None, typer.Option(min=1, help="Clips to take of a recording; as the lens was trained where not given.")
    ] = None
    up: Annotated[
        Literal["y", "z"] | None, typer.Option(help="Which axis of clouds and meshes points up; y where not given.")
    ] = None
    chosen: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="MODALITY.FIELD=VALUE",
            help="How a modality is read, as depth.kind=depth_mm; repeatable. A wrong name lists the right ones.",
        ),
    ] = None
    show: Annotated[
        str | None, typer.Option(metavar="PICTURE", help="Draw what the model saw of each file, as a .png file.")
    ] = None

    def settings(self, modality: str) -> dict[str, Any]:
        """What was given for a modality, by the fields of its settings.

        Raises:
            ConfigError: a setting in ``--set`` that its modality does not have, or one that is given twice.
        """
        named = self.by_modality()
        # Reading the fields imports torch, which a command without such options need not wait for.
        known = _settings_fields(modality) if named or self.clips or self.up else []
        short = {name: value for name in ("clips", "up") if (value := getattr(self, name)) is not None}
        own = named.get(modality, {})
        for name in short.keys() & own.keys():
            raise ConfigError(f"--{name} {short[name]} and --set {modality}.{name}={own[name]} exclude each other.")
        return {**{name: value for name, value in short.items() if name in known}, **own}

    def sent(self) -> dict[str, dict[str, Any]]:
        """What was given, by modality and field, for a server to check; clips are told apart.

        Raises:
            ConfigError: a setting without a modality, or a picture of what is read elsewhere.
        """
        if self.show is not None:
            raise ConfigError("--show draws what is read here; a server reads by itself. Leave out one of both.")
        found: dict[str, dict[str, Any]] = {} if self.up is None else {"point_cloud": {"up": self.up}}
        for name, value in values_of(self.chosen, "--set").items():
            modality, dot, field = name.partition(".")
            if not dot:
                raise ConfigError(f"--set {name}={value} names no modality; give it as MODALITY.{name}={value}.")
            found.setdefault(modality, {})[field] = value
        return found

    def by_modality(self) -> dict[str, dict[str, Any]]:
        """``--set`` by modality and field, every name checked."""
        found: dict[str, dict[str, Any]] = {}
        for name, value in values_of(self.chosen, "--set").items():
            modality, dot, field = name.partition(".")
            if not dot:
                raise ConfigError(f"--set {name}={value} names no modality; give it as MODALITY.{name}={value}.")
            known = _settings_fields(modality)
            if field not in known:
                near = get_close_matches(field, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"It has: {', '.join(known)}."
                raise ConfigError(f"--set {name}={value}: {modality} has no setting {field!r}; {hint}")
            found.setdefault(modality, {})[field] = value
        return found


@dataclass(frozen=True)
class GenerationOptions:
    """How text is made; what is not given stays as the host has it."""

    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None
    num_beams: Annotated[int | None, typer.Option(min=1, help="Beams of the search; 1 is quickest.")] = None
    temperature: Annotated[float | None, typer.Option(min=0.01, help="Sample, at this temperature.")] = None
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Sample, from this share.")] = None
    repetition_penalty: Annotated[float | None, typer.Option(min=0.01, help="Above 1: repeat less.")] = None
    seed: Annotated[int | None, typer.Option(help="Of sampling.")] = None
    generation: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Any other option of transformers' generate; repeatable."),
    ] = None

    def given(self) -> dict[str, Any]:
        """What was given, by transformers' names; seeds torch where a seed is among it."""
        given = self._named()
        if self.temperature is not None or self.top_p is not None:
            given.setdefault("do_sample", True)
        if self.seed is not None:
            # transformers draws from torch's one generator, so that is what a seed sets.
            import torch

            torch.manual_seed(self.seed)
        return given

    def sent(self) -> dict[str, Any]:
        """What was given, for a server."""
        return {**self._named(), **({} if self.seed is None else {"seed": self.seed})}

    def _named(self) -> dict[str, Any]:
        names = ("max_new_tokens", "num_beams", "temperature", "top_p", "repetition_penalty")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {**given, **values_of(self.generation, "--generation")}


def _settings_fields(modality: str) -> list[str]:
    return [field.name for field in fields(resolve(find_modality(modality).settings))]


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Split repeated ``NAME=VALUE``.

    Raises:
        ConfigError: one without a name or a value, or a name given twice.
    """
    found: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"{option} {each!r} is not of the form NAME=VALUE.")
        if name in found:
            raise ConfigError(f"{option} gives {name!r} twice: {found[name]!r} and {value!r}.")
        found[name] = value
    return found


def values_of(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Split repeated ``NAME=VALUE`` and read each value as JSON where it is JSON (numbers, true, null)."""
    return {name: _value(text) for name, text in pairs(given, option).items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def spelled_out(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the fields of its option groups as options of its own, and pass it the groups."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {
        name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)
    }
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        if parameter.name in groups:
            parameters += _parameters(groups[parameter.name])
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=Parameter.KEYWORD_ONLY))

    @wraps(command)
    def with_groups(**values: Any) -> Any:
        built = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**values, **built)

    # typer reads both, the signature for order and defaults, the annotations for types.
    with_groups.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    with_groups.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_groups


def _parameters(group: type) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(group)
    ]
