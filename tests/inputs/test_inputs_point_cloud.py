import numpy as np
import pytest
import torch
import trimesh
from mesh_files import CASES
from PIL import Image

import lens_plugins as lp
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import PointCloudSettings, point_cloud, read
from lens_plugins.inputs.sampling import farthest_point_sample


def cloud(points: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(points, 3)).astype(np.float32)


def by_hand(points: np.ndarray) -> np.ndarray:
    centred = points - points.mean(0)
    return centred / np.sqrt((centred**2).sum(1)).max()


def ordered(points) -> np.ndarray:
    points = np.asarray(points)
    return points[np.lexsort(points.T)]


def test_centred_on_the_mean_and_divided_by_the_largest_distance():
    found = read(np.array([[0.0, 0, 0], [2, 0, 0], [4, 6, 0]]), "point_cloud").tensor
    # mean (2, 2, 0); offsets (−2, −2), (0, −2), (2, 4); largest √20
    expected = np.array([[-2, -2, 0], [0, -2, 0], [2, 4, 0]]) / np.sqrt(20)
    assert ordered(found) == pytest.approx(ordered(expected.astype(np.float32)), abs=1e-6)


def test_a_small_cloud_keeps_its_points_in_a_random_seeded_order():
    points = cloud(500)
    found = read(points, "point_cloud").tensor
    assert ordered(found) == pytest.approx(ordered(by_hand(points)), abs=1e-6)
    assert np.abs(found.numpy() - by_hand(points)).max() > 0.1
    assert torch.equal(found, read(points, "point_cloud").tensor)
    assert not torch.equal(found, read(points, "point_cloud", PointCloudSettings(seed=1)).tensor)


def test_a_big_cloud_is_thinned_out_to_8192_by_farthest_points():
    points = cloud(9000)
    chosen = farthest_point_sample(torch.from_numpy(points)[None], 8192)[0].numpy()
    assert read(points, "point_cloud").tensor.numpy() == pytest.approx(by_hand(points[chosen]), abs=1e-5)


def test_exactly_8192_points_are_all_kept():
    points = cloud(8192)
    assert ordered(read(points, "point_cloud").tensor) == pytest.approx(ordered(by_hand(points)), abs=1e-5)


def test_z_up_is_turned_to_y_up_and_not_mirrored():
    points = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]])
    found = read(points, "point_cloud", PointCloudSettings(up="z")).tensor.numpy() * np.sqrt(3)
    expected = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0], [-1, -1, 1]])  # what pointed along z points along y
    assert ordered(found) == pytest.approx(ordered(expected), abs=1e-6)
    assert found.shape == points.shape


def test_colours_change_nothing():
    points = cloud(100)
    coloured = np.concatenate([points, np.full((100, 3), 255, np.float32)], 1)
    assert torch.equal(read(coloured, "point_cloud").tensor, read(points, "point_cloud").tensor)


@pytest.mark.parametrize(("scale", "shift"), [(1e-30, 0.0), (1e30, 0.0), (1.0, 4.5e6)])
def test_tiny_huge_and_far_clouds_keep_their_shape(scale, shift):
    points = cloud(300).astype(np.float64)
    expected = read(points, "point_cloud").tensor
    assert read(points * scale + shift, "point_cloud").tensor.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_million_points_cost_no_more_than_a_hundred_thousand(monkeypatch):
    seen = []

    def sample(points, n):
        seen.append(tuple(points.shape))
        return torch.arange(n)[None]

    monkeypatch.setattr(point_cloud, "farthest_point_sample", sample)
    assert tuple(read(cloud(1_000_000), "point_cloud").tensor.shape) == (8192, 3)
    assert seen == [(1, 100_000, 3)]


def test_candidates_bound_what_farthest_points_are_taken_from():
    points = cloud(1000)
    found = read(points, "point_cloud", PointCloudSettings(max_points=100, candidates=100)).tensor
    kept = np.sort(np.random.default_rng(0).choice(1000, 100, replace=False))
    assert ordered(found) == pytest.approx(ordered(by_hand(points[kept])), abs=1e-5)


def test_a_mesh_is_sampled_at_10000_places_then_thinned_out(tmp_path):
    trimesh.creation.box((2, 2, 2)).export(tmp_path / "box.stl")
    found = lp.read(tmp_path / "box.stl")
    assert (found.modality, tuple(found.tensor.shape)) == ("point_cloud", (8192, 3))
    assert torch.equal(found.tensor, lp.read(tmp_path / "box.stl").tensor)
    surface = found.tensor.abs().amax(1)  # on a cube the largest coordinate is its half side, 1/√3 of the corner's
    assert surface.median() == pytest.approx(1 / np.sqrt(3), abs=0.02)
    assert lp.read(tmp_path / "box.stl", settings=PointCloudSettings(mesh_points=500)).tensor.shape == (500, 3)


def test_three_rows_of_three_are_three_points():
    points = np.array([[0.0, 0, 0], [2, 0, 0], [4, 6, 0]])
    assert ordered(read(points, "point_cloud").tensor) == pytest.approx(ordered(by_hand(points)), abs=1e-6)


@pytest.mark.parametrize("name", ["npz_point_e_coords.npz", "npz_coord_color.npz"])
def test_arrays_are_found_by_the_names_that_others_give_them(name):
    with np.load(CASES / name) as file:
        points = file["coords" if "coords" in file else "coord"]
    assert ordered(lp.read(CASES / name).tensor) == pytest.approx(ordered(by_hand(points)), abs=1e-6)


def test_a_transposed_file_is_refused():
    with pytest.raises(InputError, match=r"npy_3x40_transposed\.npy has shape \(3, 40\), 40 columns for 3 points"):
        lp.read(CASES / "npy_3x40_transposed.npy")


@pytest.mark.parametrize("suffix", [".xyz", ".npy", ".npz", ".ply", ".pcd"])
def test_every_cloud_format_gives_the_same_points(tmp_path, suffix):
    points, path = cloud(50), tmp_path / f"a{suffix}"
    if suffix == ".xyz":
        np.savetxt(path, points)
    elif suffix == ".npy":
        np.save(path, points)
    elif suffix == ".npz":
        np.savez(path, xyz=points, colours=points * 0)
    elif suffix == ".ply":
        trimesh.PointCloud(points).export(path)
    else:
        header = "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 50\nHEIGHT 1\nPOINTS 50\nDATA binary\n"
        path.write_bytes(header.encode() + points.astype("<f4").tobytes())
    assert lp.read(path).tensor.numpy() == pytest.approx(read(points, "point_cloud").tensor.numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (np.zeros((1, 3)), r"all its points \(1\) at one place; it needs at least 2"),
        (np.ones((9, 3)), r"\(9\) at one place"),
        (np.zeros((5, 2)), r"shape \(5, 2\)"),
        (np.zeros((3, 8192)), r"shape \(3, 8192\), 8192 columns for 3 points; .* transpose it"),
        (np.zeros((3, 40)), r"shape \(3, 40\), 40 columns for 3 points; .* transpose it"),
        (np.zeros((6, 40)), r"shape \(6, 40\), 40 columns for 6 points"),
        (np.zeros((3, 4)), r"shape \(3, 4\), 4 columns for 3 points"),
        (np.zeros((100, 65)), r"shape \(100, 65\); a point cloud is \(points, 3\), or up to 64 columns"),
        (Image.new("L", (4, 4)), "is a picture; a point cloud is an array of"),
        (np.zeros((2, 5, 3)), r"shape \(2, 5, 3\)"),
    ],
)
def test_refusals(points, said):
    with pytest.raises(InputError, match=said):
        read(points, "point_cloud")


@pytest.mark.parity
def test_the_sample_clouds(samples):
    for file, points in (("pc_piano_0286.npy", 8192), ("pc_person_0102.npy", 8192), ("dog.glb", 8192)):
        tensor = lp.read(samples / file).tensor
        assert tuple(tensor.shape) == (points, 3)
        assert tensor.mean(0).abs().max() < 1e-5
        assert tensor.norm(dim=1).max().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("field", "bad", "said"),
    [
        ("max_points", 1, "max_points is 1"),
        ("mesh_points", 0, "mesh_points is 0"),
        ("candidates", 8191, "candidates is 8191; it must be at least max_points, 8192"),
        ("seed", -1, "seed is -1"),
        ("up", "x", "up is 'x'; it must be 'y' or 'z'"),
    ],
)
def test_settings_refuse(field, bad, said):
    with pytest.raises(ConfigError, match=said):
        PointCloudSettings(**{field: bad})
