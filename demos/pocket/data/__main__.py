"""`PYTHONPATH=demos python -m pocket.data STEP`: build the training data of the pocket hosts.

PYTHONPATH=demos python -m pocket.data all --out pocket-data --downloads packages
PYTHONPATH=demos python -m pocket.data attribution --out pocket-data --target lens_plugins/pocket/weights/ATTRIBUTION.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lens_plugins.errors import LensPluginsError

from . import build, pack, sources

__all__ = ["main", "parser", "run"]

STEPS = ("all", "fetch", "models", "pictures", "attribution")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m pocket.data", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("step", choices=STEPS)
    made.add_argument("--out", type=Path, required=True, help="packs, progress and intermediate files")
    made.add_argument("--downloads", type=Path, help="where packages are fetched to; default: OUT/downloads")
    made.add_argument("--generated", type=Path, help="objects made earlier by generate.py; default: make them")
    made.add_argument("--minutes", type=float, default=90, help="the longest that generating may take")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--target", type=Path, help="where ATTRIBUTION.md goes; default: OUT")
    made.add_argument(
        "--packs", nargs="*", default=list(build.PICTURE_PACKS), help="picture packs that the weights saw"
    )
    return made


def run(given: argparse.Namespace) -> None:
    """One step, or all."""
    downloads, status = given.downloads or given.out / "downloads", pack.Status(given.out)
    if given.step == "all":
        build.build_all(given.out, downloads, generated=given.generated, minutes=given.minutes, workers=given.workers)
    elif given.step == "fetch":
        sources.fetch_all(downloads)
    elif given.step == "models":
        package = sources.unpack(sources.find_source("sweethome3d-furniture"), downloads)
        build.build_models(given.out, package, given.generated, status, given.workers)
    elif given.step == "pictures":
        names = [row["name"] for row in pack.read_lines(given.out / "objects.jsonl")]
        build.build_pictures(given.out, sources.fetch_all(downloads), names, status)
    else:
        build.write_attribution(given.out, given.target or given.out / "ATTRIBUTION.md", given.packs)


def main() -> int:
    """Exit code 0, or that of the error, which is printed."""
    try:
        run(parser().parse_args())
    except LensPluginsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
