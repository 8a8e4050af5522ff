"""Small meshes written by hand, and what can be measured on triangles."""

from pathlib import Path

import numpy as np
import trimesh

from lens_plugins.inputs.meshes import read_mesh

CASES = Path(__file__).parents[1] / "data" / "formats"
VERTICES = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], np.float64)  # a box of area 22
QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
TRIANGLES = QUADS[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def area(triangles: np.ndarray) -> float:  # (F, 3, 3)
    sides = triangles[:, 1:] - triangles[:, :1]
    return float(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2)


def read(folder: Path, name: str, content: bytes | str) -> tuple[np.ndarray, np.ndarray]:
    """What `read_mesh` makes of a file with this name and content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_mesh(path)


def assert_box(triangles: np.ndarray, shift: float = 0.0) -> None:
    """Whether these are the twelve triangles of the box, moved along x."""
    corners = triangles.reshape(-1, 3) - [shift, 0, 0]
    assert len(triangles) == 12
    assert corners.min(0).tolist() == [0, 0, 0]
    assert np.abs(corners.max(0) - [1, 2, 3]).max() < 1e-6
    assert abs(area(triangles) - 22) < 1e-5


def random_mesh(seed: int) -> trimesh.Trimesh:
    """Some triangles between some vertices, all of them used, coordinates that float32 holds."""
    random = np.random.default_rng(seed)
    count = int(random.integers(3, 60))
    vertices = random.normal(scale=10.0 ** random.integers(-3, 4), size=(count, 3)).astype(np.float32)
    faces = np.stack([random.permutation(count)[:3] for _ in range(int(random.integers(1, 90)))])
    return trimesh.Trimesh(vertices, faces, process=False)


def random_polygon(seed: int) -> np.ndarray:
    """The outline of a simple polygon with many concave corners in a tilted plane: (n, 3)."""
    random = np.random.default_rng(seed)
    count = int(random.integers(4, 40))
    angles = (np.arange(count) + random.uniform(0, 0.9, count)) / count * 2 * np.pi
    radii = random.uniform(0.1, 1, count)
    flat = np.stack([np.cos(angles) * radii, np.sin(angles) * radii, np.zeros(count)], 1)
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return flat @ turn + random.normal(size=3)


def outline_area(outline: np.ndarray) -> float:  # (n, 3), in one plane
    return float(np.linalg.norm(np.cross(outline, np.roll(outline, -1, 0)).sum(0)) / 2)
