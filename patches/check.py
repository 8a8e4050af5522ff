#!/usr/bin/env python3
"""Install salesforce-lavis 1.0.2 into a scratch folder, patch it, and run the LAVIS tests beside the libraries at hand.

    python patches/check.py                     everything, in build/lavis
    python patches/check.py --folder FOLDER     the same, elsewhere
    python patches/check.py -- -k parity -x     arguments after `--` go to pytest

The torch and transformers of the Python that runs this are used; only LAVIS and omegaconf are installed, without
their dependencies and outside that Python's environment. A folder that is there already is used again.
Exit code: pytest's, or that of the step that failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import apply

__all__ = ["install", "main"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REQUIREMENTS = ("salesforce-lavis==1.0.2", "omegaconf>=2.3")
ALSO_IN_THE_WHEEL = ("app", "docs", "projects", "tests")  # `tests` would stand before every other package of that name
TESTS = ("tests/patches", "tests/hosts/test_lavis.py", "tests/hosts/test_lavis_patched.py")


def install(folder: Path) -> None:
    """Put LAVIS and omegaconf into `folder`, unless they are there.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    if (folder / "lavis").is_dir() and (folder / "omegaconf").is_dir():
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
    subprocess.run([*pip, *REQUIREMENTS], check=True)
    for name in ALSO_IN_THE_WHEEL:
        shutil.rmtree(folder / name, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "lavis", help="where LAVIS is installed")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    arguments = parser.parse_args(argv)
    folder = arguments.folder.resolve()
    try:
        install(folder)
    except subprocess.CalledProcessError as error:
        return error.returncode
    if code := apply.main([str(folder)]):
        return code
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    for command in (["-c", "import lavis.models.blip2_models.blip2_opt"], ["-m", "pytest", *TESTS, *arguments.pytest]):
        if code := subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
