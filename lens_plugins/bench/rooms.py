"""Rooms put together from held-out objects, with queries of every modality: what `evaluate.scene` is measured on here.

``furnished-NN`` are rooms in ScanNet's layout: a mesh file with segments and aggregation, and posed RGB-D frames with
masks. The clouds of held-out objects stand on a floor at the size of their class; in the frames each is a flat picture
of itself that faces the camera. ``sounding-NN`` and ``surfaces-NN`` are folders of crops: pictures of things that are
heard, and of surfaces that are touched. Queries never show an object of their room: they are other things of its class.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..evaluate.scene import embed_scenes
from ..files.opening import local_path
from ..hosts.loading import load_host
from ..scene.ranking import COMBINATIONS
from .heldout import Case, HeldOut, find_sense, open_objects

__all__ = ["run", "write_rooms"]

_SIZES = {  # longest side in metres
    "chair": 0.95, "table": 1.3, "lamp": 1.2, "person": 1.7, "sofa": 1.9, "plant": 0.9, "cabinet": 1.2, "bed": 2.0,
    "window": 1.3, "armchair": 1.0, "tree": 2.2, "car": 2.5, "door": 2.0, "switch": 0.3, "sink": 0.7, "box": 0.5,
    "radiator": 0.9, "oven": 0.8, "cup": 0.3, "stool": 0.6, "towel": 0.6, "bookshelf": 1.8, "speaker": 0.6,
    "bottle": 0.35, "socket": 0.3, "animal": 0.6, "railing": 1.5, "desk": 1.4, "clothes": 0.8, "rug": 1.5,
    "bench": 1.4, "vase": 0.4, "tool": 0.4, "television": 1.0, "flower": 0.5, "toilet": 0.8, "cutlery": 0.3,
    "trash can": 0.6, "computer": 0.6, "shoe": 0.3, "refrigerator": 1.8, "truck": 2.5, "bicycle": 1.7,
    "bathtub": 1.7, "wardrobe": 2.0,
}  # fmt: skip
_FLOOR = (8.0, 7.0)  # metres
_WIDTH, _HEIGHT, _FOCAL = 640, 480, 420.0  # pixels
_CAMERAS = 12
_WALL, _GROUND = (226, 224, 220), (176, 160, 140)


@dataclass(frozen=True)
class _Placed:
    """An object in its room: `points` (2048, 3) metres, z up, and the colour of each."""

    id: int
    held: HeldOut
    points: np.ndarray
    colours: np.ndarray


def write_rooms(folder: str | Path, rooms: int = 20, objects: int = 12, seed: int = 0) -> Path:
    """Write rooms of each kind and ``queries.jsonl``; the same arguments write the same files.

    Args:
        folder: a new or empty folder.
        rooms: furnished ones; of crops there are as many again in all.
        objects: things in each.
        seed: of every choice.

    Returns:
        The folder, for `evaluate_scenes`.

    Raises:
        InputError: the folder is not empty, or a number is too small.
        CheckpointError: the held-out cases are not in this installation.
    """
    target = local_path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is not an empty folder; give a new one for the rooms.")
    if rooms < 1 or objects < 2:
        raise InputError(f"There are {rooms} rooms of {objects} objects; at least 1 room of 2 is needed.")
    target.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    held = open_objects()
    queries = _Queries(target, held)
    for number in range(rooms):
        name = f"furnished-{number:02d}"
        chosen = [held[i] for i in random.permutation(len(held))[:objects]]
        placed = _place(chosen, random)
        _write_scannet(target / name, name, placed, random)
        queries.ask(name, {each.id: each.held.label for each in placed}, chosen, random)
    for number in range(rooms):
        kind, modality = (("sounding", "audio"), ("surfaces", "tactile"))[number % 2]
        name = f"{kind}-{number // 2:02d}"
        labels = _write_crops(target / name, find_sense(modality).pictures(), objects, random)
        queries.ask(name, labels, [], random, only=("text", modality))
    (target / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries.rows), encoding="utf-8")
    return target


class _Queries:
    """Other things of the classes in a room, as files of every modality; a file is written once."""

    def __init__(self, folder: Path, held: Sequence[HeldOut]) -> None:
        self._folder, self._held = folder, held
        self._cases: dict[str, list[Case]] = {
            name: find_sense(name).cases() for name in ("audio", "depth", "tactile", "eeg")
        }
        views = len(self._cases["depth"]) // len(held)  # depth maps follow the objects
        self._depth_of = {each.object: self._cases["depth"][views * i : views * (i + 1)] for i, each in enumerate(held)}
        self.rows: list[dict[str, Any]] = []

    def ask(
        self,
        scene: str,
        labels: dict[int, str],
        there: Sequence[HeldOut],
        random: np.random.Generator,
        only: Sequence[str] = (),
    ) -> None:
        """One query of each modality for each class of a room, where there is such a thing."""
        for label in sorted(set(labels.values())):
            answers = [own for own, each in labels.items() if each == label]
            for modality, source, name in self._of(label, there, random):
                if not only or modality in only:
                    row = {"scene": scene, "modality": modality, "label": label, "answers": answers}
                    query = f"text:{source}" if modality == "text" else self._file(modality, source, name)
                    self.rows.append({**row, "query": query})

    def _of(self, label: str, there: Sequence[HeldOut], random: np.random.Generator) -> Iterator[tuple[str, Any, str]]:
        yield "text", label, ""
        inside = {each.object for each in there}
        others = [each for each in self._held if each.label == label and each.object not in inside]
        if others:
            other = others[random.integers(len(others))]
            yield "image", other.pictures[random.integers(len(other.pictures))], other.object
            yield "point_cloud", other.cloud.numpy(), other.object
            maps = self._depth_of[other.object]
            yield "depth", maps[random.integers(len(maps))].source, other.object
        for modality in ("audio", "tactile", "eeg"):
            cases = [(i, case) for i, case in enumerate(self._cases[modality]) if case.label == label]
            if cases:
                place, case = cases[random.integers(len(cases))]
                yield modality, case.source, f"{place:03d}"

    def _file(self, modality: str, source: Any, name: str) -> str:
        """The query as a file below the folder; its path there."""
        folder = self._folder / "queries" / modality
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            path = folder / source.name
            shutil.copyfile(source, path)
        elif isinstance(source, Image.Image):
            path = folder / f"{name}-{zlib.crc32(source.tobytes()):08x}.png"
            source.save(path)
        else:
            path = folder / f"{name}.npy"
            np.save(path, source)
        return path.relative_to(self._folder).as_posix()


def _place(chosen: Sequence[HeldOut], random: np.random.Generator) -> list[_Placed]:
    """Objects on the floor at the size of their class, turned at random; as far apart as the floor allows."""
    placed: list[_Placed] = []
    taken: list[tuple[np.ndarray, float]] = []
    for own, held in enumerate(chosen, start=1):
        cloud = held.cloud.numpy().astype(np.float64)
        cloud = cloud * _SIZES.get(held.label, 1.0) / np.ptp(cloud, axis=0).max()
        turn = random.uniform(0, 2 * np.pi)
        x, y = cloud[:, 0], -cloud[:, 2]  # y up becomes z up
        points = np.stack(
            [np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y, cloud[:, 1]], axis=1
        )
        points -= (*((points.min(0) + points.max(0)) / 2)[:2], points[:, 2].min())
        radius = float(np.linalg.norm(points[:, :2], axis=1).max())
        low, high = np.full(2, radius), np.maximum(np.array(_FLOOR) - radius, radius)
        spots = random.uniform(low, high, (200, 2))
        gaps = [min((np.linalg.norm(spot - at) - radius - far for at, far in taken), default=1.0) for spot in spots]
        spot = spots[int(np.argmax(np.minimum(gaps, 0.3)))]  # 30 cm apart is enough
        taken.append((spot, radius))
        points[:, :2] += spot
        pixels = np.asarray(held.pictures[0])[_shape(held.pictures[0])]
        colours = pixels[random.integers(0, len(pixels), len(points))]
        placed.append(_Placed(own, held, points, colours))
    return placed


def _shape(picture: Image.Image) -> np.ndarray:
    """Which pixels of a view show the object and not the light ground: (H, W) bool."""
    pixels = np.asarray(picture).astype(int)
    ground = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    shape = np.abs(pixels - ground).sum(2) > 24
    return shape if shape.sum() >= 16 else np.ones_like(shape)


def _write_scannet(folder: Path, name: str, placed: Sequence[_Placed], random: np.random.Generator) -> None:
    """The files that ScanNet has of a scan, and its frames as its exporter writes them."""
    for part in ("color", "depth", "pose", "intrinsic", "instance-filt"):
        (folder / part).mkdir(parents=True)
    steps = (np.arange(0, side, 0.06) for side in _FLOOR)
    ground = np.stack([axis.ravel() for axis in np.meshgrid(*steps)], 1)
    ground = np.concatenate([ground, np.zeros((len(ground), 1))], 1)
    points = np.concatenate([ground, *(each.points for each in placed)])
    colours = np.concatenate([np.tile(_GROUND, (len(ground), 1)), *(each.colours for each in placed)])
    _write_cloud(folder / f"{name}_vh_clean_2.ply", points, colours)
    # two segments for each object, by height, as an over-segmentation has several
    halves = [2 * each.id + (each.points[:, 2] > np.median(each.points[:, 2])) for each in placed]
    segments = np.concatenate([np.zeros(len(ground), int), *halves])
    groups = [
        {"id": i, "objectId": i, "segments": [2 * each.id, 2 * each.id + 1], "label": each.held.label}
        for i, each in enumerate(placed)
    ]
    files = {
        f"{name}_vh_clean_2.0.010000.segs.json": {"sceneId": name, "segIndices": segments.tolist()},
        f"{name}.aggregation.json": {"sceneId": name, "segGroups": groups},
    }
    for file, value in files.items():
        (folder / file).write_text(json.dumps(value), encoding="utf-8")
    camera = np.array([[_FOCAL, 0, _WIDTH / 2, 0], [0, _FOCAL, _HEIGHT / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for kind in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{kind}.txt", camera, "%.6f")
    for number in range(_CAMERAS):
        pose = _pose(2 * np.pi * number / _CAMERAS)
        picture, depth, mask = _draw(placed, pose, random)
        picture.save(folder / "color" / f"{number}.jpg", quality=92)
        Image.fromarray(depth).save(folder / "depth" / f"{number}.png")
        Image.fromarray(mask).save(folder / "instance-filt" / f"{number}.png")
        np.savetxt(folder / "pose" / f"{number}.txt", pose, "%.6f")


def _write_cloud(path: Path, points: np.ndarray, colours: np.ndarray) -> None:
    shades = ("red", "green", "blue")
    rows = np.empty(len(points), [*((axis, "<f4") for axis in "xyz"), *((shade, "u1") for shade in shades)])
    for names, columns in (("xyz", points.T), (shades, colours.T)):
        for name, values in zip(names, columns):
            rows[name] = values
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    lines += [f"property float {axis}" for axis in "xyz"] + [f"property uchar {shade}" for shade in shades]
    path.write_bytes("\n".join([*lines, "end_header", ""]).encode() + rows.tobytes())


def _pose(turn: float) -> np.ndarray:
    """Camera to world, (4, 4): 1.5 m high near the wall, looking across the room and a little down."""
    middle = np.array([*_FLOOR, 0.0]) / 2
    eye = middle + np.array([0.5 * _FLOOR[0] * np.cos(turn), 0.5 * _FLOOR[1] * np.sin(turn), 1.5])
    ahead = middle + np.array([0, 0, 0.4]) - eye
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, (0, 0, 1))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(ahead, right), ahead, eye], axis=1)  # x right, y down, z forward
    return pose


def _draw(
    placed: Sequence[_Placed], pose: np.ndarray, random: np.random.Generator
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Picture, depth (H, W) uint16 in millimetres and mask (H, W) uint8; each object a flat picture of itself."""
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH] + 0.5
    rays = np.stack([(columns - _WIDTH / 2) / _FOCAL, (rows - _HEIGHT / 2) / _FOCAL, np.ones_like(rows)], 2)
    falls = rays @ pose[2, :3]  # how much a ray sinks on its way
    metres = np.where(falls < -1e-3, -pose[2, 3] / np.minimum(falls, -1e-3), 0.0)
    on_floor = (metres > 0) & (metres < 12)
    picture = np.where(on_floor[:, :, None], _GROUND, _WALL).astype(np.uint8)
    depth = np.where(on_floor, metres * 1000, 0).astype(np.uint16)
    mask = np.zeros((_HEIGHT, _WIDTH), np.uint8)
    inverse = np.linalg.inv(pose)
    seen = []
    for each in placed:
        low, high = each.points.min(0), each.points.max(0)
        middle = inverse[:3, :3] @ ((low + high) / 2) + inverse[:3, 3]
        if middle[2] > 0.8:
            seen.append((middle, float((high - low).max()), each))
    for middle, size, each in sorted(seen, key=lambda one: -one[0][2]):  # the farthest first
        view = each.held.pictures[random.integers(len(each.held.pictures))]
        _paste(picture, depth, mask, view, middle, size, each.id)
    return Image.fromarray(picture), depth, mask


def _paste(
    picture: np.ndarray,
    depth: np.ndarray,
    mask: np.ndarray,
    view: Image.Image,
    middle: np.ndarray,
    size: float,
    own: int,
) -> None:
    shape = _shape(view)
    rows, columns = np.nonzero(shape)
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    scale = _FOCAL * size / middle[2] / max(box[2] - box[0], box[3] - box[1])
    sides = [max(2, round(scale * (box[i + 2] - box[i]))) for i in (0, 1)]
    if max(sides) > 2 * _WIDTH:
        return
    shown = np.asarray(view.crop(box).resize(sides, Image.Resampling.BICUBIC))
    solid = np.asarray(Image.fromarray(shape).crop(box).resize(sides, Image.Resampling.NEAREST))
    left, top = (round(_FOCAL * middle[i] / middle[2] + (_WIDTH, _HEIGHT)[i] / 2 - sides[i] / 2) for i in (0, 1))
    there = np.argwhere(solid) + np.array([top, left])
    inside = ((there >= 0) & (there < (_HEIGHT, _WIDTH))).all(1)
    to, origin = tuple(there[inside].T), tuple(np.argwhere(solid)[inside].T)
    picture[to] = shown[origin]
    depth[to] = round(1000 * middle[2])
    mask[to] = own


def _write_crops(folder: Path, pictures: Sequence[Case], count: int, random: np.random.Generator) -> dict[int, str]:
    """One picture for each of some labels, numbered from 1 in the order of names; the label of each number."""
    folder.mkdir()
    labels = sorted({case.label for case in pictures})
    chosen = sorted(random.permutation(len(labels))[:count].tolist())
    for own, place in enumerate(chosen, start=1):
        cases = [case for case in pictures if case.label == labels[place]]
        source = cases[random.integers(len(cases))].source
        target = folder / f"{own:03d}{Path(source).suffix}"
        shutil.copyfile(source, target)
    return {own: labels[place] for own, place in enumerate(chosen, start=1)}


def run(folder: Path | None, rooms: int, objects: int, seed: int, host: str) -> str:
    """Write rooms where there are none yet, then score a shipped host on them: a table for each way to compare.

    Args:
        folder: with rooms, or a new one for them; None: a temporary one.
        rooms: as `write_rooms` takes them, with `objects` and `seed`.
        host: any that embeds; every lens that ships is plugged.
    """
    loaded = load_host(host)
    for sense in ("point-cloud", "audio", "depth", "tactile", "eeg"):
        loaded.plug(f"pocket-{sense}")
    with TemporaryDirectory(prefix="lens-plugins-") as temporary:
        where = folder or Path(temporary) / "rooms"
        if not (where / "queries.jsonl").exists():
            write_rooms(where, rooms, objects, seed)
        work = embed_scenes(loaded, where)
    return "\n\n".join(work.score(combine).text() for combine in COMBINATIONS)
