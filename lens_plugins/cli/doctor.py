"""lens-plugins doctor"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from .. import __version__
from ..catalog import folder_of
from ..errors import ConfigError, LensPluginsError
from .options import Json
from .output import one_line, print_json, progress

__all__ = ["Finding", "doctor", "examine"]

_NEEDED = ("torch", "transformers", "accelerate", "safetensors", "huggingface_hub", "numpy", "pillow", "trimesh")
_OPTIONAL = {"torchvision": "timm", "timm": "timm", "bitsandbytes": "quant", "diffusers": "seed", "matplotlib": "train"}
"""Package and the extra that brings it."""
_FETCHED = {"smollm2-135m-instruct": "language model", "all-minilm-l6-v2": "text encoder"}
"""What the pocket hosts read with, by its name in the catalogue."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; with a `cure` it is something to mend."""

    what: str
    found: str
    cure: str | None = None


def doctor(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch the pocket hosts' language model and text encoder if absent.")
    ] = False,
    json: Json = False,
) -> None:
    """Check this installation and name the cure.

    The exit code is 2 where something is to be mended.

    \b
    Example:
      lens-plugins doctor
    """
    if fetch:
        with progress("fetching the language model (100 MB) and the text encoder (90 MB)"):
            for name in _FETCHED:
                folder_of(name)
    findings = []
    for finding in examine():
        findings.append(finding)
        if json:
            print_json(asdict(finding))
        else:
            typer.echo(f"{'!' if finding.cure else ' '} {finding.what:16} {finding.found}")
            if finding.cure:
                typer.echo(f"  {'':16} -> {finding.cure}")
    raise typer.Exit(ConfigError.exit_code if any(finding.cure for finding in findings) else 0)


def examine() -> Iterator[Finding]:
    """Everything that `doctor` looks at, one after the other."""
    yield Finding("lens-plugins", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield from map(_needed, _NEEDED)
    yield from map(_optional, _OPTIONAL)
    yield _host_class()
    yield from _devices()
    yield _cache()
    for name, what in _FETCHED.items():
        yield _fetched(name, what)
    yield from _shipped()
    yield _hub()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _needed(package: str) -> Finding:
    found = _version(package)
    if found is None:
        return Finding(package, "absent", f"pip install {package}")
    return Finding(package, found)


def _optional(package: str) -> Finding:
    found = _version(package)
    if found is None:
        return Finding(package, f"absent (only for lens-plugins[{_OPTIONAL[package]}])")
    try:
        import_module(package)
    except Exception as error:  # noqa: BLE001 - a package built for another torch fails in its own ways
        return Finding(package, f"{found}, cannot be imported: {one_line(error)}", _cure(package))
    return Finding(package, found)


def _cure(package: str) -> str:
    if package == "torchvision":
        return (
            f"It was built for another torch than {_version('torch')}, and transformers fails with it. Nothing here "
            "needs it: pip uninstall torchvision. For timm, install the torchvision that matches your torch."
        )
    return f"pip install --upgrade 'lens-plugins[{_OPTIONAL[package]}]', or: pip uninstall {package}"


def _host_class() -> Finding:
    try:
        import_module("transformers.models.instructblip.modeling_instructblip")
    except Exception as error:  # noqa: BLE001 - whatever stands in its way is what is to be reported
        return Finding("InstructBLIP", f"cannot be imported: {one_line(error)}", "Mend what is marked above first.")
    return Finding("InstructBLIP", "can be imported")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}")
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield Finding(f"cuda:{number}", f"{properties.name}, {properties.total_memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        yield Finding("mps", "available")


def _cache() -> Finding:
    from ..pocket.fetched import cache_folder

    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        return Finding("cache", f"{folder} cannot be written", "Name another folder in LENS_PLUGINS_CACHE.")
    return Finding("cache", f"{folder}, {shutil.disk_usage(there).free / 1e9:.1f} GB free")


def _fetched(name: str, what: str) -> Finding:
    from ..pocket.fetched import cache_folder

    if (cache_folder() / name / "model.safetensors").is_file():
        return Finding(what, f"{name} is there")
    if what == "language model":
        return Finding(what, f"{name} is absent", "lens-plugins doctor --fetch (or wait for the first caption)")
    return Finding(what, f"{name} is absent; classify and search by text fetch it")


def _shipped() -> Iterator[Finding]:
    from ..pocket.shipped import ROWS

    for id_, version_ in {row.id: row.version for row in ROWS}.items():
        yield _checked(id_, version_)


def _checked(id_: str, version_: str) -> Finding:
    from ..pocket.shipped import shipped_folder

    if shipped_folder(id_) is None:
        return Finding(id_, "is not in this installation; LENS_PLUGINS_POCKET may name a checkout's weights")
    try:
        folder_of(id_)
    except LensPluginsError as error:
        return Finding(id_, str(error), "Install lens-plugins again, or check the file out again.")
    return Finding(id_, f"version {version_}, whole")


def _hub() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    return Finding(
        "hub", "off (HF_HUB_OFFLINE is set): only cached files are found" if offline else "asked for hub ids"
    )
