#!/usr/bin/env python3
"""Write the diffs and the manifest of a patch from two trees of the package.

python patches/record.py ORIGINAL CHANGED patches/salesforce-lavis-1.0.2

Both trees hold `lavis/`. The diffs have no lines of context, so they carry what is taken out and what is put in.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import io
import json
import sys
from pathlib import Path

__all__ = ["diff", "main", "record"]


def diff(name: str, before: bytes, after: bytes) -> bytes:
    """The zero-context unified diff of one file."""
    texts = [[line.decode() for line in io.BytesIO(content)] for content in (before, after)]
    lines = difflib.unified_diff(*texts, f"a/{name}", f"b/{name}", n=0)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    ).encode()


def record(original: Path, changed: Path, patch: Path) -> list[str]:
    """Write the diff of every `lavis/**/*.py` that differs, and their sha256; returns their names."""
    files = {}
    for path in sorted(changed.glob("lavis/**/*.py")):
        name = path.relative_to(changed).as_posix()
        before, after = (original / name).read_bytes(), path.read_bytes()
        if before == after:
            continue
        files[name] = {"before": _sha256(before), "after": _sha256(after)}
        target = patch / f"{name}.diff"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(diff(name, before, after))
    package, _, version = patch.name.rpartition("-")
    manifest = {"package": package, "version": version, "files": files}
    (patch / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return list(files)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("original", "changed", "patch"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args(argv)
    print("\n".join(record(arguments.original, arguments.changed, arguments.patch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
