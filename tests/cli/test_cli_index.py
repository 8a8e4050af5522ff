"""An index on the command line: build, search, add, stats, remove."""

import json
import shutil

import pytest

pytest.importorskip("lancedb")


@pytest.fixture
def things(small, tmp_path):
    folder = tmp_path / "things"
    (folder / "deep").mkdir(parents=True)
    for name, source in (("chair.npy", "chair.npy"), ("beach.jpg", "beach.jpg"), ("deep/sea.jpg", "beach.jpg")):
        shutil.copy(small / source, folder / name)
    return folder


def files(ended):
    return [line.split("  ", 1)[1] for line in ended.out.splitlines()]


def test_an_index_ranks_as_its_folder_does(cli, things, literate, tmp_path):
    db = ["--db", tmp_path / "db"]
    built = cli("index", "build", things, "-r", *db, *literate)
    assert (built.code, built.out, built.err) == (0, "3 added, 0 known, 0 removed, 0 failed; 3 rows\n", "")
    for query in ("a piano", things / "chair.npy"):
        there = cli("search", query, *db, *literate)
        assert (there.code, there.err) == (0, "")
        direct = cli("search", query, things, "-r", *literate)
        assert set(direct.out.splitlines()) <= set(there.out.splitlines())  # a folder is searched without the query
    only = cli("search", "a piano", *db, *literate, "--only", "image", "--path", things / "deep")
    assert files(only) == [str(things / "deep" / "sea.jpg")]
    found = json.loads(cli("search", "a piano", *db, *literate, "--top", 1, "--json").out)
    assert set(found) == {"query", "rank", "file", "modality", "score", "host"}


def test_building_again_follows_the_folder(cli, things, literate, tmp_path):
    build = ["index", "build", things, "-r", "--json", "--db", tmp_path / "db", *literate]
    assert json.loads(cli(*build).out)["added"] == 3
    (things / "beach.jpg").unlink()
    shutil.copy(things / "chair.npy", things / "stool.npy")
    (things / "broken.jpg").write_bytes(b"no picture")
    again = cli(*build)
    counts = json.loads(again.out)
    assert again.code == 2
    assert "broken.jpg" in again.err
    assert {name: counts[name] for name in ("added", "known", "removed", "failed", "rows")} == {
        "added": 0, "known": 3, "removed": 1, "failed": 1, "rows": 3,
    }  # fmt: skip


def test_add_stats_and_remove(cli, things, small, literate, tmp_path):
    db = ["--db", tmp_path / "db"]
    added = cli("index", "add", things / "chair.npy", things / "beach.jpg", *db, *literate)
    assert (added.code, added.out) == (0, "2 added, 0 known, 0 removed, 0 failed; 2 rows\n")
    told = cli("index", "stats", *db)
    assert told.out.startswith("2 files, ")
    assert "every row is compared" in told.out
    stats = json.loads(cli("index", "stats", "--json", *db).out)
    assert stats["modalities"] == {"image": 1, "point_cloud": 1}
    assert cli("index", "remove", things / "*.jpg", *db).out == "1 removed\n"
    assert json.loads(cli("index", "stats", "--json", *db).out)["rows"] == 1


@pytest.mark.parametrize(("call", "said"), [
    (["search", "a piano"], "takes a FOLDER or --db INDEX, one of them"),
    (["search", "a piano", "{things}", "--db", "{db}"], "takes a FOLDER or --db INDEX, one of them"),
    (["search", "a piano", "{things}", "--only", "image"], "choose among the files of an index"),
    (["search", "a piano", "--db", "{db}"], "has 0 rows; build it first"),
    (["index", "stats", "--db", "{db}"], "has no table; build it first"),
    (["index", "build", "{things}/nowhere", "--db", "{db}"], "is not there; give a folder"),
])  # fmt: skip
def test_wrong_calls(cli, things, literate, tmp_path, call, said):
    filled = [part.format(things=things, db=tmp_path / "db") for part in call]
    ended = cli(*filled, *([] if "stats" in call else literate))
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert not (tmp_path / "db").exists() or not any((tmp_path / "db").iterdir())
