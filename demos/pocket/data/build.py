"""All steps in order, each resumable: packages to packs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lens_plugins.errors import MissingDependency

from . import attribution as page
from . import classes, generate, materials, objects, pack, pictures, sources, sweethome

__all__ = ["PICTURE_PACKS", "build_all", "make_environment", "write_attribution"]

PICTURE_PACKS = ("emoji", "stamps", "clipart", "materials")
Row = dict[str, Any]


def make_environment(folder: Path, python: str = "python3.11") -> Path:
    """An environment with Blender and Infinigen (2.2 GB) in `folder`; returns its Python.

    Raises:
        MissingDependency: there is no Python 3.11, which Blender's module needs, or pip failed.
    """
    inside = folder / "bin" / "python"
    if (folder / "ready").exists():
        return inside
    if shutil.which(python) is None:
        raise MissingDependency(f"Generating objects needs {python!r}, the only version that bpy 4.2.0 is built for.")
    commands = [
        [python, "-m", "venv", str(folder)],
        *([str(inside), "-m", "pip", "install", *a] for a in generate.ENVIRONMENT),
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingDependency(f"`{' '.join(command[:6])} …` failed: {done.stderr.strip()[-300:]}")
    (folder / "ready").touch()
    return inside


def _generate(out: Path, status: pack.Status, minutes: float) -> Path:
    """Make the objects that are not there yet."""
    folder, environment = out / "work" / "generated", out / "work" / "blender"
    python = make_environment(environment)
    command = [str(python), str(Path(generate.__file__)), str(folder), "--minutes", str(minutes)]
    home = {**os.environ, "HOME": str(environment)}  # Blender writes its settings there
    subprocess.run(command, check=True, env=home, stderr=subprocess.DEVNULL)
    status(f"generated {len(list(folder.glob('*/*/object.json')))} objects")
    return folder


def build_models(out: Path, package: Path, generated: Path | None, status: pack.Status, workers: int = 2) -> list[Row]:
    """Render, name and split every object, and write the packs "sweethome" and "generated"; returns all rows."""
    models = sweethome.read_catalogues(package)
    unpacked, rendered = out / "work" / "sweethome", out / "work" / "rendered"
    if not unpacked.exists():
        list(sweethome.extract(package, unpacked))
    failed = objects.render_all(models, unpacked, rendered, status, workers)
    status(f"rendered {len(models) - len(failed)} of {len(models)} models")
    rows = objects.sweethome_rows(models, rendered)
    made = objects.generated_rows(generated) if generated else []
    table = objects.class_table([*rows, *made])
    rows, made = objects.close_set(rows, table), objects.close_set(made, table)
    (out / "classes.json").write_text(json.dumps(table, indent=1))
    pack.write_lines(out / "objects.jsonl", [*rows, *made])
    (out / "pack").mkdir(exist_ok=True)
    status(
        "pack/sweethome: {} pictures, {} clouds".format(
            *objects.pack_sweethome(rows, rendered, out / "pack" / "sweethome")
        )
    )
    if generated:
        counts = objects.pack_generated(made, generated, out / "pack" / "generated")
        status("pack/generated: {} pictures, {} clouds".format(*counts))
    return [*rows, *made]


def build_pictures(out: Path, folders: Mapping[str, Path], names: Sequence[str], status: pack.Status) -> None:
    """Write the packs of pictures.

    Args:
        folders: unpacked packages by name, the npm ones side by side in one folder.
        names: names of objects, words that file names are believed to mean.
    """
    table = tuple(json.loads((out / "classes.json").read_text()))
    npm = folders["emojibase-data"].parent
    stamps = list(pictures.stamps(folders["tuxpaint-stamps-default"], table))
    words = [word for label in table for word in (label, *classes.WORDS.get(label, ()))]
    known = pictures.vocabulary(npm, [*names, *words, *(p.name for p in stamps if p.name)])
    clipart = pictures.clipart(folders["openclipart-png"], table, known)
    for name, found in (("emoji", pictures.emoji(npm, table)), ("stamps", stamps), ("clipart", clipart)):
        status(f"pack/{name}: {pictures.pack_pictures(found, out / 'pack' / name)} pictures")
    jar = next(folders["sweethome3d"].rglob("sweethome3d.jar"))
    status(f"pack/materials: {materials.pack_materials(out / 'pack' / 'materials', jar)} pictures")


def write_attribution(out: Path, target: Path, packs: Sequence[str] = PICTURE_PACKS) -> None:
    """Write ATTRIBUTION.md for weights trained on the models and on the picture packs named."""
    rows = pack.read_lines(out / "objects.jsonl")
    shown = [row for name in packs for row in pack.read_lines(out / "pack" / name / "index.jsonl")]
    models = [row for row in rows if row["source"] == "sweethome"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page.attribution(models, shown, len(rows) - len(models)), "utf-8")


def build_all(
    out: Path, downloads: Path, *, generated: Path | None = None, minutes: float = 90, workers: int = 2
) -> None:
    """Packages to packs: fetch, generate, render, name, split, write. What is done already is not done again.

    Args:
        out: packs go to out/pack, progress to out/STATUS, intermediate files to out/work.
        downloads: packages are fetched to and unpacked in here.
        generated: objects made earlier by `generate.py`; None makes them, which installs Blender and takes an hour.
        minutes: the longest that generating may take.

    Raises:
        MissingDependency: a client, Blender's Python or VTK is absent.
        InputError: a package is not the version that the recipe was made with.
    """
    status = pack.Status(out)
    folders = sources.fetch_all(downloads)
    status(f"{len(folders)} packages fetched")
    rows = build_models(
        out, folders["sweethome3d-furniture"], generated or _generate(out, status, minutes), status, workers
    )
    build_pictures(out, folders, [row["name"] for row in rows], status)
    write_attribution(out, out / "ATTRIBUTION.md")
    status("done")
