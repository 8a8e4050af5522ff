import json
import shutil

import pytest

from lens_plugins import load_host, load_lens
from lens_plugins.hosts.base import Host


@pytest.fixture
def things(small, tmp_path):
    """A folder with a cloud, two pictures (one of them below), and files that are none of these."""
    folder = tmp_path / "things"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    for name, source in (
        ("chair.npy", "chair.npy"),
        ("beach.jpg", "beach.jpg"),
        ("deep/sea.jpg", "beach.jpg"),
        (".hidden.jpg", "beach.jpg"),
        ("deep/.hidden/beach.jpg", "beach.jpg"),
    ):
        shutil.copy(small / source, folder / name)
    (folder / "notes.txt").write_text("words")
    return folder


def rows(out):
    return [line.split("  ", 1) for line in out.splitlines()]


def test_a_text_ranks_files_of_every_modality(cli, things, literate, small):
    ended = cli("search", "a piano", things, *literate)
    assert (ended.code, ended.err) == (0, "")
    found = rows(ended.out)
    assert {name for _, name in found} == {str(things / "chair.npy"), str(things / "beach.jpg")}
    host = load_host(small / "host", text_tower=small / "tower", text_head=small / "tower" / "text_head.safetensors")
    host.plug(load_lens(small / "point_cloud"))
    files = [name for _, name in found]
    assert [f"{each['score']:.3f}" for each in host.search("text:a piano", files)] == [score for score, _ in found]
    assert [each["item"] for each in host.search("text:a piano", files)] == files


def test_a_file_is_a_query_too_and_is_left_out_itself(cli, things, literate):
    ended = cli("search", things / "beach.jpg", things, *literate, "--recursive")
    assert (ended.code, ended.err) == (0, "")
    assert [name for _, name in rows(ended.out)] == [str(things / "deep" / "sea.jpg"), str(things / "chair.npy")]
    assert rows(ended.out)[0][0] == "1.000"  # the same picture


def test_a_host_without_a_text_tower_compares_files(cli, things, small, plugged):
    host = plugged[: plugged.index("--max-new-tokens")]
    ended = cli("search", small / "piano.npy", things, *host)
    assert (ended.code, ended.err, len(rows(ended.out))) == (0, "", 2)
    told = cli("search", "a piano", things, *host)
    assert (told.code, told.out) == (2, "")
    assert "has no text tower" in told.err


def test_json_has_an_object_for_each_file(cli, things, literate):
    ended = cli("search", "text:a piano", things, *literate, "-r", "--top", "2", "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["rank"] for each in found] == [1, 2]
    assert found[0]["score"] >= found[1]["score"]
    assert set(found[0]) == {"query", "rank", "file", "modality", "score", "host"}
    assert found[0]["query"] == "text:a piano"


def test_a_prefix_of_the_folder_names_the_modality_of_its_files(cli, small, tmp_path, literate):
    for name in ("room.png", "hall.png"):
        shutil.copy(small / "room.png", tmp_path / name)
    ended = cli("search", "a piano", f"depth:{tmp_path}", *literate, "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["modality"] for each in found] == ["depth", "depth"]
    own = found[0]["file"]
    (other,) = rows(cli("search", own, f"depth:{tmp_path}", *literate).out)
    assert {own, other[1]} == {f"depth:{tmp_path / name}" for name in ("room.png", "hall.png")}


def test_files_that_cannot_be_read_are_skipped_and_counted(cli, things, literate):
    (things / "broken.npy").write_bytes(b"\x93NUMPY")
    (things / "empty.jpg").write_bytes(b"")
    ended = cli("search", "a piano", things, *literate)
    assert ended.code == 2
    assert len(rows(ended.out)) == 2
    broken, empty, count = ended.err.splitlines()
    assert broken.startswith("error: ")
    assert "broken.npy" in broken
    assert "empty.jpg" in empty
    assert count == "skipped 2 of 4 files"


def test_files_without_a_lens_are_left_out_and_counted(cli, things, literate):
    for name in ("a.wav", "b.wav", "c.edf"):
        (things / name).write_bytes(b"RIFF")
    ended = cli("search", "a piano", things, *literate)
    assert (ended.code, len(rows(ended.out))) == (0, 2)
    assert ended.err.splitlines() == [
        "left out 2 audio files: no lens; give one with --lens audio=PATH",
        "left out 1 eeg files: no lens; give one with --lens eeg=PATH",
    ]


def test_files_go_through_in_batches_with_the_same_result(cli, things, literate, monkeypatch, tmp_path):
    together = rows(cli("search", "a piano", things, *literate, "-r").out)
    sizes = []
    embed = Host.embed
    monkeypatch.setattr(Host, "embed", lambda self, inputs, space: sizes.append(inputs) or embed(self, inputs, space))
    monkeypatch.setenv("LENS_PLUGINS_VECTORS", str(tmp_path / "none yet"))
    parted = rows(cli("search", "a piano", things, *literate, "-r", "--batch-size", "2").out)
    assert [score for score, _ in parted] == [score for score, _ in together]
    assert sorted(parted) == sorted(together)  # two files hold one picture: which comes first hangs on the last bit
    # two files hold one picture: its vector may be known by the time the second batch is read
    assert [len(inputs) for inputs in sizes[1:]] in ([2, 1], [2])
    before = len(sizes)
    assert rows(cli("search", "a piano", things, *literate, "-r").out) == parted
    assert len(sizes[before:]) == 1  # the query alone: the vectors of the files are known


def test_what_has_changed_is_embedded_again(cli, things, literate, small):
    before = dict(map(reversed, rows(cli("search", "a piano", things, *literate).out)))
    shutil.copy(small / "piano.npy", things / "chair.npy")
    after = dict(map(reversed, rows(cli("search", "a piano", things, *literate).out)))
    assert before.keys() == after.keys()
    assert before[str(things / "beach.jpg")] == after[str(things / "beach.jpg")]
    assert before[str(things / "chair.npy")] != after[str(things / "chair.npy")]


def test_settings_for_nothing_are_told(cli, things, literate):
    ended = cli("search", "a piano", things, *literate, "--set", "depth.kind=depth_mm")
    assert ended.code == 0
    assert ended.err.count("note: --set depth... changes nothing: none of the files is a depth map") == 1
    assert "note" not in cli("search", "a piano", things, *literate, "--set", "image.resize=shorter").err


def test_a_cache_that_cannot_be_kept_is_done_without(cli, things, literate, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LENS_PLUGINS_VECTORS", str(tmp_path / "file"))
    ended = cli("search", "a piano", things, *literate)
    assert (ended.code, ended.err) == (0, "")


def test_text_in_front_means_a_text_whatever_files_there_are(cli, things, literate, monkeypatch):
    monkeypatch.chdir(things)
    (things / "piano").write_text("a file without an ending")
    assert cli("search", "text:piano", ".", *literate).code == 0
    ended = cli("search", "piano", ".", *literate)
    assert (ended.code, ended.out) == (2, "")
    assert "unknown ending ''" in ended.err


WRONG = {  # query, folder, more words, what the complaint says
    "a folder with nothing": ("a piano", "{tmp}/empty", [], "holds 0 files to read"),
    "a folder with nothing to read": ("a piano", "{tmp}/broken", [], "0 of the 1 files"),
    "a folder that is not there": ("a piano", "{tmp}/gone", [], "is not there; give a folder"),
    "a file for a folder": ("a piano", "{small}/beach.jpg", [], "is a file; give its folder"),
    "a modality that is none": ("a piano", "dpeth:{tmp}", [], "did you mean 'depth'"),
    "a query file that is gone": ("gone.ply", "{small}", [], "no file gone.ply"),
    "a query file that is gone, with a prefix": ("depth:gone", "{small}", [], "no file gone"),
    "a query of a modality without a lens": ("{small}/hum.wav", "{small}", [], "--lens audio=PATH"),
    "a web address": ("https://example.org/chair.ply", "{small}", [], "web address"),
    "no query": ("", "{small}", [], "The text is empty"),
    "a text with nothing in it": ("text: ", "{small}", [], "The text is empty"),
    "a text in the space of features": ("a piano", "{small}", ["--space", "vision"], "leave out space='vision'"),
    "a tower without a head": ("a piano", "{small}", ["--text-head", ""], "safetensors"),
    "a tower that is nowhere": ("a piano", "{small}", ["--text-tower", "./gone"], "is not a folder and no hub id"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call(cli, small, literate, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "broken.npy").write_bytes(b"\x93NUMPY")
    if "hum" in WRONG[case][0] and not (small / "hum.wav").exists():
        (small / "hum.wav").write_bytes(b"RIFF")
    query, folder, more, complaint = WRONG[case]
    ended = cli("search", query.format(small=small), folder.format(tmp=tmp_path, small=small), *literate, *more)
    assert (ended.code, ended.out) == (2, "")
    *_, last = ended.err.splitlines()
    assert last.startswith("error: ")
    assert complaint in last
    assert "Traceback" not in ended.err
