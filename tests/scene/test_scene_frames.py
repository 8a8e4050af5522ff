import numpy as np
import pytest
from PIL import Image
from scans_made import write_frames

from lens_plugins.errors import InputError
from lens_plugins.scene import frames as frames_module
from lens_plugins.scene.frames import Sightings, find_frames, is_frames_folder

EYE = np.eye(4)
RED, BLUE = (220, 20, 20), (20, 20, 220)


def moved(x: float) -> np.ndarray:
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


def test_masks_give_crops_and_points(tmp_path):
    write_frames(tmp_path, [(EYE, {3: (10, 8, 30, 40, 2.0, RED), 7: (40, 20, 60, 44, 3.0, BLUE)})])
    assert is_frames_folder(tmp_path)
    seen = Sightings(find_frames(tmp_path, 10), 5).by_masks()
    assert sorted(seen) == [3, 7]
    crop = seen[3].crops[0]
    assert crop.visible == 20 * 32  # pixels of the mask
    assert crop.picture.size == (24, 40)  # its box and a tenth on each side: 8 to 32, 4 to 44 (0.8 is rounded outwards)
    assert np.abs(np.asarray(crop.picture)[20, 12].astype(int) - RED).max() <= 6
    points = seen[3].points[0]
    # by hand: pixels 10 to 30 of 64 with a focal length of 40 at 2 metres
    assert points[:, 2].tolist() == [2.0] * len(points)
    assert points[:, 0].min() == pytest.approx((11 - 32) / 40 * 2)
    assert points[:, 0].max() == pytest.approx((29 - 32) / 40 * 2)
    assert points[:, 1].min() == pytest.approx((9 - 24) / 40 * 2)
    assert points[:, 1].max() == pytest.approx((39 - 24) / 40 * 2)
    assert np.abs(seen[7].colours[0].astype(int) - BLUE).max() <= 6


def test_poses_bring_points_into_the_world(tmp_path):
    turned = np.array([[0, 0, 1, 5], [-1, 0, 0, 6], [0, -1, 0, 7], [0, 0, 0, 1]], float)  # looks along x, z up
    write_frames(tmp_path, [(turned, {1: (28, 20, 36, 28, 2.0, RED)})])
    points = Sightings(find_frames(tmp_path, 1), 1).by_masks()[1].points[0]
    assert np.allclose(points.mean(0), [7, 6, 7], atol=0.06)
    assert points[:, 0].tolist() == [7.0] * len(points)


def test_the_crops_that_show_most_are_kept(tmp_path):
    sizes = [20, 32, 24, 40, 28]
    write_frames(tmp_path, [(EYE, {1: (4, 4, 4 + size, 36, 2.0, RED)}) for size in sizes])
    seen = Sightings(find_frames(tmp_path, 10), 3).by_masks()[1]
    assert [crop.visible for crop in seen.crops] == [40 * 32, 32 * 32, 28 * 32]
    assert [crop.frame.rpartition("/")[2] for crop in seen.crops] == ["3.jpg", "1.jpg", "4.jpg"]


def test_points_of_several_frames_are_one_cloud_without_doubles(tmp_path):
    thing = {1: (10, 10, 40, 40, 2.0, RED)}
    once = Sightings(find_frames(write_frames(tmp_path / "a", [(EYE, thing)]), 9), 5).by_masks()[1].points[0]
    twice = Sightings(find_frames(write_frames(tmp_path / "b", [(EYE, thing)] * 2), 9), 5).by_masks()[1].points[0]
    assert np.allclose(once, twice)


def test_crops_around_points_that_are_seen(tmp_path):
    # 1 stands where 2 metres are measured; 2 stands behind it; 3 is out of the picture; 4 is behind the camera
    write_frames(tmp_path, [(EYE, {9: (0, 0, 64, 48, 2.0, RED)})])
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.4, 0.4, 9)), 2).reshape(-1, 2)
    at = {own: np.c_[grid, np.full(len(grid), z)] for own, z in ((1, 2.0), (2, 2.5), (4, -2.0))}
    at[3] = at[1] + (50, 0, 0)
    seen = Sightings(find_frames(tmp_path, 1), 5).of_points(at)
    assert {own: len(each.crops) for own, each in seen.items()} == {1: 1, 2: 0, 3: 0, 4: 0}
    assert seen[1].crops[0].visible == 81
    # by hand: x from 32 - 10 to 32 + 10 pixels, y from 24 - 8 to 24 + 8, a tenth more on each side
    assert seen[1].crops[0].picture.size == (24, 20)


def test_lost_poses_are_left_out_and_counted(tmp_path):
    thing = {1: (10, 10, 40, 40, 2.0, RED)}
    write_frames(tmp_path, [(EYE, thing), (np.full((4, 4), -np.inf), thing), (moved(1), thing)])
    found = find_frames(tmp_path, 10)
    assert (len(found.frames), found.lost, found.total) == (2, 1, 3)
    write_frames(tmp_path / "b", [(np.full((4, 4), -np.inf), thing)])
    with pytest.raises(InputError, match="has 1 pictures in color, 1 of 1 poses lost; at least 1"):
        find_frames(tmp_path / "b", 10)


def test_frames_are_spread_in_the_order_of_their_numbers(tmp_path):
    write_frames(tmp_path, [(EYE, {1: (10, 10, 40, 40, 2.0, RED)})] * 12)
    assert [frame.color.stem for frame in find_frames(tmp_path, 4).frames] == ["0", "3", "6", "9"]
    assert [frame.color.stem for frame in find_frames(tmp_path, 100).frames] == [str(n) for n in range(12)]


def overwrite(folder, name, text):
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pose/0.txt", "1 2 3", "0.txt has 3 numbers; a matrix has 16"),
        ("pose/0.txt", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "is no pose: its rotation times its transpose is 3 off"),
        ("pose/0.txt", "one", "has 'one' in line 1, where a number belongs"),
        ("intrinsic/intrinsic_depth.txt", "1 2", "has 2 numbers; a matrix has 9 or 16"),
        ("intrinsic/intrinsic_color.txt", "0 0 1 0 -5 1 0 0 1", "has the focal lengths 0 and -5; both must be above 0"),
    ],
)
def test_matrices_that_are_none(tmp_path, name, text, said):
    write_frames(tmp_path, [(EYE, {1: (10, 10, 40, 40, 2.0, RED)})])
    overwrite(tmp_path, name, text)
    with pytest.raises(InputError, match=said):
        find_frames(tmp_path, 10)


@pytest.mark.parametrize("part", ["depth", "instance-filt", "color"])
def test_a_file_of_a_frame_is_absent_or_damaged(tmp_path, part):
    write_frames(tmp_path, [(EYE, {1: (10, 10, 40, 40, 2.0, RED)})])
    path = next((tmp_path / part).iterdir())
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=part):
        Sightings(find_frames(tmp_path, 10), 5).by_masks()
    if part != "color":
        path.unlink()
        with pytest.raises(InputError, match=f"There is no file .*{part}"):
            Sightings(find_frames(tmp_path, 10), 5).by_masks()


def test_masks_in_colour_are_none(tmp_path):
    write_frames(tmp_path, [(EYE, {1: (10, 10, 40, 40, 2.0, RED)})])
    Image.new("RGB", (64, 48)).save(tmp_path / "instance-filt" / "0.png")
    with pytest.raises(InputError, match="has pixels of mode RGB; a mask has one channel of 8 or 16 bits"):
        Sightings(find_frames(tmp_path, 10), 5).by_masks()


def test_masks_of_too_many_ids(tmp_path, monkeypatch):
    monkeypatch.setattr(frames_module, "MAX_INSTANCES", 1)
    write_frames(tmp_path, [(EYE, {1: (0, 0, 20, 20, 2.0, RED), 2: (30, 0, 60, 20, 2.0, RED)})])
    with pytest.raises(InputError, match="has 2 different instance ids; at most 1 are read"):
        Sightings(find_frames(tmp_path, 10), 5).by_masks()


def test_masks_of_16_bits_and_of_another_size(tmp_path):
    write_frames(tmp_path, [(EYE, {1: (10, 8, 30, 40, 2.0, RED)})])
    mask = np.zeros((24, 32), np.uint16)
    mask[4:20, 5:15] = 1000
    Image.fromarray(mask).save(tmp_path / "instance-filt" / "0.png")
    seen = Sightings(find_frames(tmp_path, 10), 5).by_masks()
    assert sorted(seen) == [1000]
    assert seen[1000].crops[0].picture.size == (24, 40)  # the same box in pixels of the picture
