import numpy as np
import pytest
import torch
from PIL import Image
from scans_made import Colours, box

from lens_plugins.errors import ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.scene import Crop, Instance, Scene, embed_scene, search_scene
from lens_plugins.scene.ranking import COMBINATIONS


def crop(*colour: int) -> Crop:
    return Crop(Image.new("RGB", (8, 8), colour), 64, "0.jpg")


def scene(up: str = "z") -> Scene:
    """Four things: points and crops, points, crops, points that are all at one place."""
    return Scene(
        "room",
        [
            Instance(1, "a", box((0, 0, 0)) * (4, 1, 1), crops=(crop(255, 0, 0), crop(200, 60, 0))),
            Instance(2, "b", box((5, 0, 0)) * (1, 1, 4)),
            Instance(5, "c", crops=(crop(0, 0, 255), crop(0, 255, 0))),
            Instance(9, None, np.ones((50, 3))),
        ],
        "ids",
        up,
    )


QUERY = np.array([0.8, 0.1, 0.6])


def by_hand(combine: str, up: str = "z") -> list[tuple[int, float]]:
    """The ranking, computed with NumPy alone."""
    query = QUERY / np.linalg.norm(QUERY)

    def cosine(vector):
        return float(np.asarray(vector, float) @ query / np.linalg.norm(vector))

    def unit(vector):
        return np.asarray(vector, float) / np.linalg.norm(vector)

    scores = {}
    for each in scene().instances:
        points, crops = [], []
        if each.points is not None and each.id != 9:
            sides = np.ptp(each.points, axis=0)
            points = [unit(sides if up == "y" else sides[[0, 2, 1]])]
        if each.crops:
            crops = [unit(np.asarray(one.picture, float).mean((0, 1))) for one in each.crops]
        mean = [unit(sum(crops))] if crops else []
        if combine == "max":
            found = [max(map(cosine, points + crops))] if points + crops else []
        else:
            parts = {"points": points, "crops": mean, "mean": points + mean}[combine]
            found = [cosine(sum(parts))] if parts else []
        if found:
            scores[each.id] = found[0]
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("up", ["y", "z"])
def test_rankings_are_those_by_hand(combine, up):
    host = Colours({"text:what": QUERY})
    found = search_scene(host, scene(up), "text:what", combine=combine)
    expected = by_hand(combine, up)
    assert [each.instance.id for each in found] == [own for own, _ in expected]
    assert np.allclose([each.score for each in found], [score for _, score in expected], atol=1e-6)
    assert [each.rank for each in found] == list(range(1, len(expected) + 1))


def test_several_queries_are_one():
    host = Colours({"text:a": [1, 0, 0], "text:b": [0, 0, 1], "text:both": [1, 0, 1]})
    both = search_scene(host, scene(), ["text:a", "text:b"])
    assert [(each.instance.id, round(each.score, 5)) for each in both] == [
        (each.instance.id, round(each.score, 5)) for each in search_scene(host, scene(), "text:both")
    ]


def test_vectors_are_made_once_and_in_batches():
    host = Colours({"text:a": [1, 0, 0]})
    vectors = embed_scene(host, scene(), batch_size=3)
    assert host.batches == [3, 1, 2]  # four crops, two clouds
    assert vectors.points.isnan().any(1).tolist() == [False, False, True, True]
    assert vectors.crops.isnan().any(1).tolist() == [False, True, False, True]
    search_scene(host, vectors, "text:a")
    assert host.batches == [3, 1, 2, 1]


def test_points_of_a_mesh_come_from_its_surface():
    corners = np.array([[0, 0, 0], [4, 0, 0], [0, 2, 0], [4, 2, 0]], float)
    triangles = corners[[[0, 1, 2], [1, 3, 2]]]
    points = np.concatenate([corners, np.random.default_rng(0).normal(0, 0.01, (1000, 3))])  # most in one corner
    seen = []

    class Watching(Colours):
        def vector(self, source, modality):
            seen.append(np.asarray(source))
            return super().vector(source, modality)

    embed_scene(Watching(), Scene("room", [Instance(1, points=points, triangles=triangles)], "ids"))
    assert seen[0].shape == (10_000, 3)
    assert np.allclose(seen[0].mean(0), [2, 0, -1], atol=0.01)  # y up; the surface's middle, not the corner


def test_a_host_without_a_point_lens_sees_crops_alone():
    host = Colours({"text:a": [1, 0, 0]}, lenses=())
    assert [each.instance.id for each in search_scene(host, scene(), "text:a")] == [1, 5]
    alone = Scene("room", scene().instances[1:2], "ids")
    with pytest.raises(Unsupported, match=r"room has 1 clouds and no crops .* colours has no lens for a point cloud"):
        embed_scene(host, alone)
    with pytest.raises(Unsupported, match="room has no points and no crops to look at; give frames"):
        embed_scene(Colours(), Scene("room", scene().instances[3:], "ids"))


def test_what_cannot_be_scored():
    vectors = embed_scene(Colours(), Scene("room", scene().instances[1:2], "ids"))
    with pytest.raises(InputError, match="room has 1 instances, 0 of them with crops to compare"):
        vectors.rank(torch.ones(3), "crops")
    with pytest.raises(ConfigError, match="combine is 'sum'; it must be one of mean, max, points, crops"):
        vectors.rank(torch.ones(3), "sum")
    with pytest.raises(DoesNotFit, match=r"query has the shape \(4,\), the instances have width 3"):
        vectors.rank(torch.ones(4))


def test_plain_values():
    found = search_scene(Colours({"text:a": [1, 0, 0]}), scene(), "text:a")[0].to_dict()
    own = scene().instances[0]
    assert found == {
        "rank": 1,
        "instance": 1,
        "label": "a",
        "score": found["score"],
        "centre": [round(v, 4) for v in ((own.points.min(0) + own.points.max(0)) / 2).tolist()],
        "size": [round(v, 4) for v in (own.points.max(0) - own.points.min(0)).tolist()],
        "points": 200,
        "crops": 2,
        "frame": "0.jpg",
    }


def test_a_host_of_the_vitlens_family_searches_too(tmp_path):
    from lens_plugins import load_host
    from lens_plugins.testing.small_clip import small_tower_lens, write_clip

    host = load_host(write_clip(tmp_path / "host", "transformers"))
    host.plug(small_tower_lens("point_cloud"))
    found = search_scene(host, scene(), "text:a chair", combine="max")
    asked = host.embed("text:a chair")[0]
    expected = {}
    for each in scene().instances[:3]:
        vectors = [host.embed(crop.picture)[0] for crop in each.crops]
        if each.points is not None:
            turned = each.points[:, [0, 2, 1]] * (1, 1, -1)
            vectors.append(host.embed(turned, modality="point_cloud")[0])
        expected[each.id] = max(float(vector @ asked) for vector in vectors)
    assert [each.instance.id for each in found] == sorted(expected, key=lambda own: -expected[own])
    assert np.allclose([each.score for each in found], sorted(expected.values(), reverse=True), atol=1e-5)
