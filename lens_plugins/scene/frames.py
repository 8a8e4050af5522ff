"""Posed RGB-D frames in ScanNet's exported layout: what is seen of each instance, as crops and as points.

A folder with ``color/N.jpg``, ``depth/N.png`` (16 bit, millimetres, 0: nothing measured), ``pose/N.txt`` (4 x 4, camera
to world, metres, x right, y down, z forward), ``intrinsic/intrinsic_color.txt`` and ``intrinsic_depth.txt`` (3 x 3 or
4 x 4, pixels) and, where there are masks, ``instance-filt/N.png`` or ``instance/N.png`` (ids, 0: none). Pictures, depth
and masks may differ in size; colour and depth are taken to look from one place, as ScanNet's exporter writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files.opening import brief, read_bytes
from ..inputs.pictures import open_picture
from ..inputs.rows import parse_rows
from .data import MAX_INSTANCES, Crop, listed

__all__ = ["Frame", "Frames", "Seen", "Sightings", "find_frames", "is_frames_folder"]

_MASKS = ("instance-filt", "instance")
_PICTURES = (".jpg", ".jpeg", ".png")
_MARGIN = 0.1  # of the box around what is seen, on each side of a crop
_LEAST_SIDE = 16  # pixels of a crop's longer side: less shows nothing
_TOLERANCE = 0.08  # metres between a point and the depth measured there, for the point to count as seen
_GRID = 0.01  # metres; points of several frames nearer than that are one
_MAX_METRES = 20.0  # depth sensors for rooms measure less
_MOST_SEEN = 20_000  # points of an instance that are looked for in a frame


@dataclass(frozen=True)
class Frame:
    """The files of one moment; `pose` (4, 4) leads from the camera to the world."""

    color: Path
    depth: Path
    mask: Path | None
    pose: np.ndarray


@dataclass(frozen=True)
class Frames:
    """Frames that can be used, the two cameras (fx, fy, cx, cy), and how many frames there were and had no pose."""

    frames: Sequence[Frame]
    color: np.ndarray
    depth: np.ndarray
    total: int
    lost: int


def is_frames_folder(folder: Path) -> bool:
    """Whether a folder is laid out as this module reads it."""
    return (folder / "color").is_dir() and (folder / "pose").is_dir()


def find_frames(folder: Path, most: int) -> Frames:
    """At most `most` frames, spread evenly over the folder; those whose pose was lost are left out.

    Raises:
        InputError: a file of a frame is absent, a pose or camera is not one, or no frame can be used.
    """
    names = sorted(listed(folder / "color"), key=lambda path: (len(path.stem), path.stem))
    pictures = [path for path in names if path.suffix.lower() in _PICTURES]
    masks = next((folder / name for name in _MASKS if (folder / name).is_dir()), None)
    step = max(1.0, len(pictures) / most)
    chosen = [pictures[int(i * step)] for i in range(min(most, len(pictures)))]
    frames, lost = [], 0
    for picture in chosen:
        pose = _matrix(folder / "pose" / f"{picture.stem}.txt", (16,))
        if not np.isfinite(pose).all():  # how ScanNet marks a lost camera
            lost += 1
            continue
        mask = masks / f"{picture.stem}.png" if masks else None
        frames.append(Frame(picture, folder / "depth" / f"{picture.stem}.png", mask, _rigid(pose, folder, picture)))
    if not frames:
        raise InputError(
            f"{brief(folder)} has {len(pictures)} pictures in color, {lost} of {len(chosen)} poses lost; at least 1 "
            "frame with a pose is needed."
        )
    color, depth = (_camera(folder / "intrinsic" / f"intrinsic_{name}.txt") for name in ("color", "depth"))
    return Frames(frames, color, depth, len(pictures), lost)


def _matrix(path: Path, sizes: Sequence[int]) -> np.ndarray:  # -> (n,) numbers of a text file
    values = parse_rows(read_bytes(path, 2**16), path).values
    if len(values) not in sizes:
        raise InputError(f"{brief(path)} has {len(values)} numbers; a matrix has {' or '.join(map(str, sizes))}.")
    return values


def _rigid(values: np.ndarray, folder: Path, picture: Path) -> np.ndarray:
    pose = values.reshape(4, 4)
    turn = pose[:3, :3] @ pose[:3, :3].T
    if not np.allclose(turn, np.eye(3), atol=0.02) or not np.allclose(pose[3], (0, 0, 0, 1), atol=1e-4):
        raise InputError(
            f"{brief(folder / 'pose' / picture.stem)}.txt is no pose: its rotation times its transpose is "
            f"{np.abs(turn - np.eye(3)).max():.3g} off the identity; at most 0.02."
        )
    return pose


def _camera(path: Path) -> np.ndarray:  # -> (fx, fy, cx, cy)
    values = _matrix(path, (9, 16))
    matrix = values.reshape(3, 3) if len(values) == 9 else values.reshape(4, 4)
    found = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])
    if not (np.isfinite(found).all() and found[0] > 0 and found[1] > 0):
        raise InputError(f"{brief(path)} has the focal lengths {found[0]:g} and {found[1]:g}; both must be above 0.")
    return found


@dataclass(eq=False)
class Seen:
    """What has been seen of one instance so far."""

    crops: list[Crop] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)


class Sightings:
    """Goes through frames one by one and keeps of each instance its best crops and, by masks, its points.

    Args:
        frames: of `find_frames`.
        most: crops of each instance; the ones that show most of it.
    """

    def __init__(self, frames: Frames, most: int) -> None:
        self._frames, self._most = frames, most

    def by_masks(self) -> dict[int, Seen]:
        """Crops and points of the instances that the masks name.

        Raises:
            InputError: a picture, mask or depth map that cannot be read, or over `MAX_INSTANCES` ids.
        """
        found: dict[int, Seen] = {}
        for frame, picture, depth in self._open():
            mask = self._mask(frame)
            scale = np.tile(np.array(picture.size) / mask.shape[::-1], 2)
            for own, places in _by_id(mask[mask > 0], np.argwhere(mask > 0)[:, ::-1]):
                box = np.concatenate([places.min(0), places.max(0) + 1])
                self._offer(found.setdefault(own, Seen()), picture, box * scale, len(places), frame)
            self._add_points(found, frame, picture, depth, mask)
            if len(found) > MAX_INSTANCES:
                raise InputError(f"{brief(frame.color)} brings {len(found)} instance ids; at most {MAX_INSTANCES}.")
        return {own: self._merged(seen) for own, seen in found.items()}

    def of_points(self, instances: Mapping[int, np.ndarray]) -> dict[int, Seen]:
        """Crops around the points of instances (P, 3) that are seen: inside the picture, nothing measured before them.

        Raises:
            InputError: a picture or depth map that cannot be read.
        """
        thin = {own: points[:: max(1, len(points) // _MOST_SEEN)] for own, points in instances.items()}
        found = {own: Seen() for own in instances}
        for frame, picture, depth in self._open():
            inverse = np.linalg.inv(frame.pose)
            for own, points in thin.items():
                places = self._visible(points @ inverse[:3, :3].T + inverse[:3, 3], depth, picture.size)
                if len(places) >= 2:
                    box = np.concatenate([places.min(0), places.max(0)])
                    self._offer(found[own], picture, box, len(places), frame)
        return found

    def _open(self) -> Iterator[tuple[Frame, Image.Image, np.ndarray]]:
        for frame in self._frames.frames:
            picture = open_picture(frame.color, str(frame.color)).convert("RGB")
            yield frame, picture, _whole_numbers(frame.depth, "depth map") / 1000  # millimetres

    def _mask(self, frame: Frame) -> np.ndarray:
        if frame.mask is None:
            raise InputError(
                f"{brief(frame.color.parent.parent)} has neither masks (instance-filt/{frame.color.stem}.png) nor a "
                "mesh with instance ids; give one of them."
            )
        return _whole_numbers(frame.mask, "mask")

    def _visible(self, points: np.ndarray, depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Where points (P, 3) of the camera's axes are seen in the picture: (S, 2) pixels."""
        ahead = points[points[:, 2] > 0.05]
        places = _project(ahead, self._frames.color)
        inside = ((places >= 0) & (places < size)).all(1)
        ahead, places = ahead[inside], places[inside]
        measured = _project(ahead, self._frames.depth).astype(np.int64)  # (S, 2) x, y
        known = ((measured >= 0) & (measured < depth.shape[::-1])).all(1)
        ahead, places, measured = ahead[known], places[known], measured[known]
        there = depth[measured[:, 1], measured[:, 0]]
        return places[(there > 0) & (ahead[:, 2] <= there + _TOLERANCE)]

    def _offer(self, seen: Seen, picture: Image.Image, box: np.ndarray, count: int, frame: Frame) -> None:
        """Keep a crop where it is among the best so far; the earlier one wins a tie."""
        if len(seen.crops) == self._most and count <= seen.crops[-1].visible:
            return
        margin = _MARGIN * (box[2:] - box[:2])
        low = np.floor(np.maximum(box[:2] - margin, 0)).astype(int)
        high = np.ceil(np.minimum(box[2:] + margin, picture.size)).astype(int)
        if (high - low).max() < _LEAST_SIDE or (high - low).min() < 2:
            return
        crop = picture.crop((*low.tolist(), *high.tolist()))
        seen.crops.append(Crop(crop, count, str(frame.color)))
        seen.crops.sort(key=lambda each: -each.visible)
        del seen.crops[self._most :]

    def _add_points(
        self, found: dict[int, Seen], frame: Frame, picture: Image.Image, depth: np.ndarray, mask: np.ndarray
    ) -> None:
        """Every measured pixel as a point of the world, with the id and the colour that stand at its place."""
        rows, columns = np.nonzero((depth > 0) & (depth < _MAX_METRES))
        far, (fx, fy, cx, cy) = depth[rows, columns], self._frames.depth
        points = np.stack([(columns + 0.5 - cx) / fx * far, (rows + 0.5 - cy) / fy * far, far], 1)  # (M, 3)
        shares = _project(points, self._frames.color) / picture.size  # 0 to 1 over the picture
        inside = ((shares >= 0) & (shares < 1)).all(1)
        points, shares = points[inside], shares[inside]
        ids = mask[tuple((shares * mask.shape[::-1]).astype(np.int64)[:, ::-1].T)]
        shades = np.asarray(picture)[tuple((shares * picture.size).astype(np.int64)[:, ::-1].T)]
        world = points @ frame.pose[:3, :3].T + frame.pose[:3, 3]
        for own, mine in _by_id(ids[ids > 0], np.flatnonzero(ids > 0)):
            seen = found[own]
            seen.points.append(world[mine])
            seen.colours.append(shades[mine])
            if sum(map(len, seen.points)) > 50 * _MOST_SEEN:  # bounds the memory of long recordings
                self._merged(seen)

    def _merged(self, seen: Seen) -> Seen:
        """One point for each cell of a grid."""
        if seen.points:
            points, colours = np.concatenate(seen.points), np.concatenate(seen.colours)
            _, first = np.unique(np.floor(points / _GRID).astype(np.int64), axis=0, return_index=True)
            seen.points, seen.colours = [points[np.sort(first)]], [colours[np.sort(first)]]
        return seen


def _by_id(ids: np.ndarray, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The values (M, ...) that belong to each of the ids (M,), in one pass however many ids there are.

    Raises:
        InputError: over `MAX_INSTANCES` ids.
    """
    order = np.argsort(ids, kind="stable")
    names, starts = np.unique(ids[order], return_index=True)
    if len(names) > MAX_INSTANCES:
        raise InputError(f"A mask has {len(names)} different instance ids; at most {MAX_INSTANCES} are read.")
    if len(names):
        yield from zip(names.tolist(), np.split(values[order], starts[1:]))


def _project(points: np.ndarray, camera: np.ndarray) -> np.ndarray:  # (P, 3) -> (P, 2) pixels
    return points[:, :2] / points[:, 2:] * camera[:2] + camera[2:]


def _whole_numbers(path: Path, what: str) -> np.ndarray:
    """A picture of one channel, 8 or 16 bit: (H, W) int64."""
    image = open_picture(path, str(path))
    if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise InputError(f"{brief(path)} has pixels of mode {image.mode}; a {what} has one channel of 8 or 16 bits.")
    return np.asarray(image).astype(np.int64)
