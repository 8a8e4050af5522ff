"""What a visitor has added: files with their modality, read by the server's readers, and how each is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...catalog import find_modality, modalities
from ...errors import InputError
from ...inputs.names import modality_of
from ..calls import read_part
from ..uploads import Upload

if TYPE_CHECKING:
    from PIL import Image

    from ...inputs import ModalityInput
    from ..engine import Engine
    from ..settings import ServeSettings

__all__ = ["EXAMPLES", "Item", "Reader", "as_mesh", "spoken"]

_FOLDER = Path(__file__).parent / "examples"
EXAMPLES: dict[str, tuple[Path, str | None]] = {
    "Point cloud": (_FOLDER / "chair.ply", None),
    "Sound": (_FOLDER / "audio-rooster.ogg", None),
    "Depth map": (_FOLDER / "depth-chair.png", "depth"),
    "Touch": (_FOLDER / "tactile-brick.webp", "tactile"),
    "EEG": (_FOLDER / "eeg-car.npy", "eeg"),
    "Picture": (_FOLDER / "lamp.jpg", None),
}
"""Files that can be clicked: what each is called, and its modality where its ending does not tell."""
_MOST_SHOWN = 1500  # points of a cloud on the page
_ARRAYS = ("point_cloud", "depth", "eeg", "audio")  # what a .npy may be


def spoken(modality: str) -> str:
    """A modality as the page calls it."""
    names = {"point_cloud": "point cloud", "audio": "sound", "tactile": "touch", "eeg": "EEG", "image": "picture"}
    return names.get(modality, modality)


@dataclass(frozen=True)
class Item:
    """One file of a visitor.

    Args:
        name: as the visitor calls it.
        content: its bytes.
        modality: what it is taken for.
        given: as the first host that reads it does; what is shown.
    """

    name: str
    content: bytes
    modality: str
    given: ModalityInput

    @property
    def choices(self) -> list[str]:
        """What it may be taken for: pictures may be depth maps or touch, arrays anything."""
        suffix = Path(self.name).suffix.lower()
        if suffix in (".npy", ".npz"):
            return list(_ARRAYS)
        own = [name for name, row in modalities().items() if suffix in (*row.suffixes, *row.also)]
        return own if self.modality in own else [*own, self.modality]


class Reader:
    """Reads files for the page, with the limits of the server.

    Args:
        engine: whose reader threads and lenses read.
        settings: whose limits hold.
    """

    def __init__(self, engine: Engine, settings: ServeSettings) -> None:
        self._engine, self._settings = engine, settings

    def add(self, tray: Sequence[Item], name: str, content: bytes, modality: str | None = None) -> list[Item]:
        """The tray with one more item.

        Raises:
            LensPluginsError: it cannot be read, or there are too many.
        """
        if len(tray) >= self._settings.max_parts:
            raise InputError(f"There are {len(tray)} inputs already, and at most {self._settings.max_parts} at once.")
        found = self._read(Upload(content, name, modality or self._guess(name)), None)
        return [*tray, Item(name, content, found.modality, found)]

    def change(self, tray: Sequence[Item], place: int, modality: str) -> list[Item]:
        """The tray with one item taken for something else."""
        item = tray[place]
        given = self._read(Upload(item.content, item.name, modality), None)
        return [*tray[:place], replace(item, modality=modality, given=given), *tray[place + 1 :]]

    def inputs(self, tray: Sequence[Item], model: str) -> list[ModalityInput]:
        """What a host is given, read as its own lenses want it."""
        return [self._read(Upload(item.content, item.name, item.modality), model) for item in tray]

    def _guess(self, name: str) -> str | None:
        known = modality_of(f"./{Path(name).name}")
        return "point_cloud" if known is None and Path(name).suffix.lower() in (".npy", ".npz") else known

    def _read(self, upload: Upload, model: str | None) -> ModalityInput:
        host = self._engine.host(model)
        read = partial(read_part, host, self._settings, None, None)
        return self._engine.submit_read(read, upload).result()[0]


def drawn(item: Item) -> Image.Image:
    """What the model sees of an item, as a picture."""
    from ...inputs.preview import preview

    return preview(item.given)


def as_mesh(given: ModalityInput) -> bytes:
    """A cloud (P, 3) as a mesh of small octahedra, coloured by height, which every viewer shows."""
    import trimesh

    points = given.clips[0][:, :3].detach().cpu().numpy()
    points = points[:: max(1, len(points) // _MOST_SHOWN)]
    size = 0.012 * float(np.ptp(points, axis=0).max() or 1.0)
    corners = size * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    vertices = (points[:, None] + corners).reshape(-1, 3)
    every = (faces + 6 * np.arange(len(points))[:, None, None]).reshape(-1, 3)
    height = points[:, 1] - points[:, 1].min()
    share = (height / (height.max() or 1.0))[:, None]
    low, high = np.array([42, 92, 170]), np.array([236, 170, 72])
    colours = np.repeat((low + share * (high - low)).astype(np.uint8), 6, axis=0)
    mesh = trimesh.Trimesh(vertices, every, vertex_colors=colours, process=False)
    return bytes(mesh.export(file_type="ply"))


def described(item: Item) -> str:
    """What an item is, and how much of it the model reads."""
    shape = " × ".join(map(str, item.given.tensor.shape))
    return f"{item.name} · {find_modality(item.modality).noun} · read as {shape}"


def as_state(value: Any) -> list[Item]:
    """A tray out of what a session holds."""
    return [one for one in value or [] if isinstance(one, Item)]
