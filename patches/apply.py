#!/usr/bin/env python3
"""Bring an installed salesforce-lavis 1.0.2 up to today's transformers and torch, or undo that.

    python patches/apply.py             patch the installed lavis
    python patches/apply.py FOLDER      patch the lavis in FOLDER (the folder that holds `lavis/`)
    python patches/apply.py --check     say what state it is in; exit 0 when patched
    python patches/apply.py --undo      give back the original files, byte for byte

Every file is checked by its sha256 before anything is written; either all files change or none.
Exit code: 0 done, 2 the folder is not what the patch is for or cannot be written, 1 the patch itself is at fault.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BadTarget", "BrokenPatch", "Hunk", "Patch", "change", "find_package", "main", "move", "parse", "survey"]

PATCH = Path(__file__).resolve().parent / "salesforce-lavis-1.0.2"
HEADER = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class BadTarget(Exception):
    """The folder is not the package that the patch is for, or cannot be written."""

    exit_code = 2


class BrokenPatch(Exception):
    """The patch does not lead to the files that its manifest promises."""

    exit_code = 1


@dataclass(frozen=True)
class Hunk:
    """One place of one file: `old` lines from line `at` of the original (counted from 0) become `new` lines."""

    at: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]


@dataclass(frozen=True)
class Patch:
    """A folder of diffs with `manifest.json`: package, version, and the sha256 of every file before and after."""

    folder: Path
    package: str
    version: str
    files: Mapping[str, tuple[str, str]]

    @classmethod
    def read(cls, folder: Path) -> Patch:
        raw = json.loads((folder / "manifest.json").read_text())
        files = {name: (each["before"], each["after"]) for name, each in raw["files"].items()}
        return cls(folder, raw["package"], raw["version"], files)

    def hunks(self, name: str) -> list[Hunk]:
        return parse((self.folder / f"{name}.diff").read_bytes())


def parse(diff: bytes) -> list[Hunk]:
    """The hunks of a unified diff of one file without lines of context.

    Raises:
        BrokenPatch: a line that is neither header, hunk, removal nor addition, or counts that do not hold.
    """
    hunks: list[Hunk] = []
    lines = iter(_diff_lines(diff)[2:])
    for line in lines:
        header = HEADER.match(line)
        if not header:
            raise BrokenPatch(f"Expected a hunk header in the diff, got {line!r}.")
        start = int(header[1])
        old = tuple(_take(lines, b"-", int(header[2] or 1)))
        new = tuple(_take(lines, b"+", int(header[3] or 1)))
        hunks.append(Hunk(start - 1 if old else start, old, new))  # nothing removed: `start` is the line before
    return hunks


def _diff_lines(diff: bytes) -> list[bytes]:
    """Lines with their ends; the marker of a last line without one is taken out, and that end with it."""
    lines: list[bytes] = []
    for line in io.BytesIO(diff):
        if line.startswith(b"\\") and lines:
            lines[-1] = lines[-1].removesuffix(b"\n")
        else:
            lines.append(line)
    return lines


def _take(lines: Iterator[bytes], sign: bytes, count: int) -> Iterator[bytes]:
    for _ in range(count):
        line = next(lines, b"")
        if not line.startswith(sign):
            raise BrokenPatch(f"Expected a line of the diff that starts with {sign.decode()!r}, got {line!r}.")
        yield line[1:]


def change(content: bytes, hunks: list[Hunk], *, undo: bool = False) -> bytes:
    """A file after its hunks; with `undo`, the file before them.

    Raises:
        BrokenPatch: a hunk's lines are not where it says.
    """
    lines = list(io.BytesIO(content))
    out: list[bytes] = []
    position = shift = 0
    for hunk in hunks:
        old, new = (hunk.new, hunk.old) if undo else (hunk.old, hunk.new)
        at = hunk.at + (shift if undo else 0)
        if tuple(lines[at : at + len(old)]) != old:
            raise BrokenPatch(f"Line {at + 1} is not the one that the diff replaces.")
        out += [*lines[position:at], *new]
        position = at + len(old)
        shift += len(hunk.new) - len(hunk.old)
    return b"".join(out + lines[position:])


def find_package() -> Path:
    """The folder that holds the installed `lavis`, found without importing it.

    Raises:
        BadTarget: it is not installed here.
    """
    spec = importlib.util.find_spec("lavis")
    if spec is None or not spec.submodule_search_locations:
        raise BadTarget(
            f"There is no lavis in the environment of {sys.executable}. Install it with: "
            "pip install --no-deps salesforce-lavis==1.0.2 omegaconf"
        )
    return Path(spec.submodule_search_locations[0]).parent


def survey(root: Path, patch: Patch) -> dict[str, str]:
    """The state of every file that the patch touches: "original", "patched", "changed" or "missing"."""
    states = {}
    for name, (before, after) in patch.files.items():
        file = root / name
        found = _sha256(file.read_bytes()) if file.is_file() else None
        states[name] = {before: "original", after: "patched", None: "missing"}.get(found, "changed")
    return states


def move(root: Path, patch: Patch, *, undo: bool = False) -> list[str]:
    """Patch the package below `root` (or undo that) and return the files written, none when there is nothing to do.

    Files that are there already are left alone, so a run that was cut off by a crash is completed by the next.

    Raises:
        BadTarget: a file is neither the original nor the patched one, or cannot be written; nothing has changed.
        BrokenPatch: a diff does not give the file that the manifest promises; nothing has changed.
    """
    states = survey(root, patch)
    strange = [f"{name} ({state})" for name, state in states.items() if state in ("changed", "missing")]
    if strange:
        raise BadTarget(
            f"{root} does not hold {patch.package} {patch.version}: {len(strange)} of {len(states)} files differ: "
            f"{', '.join(strange)}. Reinstall it with: pip install --no-deps --force-reinstall "
            f"{patch.package}=={patch.version}"
        )
    source = "patched" if undo else "original"
    new = {n: _changed(root, patch, n, undo=undo) for n, state in states.items() if state == source}
    _write_all({root / name: content for name, content in new.items()})
    return list(new)


def _changed(root: Path, patch: Patch, name: str, *, undo: bool) -> bytes:
    before, after = patch.files[name]
    try:
        content = change((root / name).read_bytes(), patch.hunks(name), undo=undo)
    except (BrokenPatch, OSError) as error:
        raise BrokenPatch(f"{name}: {error}") from error
    if _sha256(content) != (before if undo else after):
        raise BrokenPatch(f"{name}: the diff does not give the file that the manifest promises.")
    return content


def _write_all(contents: Mapping[Path, bytes]) -> None:
    """Write every file beside its place, then rename them all; on any error put back what had been renamed."""
    originals = {path: path.read_bytes() for path in contents}
    ready: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for path, content in contents.items():
            ready[path] = _beside(path, content)
        for path, temporary in ready.items():
            done.append(path)
            os.replace(temporary, path)
    except OSError as error:
        for path in done:
            if path.read_bytes() != originals[path]:
                os.replace(_beside(path, originals[path]), path)
        raise BadTarget(
            f"{error.filename or error} cannot be written ({error.strerror}); nothing has changed."
        ) from error
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)


def _beside(path: Path, content: bytes) -> Path:
    """A temporary file in the folder of `path`, with its permissions."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(path.stat().st_mode)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _report_state(root: Path, patch: Patch) -> int:
    states = survey(root, patch)
    for name, state in states.items():
        print(f"{state:9} {name}")
    patched = sum(state == "patched" for state in states.values())
    print(f"{patched} of {len(states)} files of {patch.package} {patch.version} in {root} are patched.")
    return 0 if patched == len(states) else 2


def _run(arguments: argparse.Namespace) -> int:
    patch = Patch.read(PATCH)
    root = arguments.folder or find_package()
    if arguments.check:
        return _report_state(root, patch)
    written = move(root, patch, undo=arguments.undo)
    what = "back to the original" if arguments.undo else "patched"
    for name in written:
        print(f"{what}: {name}")
    kept = len(patch.files) - len(written)
    already = f", {kept} were so already" if kept else ""
    print(f"{patch.package} {patch.version} in {root}: {len(written)} files {what}{already}.")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    description, _, rest = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="what holds lavis/ (default: the installed one)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="only say what state the files are in")
    mode.add_argument("--undo", action="store_true", help="give back the original files")
    try:
        return _run(parser.parse_args(argv))
    except (BadTarget, BrokenPatch) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a file that may not be read
        print(f"error: {error}", file=sys.stderr)
        return BadTarget.exit_code


if __name__ == "__main__":
    sys.exit(main())
