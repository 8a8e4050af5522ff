"""From catalogues and generated objects to packs: render, sample, name, split, write. Resumable object by object."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lens_plugins.errors import InputError

from . import captions, classes, clouds, meshes, pack, render, split, sweethome

__all__ = [
    "class_table",
    "close_set",
    "generated_rows",
    "pack_generated",
    "pack_sweethome",
    "render_all",
    "split_rows",
    "sweethome_rows",
]

EMPTY = 0.004  # a view with a smaller share of covered pixels shows nothing
GENERATED_TEST_SEEDS = (9, 10)
GENERATED_CLASS = {"fork": "cutlery", "spoon": "cutlery", "knife": "cutlery", "wineglass": "cup", "monitor": "monitor"}
Row = dict[str, Any]


@cache
def _studio() -> render.Studio:
    """One window per process."""
    return render.Studio()


def _render_one(model: sweethome.CatalogueModel, models: Path, out: Path) -> str | None:
    """Draw and sample one model into `out/<id>.npz`; returns why it could not be used, or None."""
    target = out / f"{model.id}.npz"
    if target.exists():
        return None
    rng = np.random.default_rng(int(split.hash01(model.id) * 2**32))
    try:
        mesh = meshes.read_obj(models / model.catalogue / model.member).turned(np.array(model.rotation))
        low, high = mesh.bounds()
        views = render.cameras(high - low, render.VIEWS, rng)
        shots = list(_studio().shoot(mesh, views, rng, render.DEPTH_VIEWS))
        points, normals = clouds.sample_surface(mesh.triangles(), clouds.POINTS, rng)
    except InputError as error:
        return str(error)
    temporary = target.with_suffix(".part.npz")
    np.savez(
        temporary,
        images=np.stack([picture for picture, _ in shots]),
        depths=np.stack([depth for _, depth in shots if depth is not None]),
        cloud=clouds.normalise(points).astype(np.float16),
        normals=normals.astype(np.float16),
        views=json.dumps([view.to_dict() for view in views]),
        material=captions.material_word(mesh) or "",
        triangles=sum(len(part.triangles) for part in mesh.parts),
    )
    temporary.rename(target)
    return None


def render_all(
    models: Sequence[sweethome.CatalogueModel], folder: Path, out: Path, status: pack.Status, workers: int = 2
) -> dict[str, str]:
    """Render every model of the catalogues unpacked in `folder`; returns the reasons of those that could not be."""
    out.mkdir(parents=True, exist_ok=True)
    failed = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [(model.id, pool.submit(_render_one, model, folder, out)) for model in models]
        for done, (key, job) in enumerate(jobs, 1):
            if reason := job.result():
                failed[key] = reason
            if done % 100 == 0 or done == len(jobs):
                status(f"render {done}/{len(jobs)}, {len(failed)} failed")
    return failed


def sweethome_rows(models: Sequence[sweethome.CatalogueModel], out: Path) -> list[Row]:
    """A row per rendered model: names, caption, split, group. Reads what `render_all` left in `out`."""
    rows, shapes = [], {}
    for model in models:
        if (out / f"{model.id}.npz").exists():
            with np.load(out / f"{model.id}.npz") as saved:
                shapes[model.id] = saved["cloud"]
                rows.append(_row(model, saved["images"], str(saved["material"]) or None, int(saved["triangles"])))
    return split_rows(rows, shapes)


def split_rows(rows: Sequence[Row], shapes: Mapping[str, np.ndarray]) -> list[Row]:
    """The rows with "group" and "split"; every class is split by itself, and so are all objects without one."""
    bases = {
        row["object"]: split.base_name(row["catalogue"], row["creator"], row["catalogue_name"], row["file"])
        for row in rows
    }
    groups = split.find_groups({row["object"]: row["class"] or row["name"] for row in rows}, bases, shapes)
    strata: dict[str | None, dict[str, str]] = defaultdict(dict)
    for row in rows:
        strata[row["class"]][row["object"]] = groups[row["object"]]
    keep = {row["object"] for row in rows if row["name"] in classes.TRAIN_ONLY}
    sides = {}
    for members in strata.values():
        sides |= split.split_groups(members, keep=keep & members.keys())
    return [{**row, "group": groups[row["object"]], "split": sides[row["object"]]} for row in rows]


def _row(model: sweethome.CatalogueModel, images: np.ndarray, material: str | None, triangles: int) -> Row:
    label = classes.classify(model.name, model.category, model.tags)
    name = classes.clean_name(model.name, model.category, model.tags)
    colour = captions.dominant_colour(images)
    return {
        "object": model.id,
        "class": label,
        "name": name,
        "caption": captions.caption(name, label, colour, material),
        "colour": colour,
        "material": material,
        "source": "sweethome",
        "catalogue": model.catalogue,
        "file": Path(model.member).stem,
        "catalogue_name": model.name,
        "category": model.category,
        "tags": list(model.tags),
        "creator": model.creator,
        "licence": model.licence,
        "triangles": triangles,
    }


def generated_rows(folder: Path) -> list[Row]:
    """A row per object of the generator's output folder; test objects are those of the last two seeds."""
    rows = []
    for path in sorted(folder.glob("*/*/object.json")):
        about = json.loads(path.read_text())
        name = about["name"]
        images = np.stack([np.asarray(Image.open(path.parent / f"view{i}.webp")) for i in range(len(about["views"]))])
        colour = captions.dominant_colour(images)
        rows.append({
            "object": f"generated-{path.parent.name}",
            "class": GENERATED_CLASS.get(name, name),
            "name": name,
            "caption": captions.caption(name, name, colour, None),
            "colour": colour,
            "source": "generated",
            "licence": "generated",
            "split": "test" if about["seed"] in GENERATED_TEST_SEEDS else "train",
            "folder": str(path.parent.relative_to(folder)),
            "triangles": about["triangles"],
            "views": about["views"],
        })  # fmt: skip
    return rows


def class_table(rows: Sequence[Row]) -> dict[str, Row]:
    """The closed set: every class with enough objects, its words and its counts by source and split."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        if row["class"]:
            counts[row["class"]][f"{row['source']}_{row['split']}"] += 1
    return {
        label: {
            "words": [label, *classes.WORDS.get(label, ())],
            "headline": bool(n["sweethome_train"] and n["sweethome_test"]),
            **{f"{s}_{p}": n[f"{s}_{p}"] for s in ("sweethome", "generated") for p in ("train", "test")},
        }
        for label, n in sorted(counts.items())
        if n.total() >= classes.MIN_MODELS
    }


def close_set(rows: Sequence[Row], table: dict[str, Row]) -> list[Row]:
    """Rows whose class is too small for the closed set keep their name alone."""
    return [row if row["class"] in table else {**row, "class": None} for row in rows]


SHORT = ("object", "class", "name", "caption", "split", "source", "licence")


def _short(row: Row) -> Row:
    return {key: row[key] for key in SHORT}


def pack_sweethome(rows: Sequence[Row], rendered: Path, out: Path) -> tuple[int, int]:
    """Write the pack of the catalogue models; returns pictures and clouds."""

    def pictures() -> Iterator[tuple[Row, np.ndarray, np.ndarray | None]]:
        for row in rows:
            with np.load(rendered / f"{row['object']}.npz") as saved:
                images, depths, views = saved["images"], saved["depths"], json.loads(str(saved["views"]))
            for i, image in enumerate(images):
                if (image[..., 3] > 127).mean() >= EMPTY:
                    yield {**_short(row), "view": i, "camera": views[i]}, image, depths[i] if i < len(depths) else None

    temporary = out.with_name(out.name + ".part")
    count, _ = pack.write_images(temporary, pictures(), len(rows) * render.VIEWS)
    shapes, normals = [], []
    for row in rows:
        with np.load(rendered / f"{row['object']}.npz") as saved:
            shapes.append(saved["cloud"])
            normals.append(saved["normals"])
    pack.write_clouds(temporary, [_short(row) for row in rows], shapes, normals)
    pack.publish(temporary, out)
    return count, len(rows)


def pack_generated(rows: Sequence[Row], folder: Path, out: Path) -> tuple[int, int]:
    """Write the pack of generated objects; returns pictures and clouds."""

    def pictures() -> Iterator[tuple[Row, np.ndarray, np.ndarray | None]]:
        for row in rows:
            for i, camera in enumerate(row["views"]):
                image = np.asarray(Image.open(folder / row["folder"] / f"view{i}.webp").convert("RGBA"))
                depth = np.asarray(Image.open(folder / row["folder"] / f"depth{i}.png"), np.uint16)
                if (image[..., 3] > 127).mean() >= EMPTY:
                    yield {**_short(row), "view": i, "camera": camera}, image, depth

    temporary = out.with_name(out.name + ".part")
    count, _ = pack.write_images(temporary, pictures(), sum(len(row["views"]) for row in rows))
    pack.write_clouds(
        temporary, [_short(row) for row in rows], [np.load(folder / row["folder"] / "cloud.npy") for row in rows]
    )
    pack.publish(temporary, out)
    return count, len(rows)
