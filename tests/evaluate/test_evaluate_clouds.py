"""Benchmarks of point clouds, each on a small folder in its real layout, against plain numpy."""

import pickle

import numpy as np
import pytest
from stub_host import class_vectors, top_k, vector_of, write_json

from lens_plugins import read
from lens_plugins.errors import InputError
from lens_plugins.evaluate import evaluate, find_benchmark
from lens_plugins.evaluate.modelnet40 import CLASSES
from lens_plugins.evaluate.scanobjectnn import CLASSES as SCANNED
from lens_plugins.evaluate.templates import MODELNET40_64

CHOSEN = ("airplane", "night stand", "xbox")


def clouds(rng, count, points=80, columns=6):
    return [rng.standard_normal((points, columns)).astype(np.float32) for _ in range(count)]


def vectors_of(host, arrays):
    own = host.lenses["point_cloud"].config.input
    return [vector_of(read(array, "point_cloud", own)) for array in arrays]


def test_modelnet40_has_sixty_four_templates_that_differ():
    """CLIP's and ULIP's lists, whose one sentence without a full stop stays so."""
    assert len(MODELNET40_64) == len(set(MODELNET40_64)) == 64
    assert all(template.count("{c}") == 1 for template in MODELNET40_64)
    assert [template for template in MODELNET40_64 if not template.endswith(".")] == [
        "a black and white photo of a {c}"
    ]
    assert len(CLASSES) == 40
    assert sorted(CLASSES) == list(CLASSES)


@pytest.fixture
def text_files(tmp_path, rng):
    """`CLASS/CLASS_NNNN.txt` of x,y,z and normals, and the list of them."""
    root, names, made = tmp_path / "modelnet40_normal_resampled", [], []
    for label in CHOSEN:
        word = label.replace(" ", "_")
        (root / word).mkdir(parents=True)
        for number, cloud in enumerate(clouds(rng, 2), start=627):
            name = f"{word}_{number:04d}"
            np.savetxt(root / word / f"{name}.txt", cloud, fmt="%.6f", delimiter=",")
            names.append(name)
            made.append((np.round(cloud[:, :3], 6), CLASSES.index(label)))
    (root / "modelnet40_test.txt").write_text("\n".join(names) + "\n")
    return tmp_path, made


def test_modelnet40_from_text_files(host, text_files):
    folder, made = text_files
    result = evaluate(host, "modelnet40", folder)
    classes = class_vectors(CLASSES, MODELNET40_64)
    right = [label for _, label in made]
    vectors = [vector_of(one) for one in host.seen]
    for one, (cloud, _) in zip(host.seen, made):
        np.testing.assert_allclose(
            one.tensor, read(cloud, "point_cloud", host.lenses["point_cloud"].config.input).tensor, atol=1e-5
        )
    assert result.figures["top1"] == pytest.approx(top_k(vectors, classes, right, 1))
    assert result.figures["top5"] == pytest.approx(top_k(vectors, classes, right, 5))
    assert (result.used, result.expected, result.rows) == (6, 2468, 6)
    assert result.chance["top1"] == pytest.approx(2.5)
    assert result.chance["top5"] == pytest.approx(12.5)


def test_modelnet40_from_the_pickled_cache(host, tmp_path, rng):
    """The pair (clouds, labels of shape (1,)) is read without unpickling objects."""
    made = clouds(rng, 4)
    labels = [np.array([number], np.int64) for number in (0, 23, 39, 0)]
    root = tmp_path / "modelnet40_normal_resampled"
    root.mkdir()
    (root / "modelnet40_test_8192pts_fps.dat").write_bytes(pickle.dumps((made, labels), protocol=2))
    result = evaluate(host, "modelnet40", tmp_path)
    classes, right = class_vectors(CLASSES, MODELNET40_64), [0, 23, 39, 0]
    vectors = vectors_of(host, made)
    assert result.figures["top1"] == pytest.approx(top_k(vectors, classes, right, 1))
    each = [top_k([v for v, r in zip(vectors, right) if r == label], classes, [label] * 9, 1) for label in (0, 23, 39)]
    assert result.figures["top1 by class"] == pytest.approx(np.mean(each))


def test_modelnet40_refuses_a_cache_with_code_in_it(host, tmp_path):
    import os

    class Evil:
        def __reduce__(self):
            return os.system, ("false",)

    (tmp_path / "modelnet40_test_8192pts_fps.dat").write_bytes(pickle.dumps(([Evil()], [np.array([0])])))
    with pytest.raises(InputError, match="more than arrays and plain values"):
        evaluate(host, "modelnet40", tmp_path)


def test_missing_file_is_counted(host, text_files):
    folder, _ = text_files
    root = folder / "modelnet40_normal_resampled"
    (root / "airplane" / "airplane_0627.txt").unlink()
    (root / "xbox" / "xbox_0627.txt").write_text("1,2\n")
    result = evaluate(host, "modelnet40", folder)
    assert [(miss.name, miss.kind) for miss in result.misses] == [
        ("airplane/airplane_0627.txt", "missing"),
        ("xbox/xbox_0627.txt", "unreadable"),
    ]
    assert (result.used, result.rows) == (4, 6)
    text = result.text()
    assert "4 used of 2468 expected" in text
    assert "1 missing; the first: airplane/airplane_0627.txt" in text
    assert "1 unreadable; the first: xbox/xbox_0627.txt" in text


def swapped(cloud):
    return cloud[:, [0, 2, 1]]


def test_modelnet40_as_openshape_has_it(host, tmp_path, rng):
    """Arrays of dictionaries; y and z are swapped."""
    made, right = clouds(rng, 3, columns=3), [CLASSES.index(label) for label in CHOSEN]
    folder = tmp_path / "meta_data" / "modelnet40"
    names = [{"name": f"{number}", "category": label.replace(" ", "_")} for number, label in enumerate(CHOSEN)]
    write_json(folder / "test_split.json", names)
    rows = [{"xyz": cloud, "rgb": np.full((80, 3), 200, np.uint8)} for cloud in made]
    np.save(folder / "test_pc.npy", np.array(rows, dtype=object), allow_pickle=True)
    result = evaluate(host, "modelnet40-openshape", tmp_path)
    vectors = vectors_of(host, list(map(swapped, made)))
    classes = class_vectors(CLASSES, MODELNET40_64)
    for k in (1, 3, 5):
        assert result.figures[f"top{k}"] == pytest.approx(top_k(vectors, classes, right, k))


def test_scanobjectnn(host, tmp_path, rng):
    cloud, right = rng.standard_normal((4, 80, 3)).astype(np.float32), [0, 4, 14, 4]
    folder = tmp_path / "meta_data" / "scanobjectnn"
    folder.mkdir(parents=True)
    np.save(folder / "xyz_label.npy", {"xyz": cloud, "label": np.array(right)}, allow_pickle=True)
    result = evaluate(host, "scanobjectnn", tmp_path)
    classes = class_vectors(SCANNED, MODELNET40_64)
    vectors = vectors_of(host, [swapped(one) for one in cloud])
    assert result.figures["top3"] == pytest.approx(top_k(vectors, classes, right, 3))
    assert (result.used, result.expected) == (4, 581)
    assert any("bigG lenses alone" in note for note in result.remarks())


def test_objaverse_lvis(host, tmp_path, rng):
    """Classes in alphabetical order, the foreign root of the paths replaced, a shape that is not there counted."""
    made = clouds(rng, 3, columns=3)
    labels = ["zebra", "apple_pie", "mug"]
    listed = [
        {
            "data_path": f"/mnt/data/objaverse-processed/merged_for_training_final/Objaverse/000-000/{n}.npy",
            "group": "000-000",
            "uid": f"uid{n}",
            "category": label,
        }
        for n, label in enumerate([*labels, "mug"])
    ]
    write_json(tmp_path / "meta_data" / "split" / "lvis.json", listed)
    folder = tmp_path / "merged_for_training_final" / "Objaverse" / "000-000"
    folder.mkdir(parents=True)
    for number, cloud in enumerate(made):
        np.save(folder / f"{number}.npy", {"xyz": cloud, "rgb": np.zeros((80, 3))}, allow_pickle=True)
    result = evaluate(host, "objaverse-lvis", tmp_path)
    classes = class_vectors(["apple pie", "mug", "zebra"], MODELNET40_64)
    vectors = vectors_of(host, list(map(swapped, made)))
    assert result.figures["top1"] == pytest.approx(top_k(vectors, classes, [2, 0, 1], 1))
    assert [(miss.name, miss.kind) for miss in result.misses] == [("uid3", "missing")]


def test_figures_are_published_for_the_lens_that_has_them():
    first, second = find_benchmark("modelnet40").published
    assert (first.checkpoint, first.figures) == ("Datacomp_L14_objaverse.pt", {"top1": 80.6, "top5": 95.8})
    assert (second.checkpoint, second.figures) == ("Datacomp_L14_ShapeNet.pt", {"top1": 70.6, "top5": 94.4})
