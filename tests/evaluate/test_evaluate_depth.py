"""SUN-D and NYU-D on small folders in SUN RGB-D's layout, against disparity worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from stub_host import class_vectors, top_k, vector_of, write_json

from lens_plugins import read
from lens_plugins.errors import InputError
from lens_plugins.evaluate import evaluate, find_benchmark
from lens_plugins.evaluate.nyu_d import CLASSES as NYU
from lens_plugins.evaluate.nyu_d import OTHERS
from lens_plugins.evaluate.sun_d import CLASSES as SUN
from lens_plugins.evaluate.templates import SCENES_19
from lens_plugins.inputs import DepthSettings

SCENES = {"kv1/NYUdata/NYU0001": 518.86, "kv2/kinect2data/000065": 529.5, "xtion/sun3ddata/a": 570.3}


def rotated(millimetres):
    """As SUN RGB-D stores them: 16 bits, rotated left by three."""
    return ((millimetres << 3) | (millimetres >> 13)).astype(np.uint16)


def scene(root, name, focal, depth):
    stem = name.rsplit("/", 1)[-1]
    folder = root / name / "depth_bfx"
    folder.mkdir(parents=True)
    Image.fromarray(rotated(depth)).save(folder / f"{stem}.png")
    (root / name / "intrinsics.txt").write_text(f"{focal} 0 320 0 {focal} 240 0 0 1")
    return {"depth_path": f"{name}/depth_bfx/{stem}.png", "disparity_path": f"{name}/depth_bfx/{stem}_disparity.pt"}


@pytest.fixture
def sun(tmp_path, rng):
    """Three scenes of three cameras, and their true millimetres."""
    depths = [rng.integers(900, 6000, (40, 52)).astype(np.uint16) for _ in SCENES]
    rows = [scene(tmp_path, name, focal, depth) for (name, focal), depth in zip(SCENES.items(), depths)]
    labels = ("bedroom", "dining area", "study space")
    listed = [{**row, "label": label, "cleaned_label": label} for row, label in zip(rows, labels)]
    write_json(tmp_path / "SUN-RGBD_val.json", listed)
    return tmp_path, depths, [SUN.index(label) for label in labels]


def lens_reads(host, **settings):
    host.lenses["depth"].config = SimpleNamespace(input=DepthSettings(size=28, **settings))
    return host


def test_sun_d(host, sun):
    folder, _, right = sun
    result = evaluate(host, "sun-d", folder)
    assert len(SCENES_19) == 19
    assert len(SUN) == 19
    vectors = [vector_of(one) for one in host.seen]
    classes = class_vectors(SUN, SCENES_19)
    assert result.figures["top1"] == pytest.approx(top_k(vectors, classes, right, 1))
    assert result.figures["top5"] == pytest.approx(top_k(vectors, classes, right, 5))
    assert (result.used, result.expected) == (3, 4659)


def test_rotated_depth_is_read_as_stored_for_the_released_lens(host, sun):
    """disparity = baseline · focal / clip(stored / 1000, 0.01, 50): eightfold millimetres, never undone."""
    folder, depths, _ = sun
    evaluate(lens_reads(host, unit_scale=8.0), "sun-d", folder)
    baselines = (0.075, 0.075, 0.095)
    for one, depth, focal, baseline in zip(host.seen, depths, SCENES.values(), baselines):
        stored = rotated(depth).astype(np.float64)
        assert (stored == 8.0 * depth).all()  # below 8.19 m
        disparity = baseline * focal / np.clip(stored / 1000, 0.01, 50)
        wanted = read(disparity.astype(np.float32), "depth", DepthSettings(size=28, kind="disparity")).tensor
        torch.testing.assert_close(one.tensor, wanted, rtol=0, atol=1e-4)


def test_rotated_depth_is_undone_for_a_lens_of_true_millimetres(host, sun):
    folder, depths, _ = sun
    evaluate(lens_reads(host, unit_scale=1.0), "sun-d", folder)
    focal, depth = SCENES["kv1/NYUdata/NYU0001"], depths[0].astype(np.float64)
    disparity = 0.075 * focal / np.clip(depth / 1000, 0.01, 50)
    wanted = read(disparity.astype(np.float32), "depth", DepthSettings(size=28, kind="disparity")).tensor
    torch.testing.assert_close(host.seen[0].tensor, wanted, rtol=0, atol=1e-3)


def test_a_disparity_file_stands_in_for_an_absent_picture(host, sun):
    folder, depths, _ = sun
    name, focal = next(iter(SCENES.items()))
    (folder / name / "depth_bfx" / "NYU0001.png").unlink()
    disparity = 0.075 * focal / np.clip(rotated(depths[0]) / 1000, 0.01, 50)
    torch.save(torch.from_numpy(disparity), folder / name / "depth_bfx" / "NYU0001_disparity.pt")
    result = evaluate(lens_reads(host, unit_scale=8.0), "sun-d", folder)
    wanted = read(disparity, "depth", DepthSettings(size=28, kind="disparity")).tensor
    torch.testing.assert_close(host.seen[0].tensor, wanted)
    assert result.used == 3
    other = evaluate(lens_reads(host, unit_scale=1.0), "sun-d", folder)
    assert other.used == 2
    assert "unit_scale 8" in other.misses[0].reason


def test_a_camera_that_is_not_known_and_absent_intrinsics_are_misses(host, sun):
    folder, _, _ = sun
    (folder / "kv2" / "kinect2data" / "000065" / "intrinsics.txt").write_text("none")
    (folder / "xtion" / "sun3ddata" / "a" / "intrinsics.txt").unlink()
    result = evaluate(host, "sun-d", folder)
    assert [miss.kind for miss in result.misses] == ["unreadable", "missing"]
    assert "no focal length" in result.misses[0].reason


@pytest.fixture
def nyu(tmp_path, rng):
    """Each NYU class once; the list of training maps lies beside it."""
    rows = [
        {**scene(tmp_path, f"kv1/NYUdata/NYU{n:04d}", 518.86, rng.integers(900, 6000, (40, 52)).astype(np.uint16)),
         "cleaned_label": label}
        for n, label in enumerate(NYU)
    ]  # fmt: skip
    write_json(tmp_path / "NYU-Depth-v2_val.json", rows)
    write_json(tmp_path / "NYU-Depth-v2_train.json", rows[:1])
    return tmp_path


def test_nyu_others_are_merged_in_predictions_and_targets(host, nyu):
    """Top-k over the 16 prompts first, then seven of them become one index; no prompt says "others"."""
    result = evaluate(host, "nyu-d", nyu)
    vectors = np.array([vector_of(one) for one in host.seen], np.float64)
    classes = class_vectors(NYU, SCENES_19)
    assert len(NYU) == 16
    assert len(OTHERS) == 7
    for k in (1, 5):
        order = np.argsort(-(vectors @ classes.T), axis=1)[:, :k]
        merged = [["others" if NYU[n] in OTHERS else NYU[n] for n in row] for row in order]
        right = ["others" if name in OTHERS else name for name in NYU]
        hits = [target in row for target, row in zip(right, merged)]
        assert result.figures[f"top{k}"] == pytest.approx(100 * np.mean(hits))
    # Guessing is right more often where seven prompts count as one: (9·1 + 7·7) / 16 / 16.
    assert result.chance["top1"] == pytest.approx(100 * (9 + 49) / 256)


def test_nyu_merging_changes_the_figure(host, nyu):
    from dataclasses import replace

    from lens_plugins.evaluate.benchmark import Task
    from lens_plugins.evaluate.metrics import TopK

    plain = replace(find_benchmark("nyu-d"), tasks=lambda folders, rows: [Task(NYU, SCENES_19, TopK((5,)))])
    assert evaluate(host, plain, nyu).figures["top5"] <= evaluate(host, "nyu-d", nyu).figures["top5"]


def test_nyu_training_maps_are_never_read(host, nyu):
    (nyu / "NYU-Depth-v2_val.json").unlink()
    with pytest.raises(InputError, match=r"no NYU-Depth-v2_val\.json"):
        evaluate(host, "nyu-d", nyu)


def test_a_label_that_is_no_class_is_refused(host, sun):
    folder, _, _ = sun
    write_json(folder / "SUN-RGBD_val.json", [{"depth_path": "kv1/a/b/c.png", "cleaned_label": "garage"}])
    with pytest.raises(InputError, match="'garage' is none of the 19 classes"):
        evaluate(host, "sun-d", folder)
