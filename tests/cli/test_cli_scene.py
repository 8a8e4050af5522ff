import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lens_plugins import load_host, load_lens
from lens_plugins.scene import read_scene, search_scene

sys.path.append(str(Path(__file__).parents[1] / "scene"))
from scans_made import box, write_frames, write_ply, write_scannet, xyz


@pytest.fixture
def room(tmp_path):
    """ScanNet's files of two things, and a frame of both."""
    points = np.concatenate([box((0, 0, 2)) * (3, 1, 1), box((1, 0, 3))])
    folder = tmp_path / "scene0000_00"
    write_scannet(folder, points, np.repeat([5, 6], 200), [([5], "toilet"), ([6], "chair")])
    things = {1: (4, 4, 30, 40, 2.0, (220, 20, 20)), 2: (34, 4, 60, 40, 3.0, (20, 20, 220))}
    return write_frames(folder, [(np.eye(4), things)])


def test_a_text_ranks_the_things_of_a_room(cli, room, literate, small):
    ended = cli("scene", room, "--query", "a piano", *literate, "--json")
    assert (ended.code, ended.err) == (0, "")
    rows = [json.loads(line) for line in ended.out.splitlines()]
    host = load_host(small / "host", text_tower=small / "tower", text_head=small / "tower" / "text_head.safetensors")
    host.plug(load_lens(small / "point_cloud"))
    expected = search_scene(host, read_scene(room), "text:a piano")
    assert [(row["instance"], row["score"]) for row in rows] == [
        (each.instance.id, round(each.score, 6)) for each in expected
    ]
    assert {row["label"] for row in rows} == {"toilet", "chair"}
    assert rows[0]["query"] == "a piano"
    assert rows[0]["found_by"] == "ids"


def test_the_table_and_the_files(cli, room, literate, small, tmp_path):
    pytest.importorskip("rerun")
    ply, rrd = tmp_path / "out.ply", tmp_path / "out.rrd"
    ended = cli("scene", room, "--query", small / "chair.npy", *literate, "--ply", ply, "--rrd", rrd, "--top", 1)
    assert (ended.code, ended.err) == (0, "")
    head, row = ended.out.splitlines()
    assert head.split("  ")[0] == "rank"
    assert row.split()[0] == "1"
    assert len(read_scene(ply).instances) == 2
    assert rrd.stat().st_size > 1000


def test_several_queries_are_one(cli, room, literate, small):
    words = ("scene", room, "--query", "a piano", "--query", small / "beach.jpg", *literate, "--json")
    rows = [json.loads(line) for line in cli(*words).out.splitlines()]
    assert rows[0]["query"] == ["a piano", str(small / "beach.jpg")]
    alone = cli("scene", room, "--query", "a piano", *literate, "--json").out
    assert json.loads(alone.splitlines()[0])["score"] != rows[0]["score"]


def test_a_host_without_a_point_lens_says_so(cli, room, small):
    ended = cli("scene", room, "--query", small / "beach.jpg", "--host", small / "host")
    assert ended.code == 0
    assert "has no point-cloud lens: crops alone are compared" in ended.err
    assert len(ended.out.splitlines()) == 3


def test_clusters_are_said(cli, literate, tmp_path):
    pytest.importorskip("sklearn")
    points = np.concatenate([box((0, 0, 0), count=3000), box((3, 0, 0), count=3000)])
    ended = cli("scene", write_ply(tmp_path / "room.ply", xyz(points)), "--query", "a piano", *literate, "--json")
    assert ended.code == 0
    assert "geometric clusters (DBSCAN) stand in for a segmentation" in ended.err
    assert {json.loads(line)["found_by"] for line in ended.out.splitlines()} == {"clusters"}


def test_a_folder_of_crops(cli, literate, tmp_path):
    for name, shade in (("a", (255, 0, 0)), ("b", (0, 0, 255))):
        Image.new("RGB", (32, 32), shade).save(tmp_path / f"{name}.png")
    ended = cli("scene", tmp_path, "--query", tmp_path / "b.png", *literate)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[1].split() == ["1", "1.000", "2", "b", "-", "-", "0", "1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("absent", "--query", "a piano"), "There is no file absent"),
        (("ROOM", "--query", "absent.wav"), "There is no file absent.wav"),
        (("ROOM", "--query", "a piano", "--ply", "out.obj"), "out.obj ends in '.obj'; it must end in .ply"),
        (("ROOM", "--query", "a piano", "--rrd", "absent/out.rrd"), "There is no folder absent to write out.rrd to"),
        (("ROOM", "--query", "a piano", "--ids", "thing"), "has no field 'thing' of vertices or faces"),
        (("ROOM", "--query", "a piano", "--set", "audio.clip=2"), "audio has no setting 'clip'"),
    ],
)
def test_refusals(cli, room, literate, words, said):
    ended = cli("scene", *(room if word == "ROOM" else word for word in words), *literate)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_eval_scene(cli, room, literate, small, tmp_path):
    (tmp_path / "queries.jsonl").write_text(
        "".join(
            json.dumps({"scene": room.name, "query": f"text:{word}", "modality": "text", "answers": [own]}) + "\n"
            for word, own in (("a piano", 1), ("a dog", 2))
        )
    )
    ended = cli("eval", "scene", "--data", tmp_path, *literate, "--json", tmp_path / "out.json")
    assert ended.code == 0
    assert "2 of 2 queries in 1 scenes, scores by mean; chance in brackets." in ended.out
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["figures"]["text"]["R@1 chance"] == 50.0
    assert told["figures"]["all"]["queries"] == 2
    (tmp_path / "queries.jsonl").unlink()
    refused = cli("eval", "scene", "--data", tmp_path, *literate)
    assert (refused.code, refused.out) == (2, "")
