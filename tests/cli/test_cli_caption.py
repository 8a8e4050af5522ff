import json

import pytest
from PIL import Image


def test_one_file_gives_the_caption_alone(cli, small, plugged):
    ended = cli("caption", small / "piano.npy", *plugged)
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 1
    assert "piano.npy" not in ended.out


def test_several_files_give_a_line_each_in_their_order(cli, small, plugged):
    files = [small / "piano.npy", f"depth:{small / 'room.png'}", small / "beach.jpg"]
    ended = cli("caption", *files, *plugged)
    assert (ended.code, ended.err) == (0, "")
    assert [line.partition(": ")[0] for line in ended.out.splitlines()] == [str(file) for file in files]


def test_batches_do_not_change_captions(cli, small, plugged):
    files = [small / "piano.npy", small / "beach.jpg", small / "chair.npy"]
    together, apart = (cli("caption", *files, *plugged, "--batch-size", size).out for size in (16, 1))
    assert together == apart


def test_json_is_one_object_a_file(cli, small, plugged):
    files = [str(small / "piano.npy"), str(small / "beach.jpg")]
    ended = cli("caption", *files, *plugged, "--json", "--prompt", "what is it")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [set(each) for each in found] == [{"inputs", "modality", "prompt", "text", "host", "seconds"}] * 2
    assert [each["inputs"] for each in found] == [[file] for file in files]
    assert [each["modality"] for each in found] == ["point_cloud", "image"]
    assert {each["prompt"] for each in found} == {"what is it"}
    assert {each["host"] for each in found} == {str(small / "host")}
    assert all(each["seconds"] > 0 for each in found)
    plain = cli("caption", *files, *plugged, "--prompt", "what is it").out.splitlines()
    assert plain == [f"{each['inputs'][0]}: {each['text']}" for each in found]


def test_the_hosts_default_prompt_is_told(cli, small, plugged):
    found = json.loads(cli("caption", small / "piano.npy", *plugged, "--json").out)
    assert found["prompt"] == "A short image caption."


def test_a_bad_file_is_reported_and_the_others_are_captioned(cli, small, plugged, tmp_path):
    (tmp_path / "empty.ply").touch()
    ended = cli("caption", small / "piano.npy", tmp_path / "empty.ply", "gone.wav", small / "beach.jpg", *plugged)
    assert ended.code == 2
    assert [line.partition(": ")[0] for line in ended.out.splitlines()] == [
        str(small / "piano.npy"),
        str(small / "beach.jpg"),
    ]
    first, second = ended.err.splitlines()
    assert first.startswith("error: ")
    assert "empty.ply is empty (0 bytes)" in first
    assert second == "error: There is no file gone.wav; check its name and folder."


def test_all_files_bad_loads_no_host(cli):
    ended = cli("caption", "gone.ply", "gone.wav", "--host", "/nowhere")
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 2


@pytest.mark.parametrize("place", ["vit", "qformer", "llm"])
def test_fuse_captions_all_files_together(cli, small, plugged, place):
    ended = cli("caption", small / "piano.npy", small / "beach.jpg", *plugged, "--fuse", place, "--json")
    found = json.loads(ended.out)
    assert found["modality"] == ["point_cloud", "image"]
    assert found["fuse"] == place


def test_sampling_repeats_with_its_seed(cli, small, plugged):
    words = ["caption", small / "piano.npy", *plugged, "--temperature", "9", "--top-p", "1", "--seed"]
    first, again, other = (cli(*words, seed).out for seed in (3, 3, 4))
    assert first == again != other


def test_an_option_that_generate_does_not_know(cli, small, plugged):
    ended = cli("caption", small / "piano.npy", *plugged, "--generation", "num_beems=3")
    assert (ended.code, ended.out) == (2, "")
    assert "num_beems" in ended.err


def test_show_draws_what_the_model_saw(cli, small, plugged, tmp_path):
    ended = cli("caption", small / "piano.npy", small / "beach.jpg", *plugged, "--show", tmp_path / "seen.png")
    assert ended.code == 0
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == (448, 2 * 468)


def test_show_asks_for_a_picture_before_anything_is_loaded(cli, small, plugged, tmp_path):
    ended = cli("caption", small / "piano.npy", *plugged, "--show", tmp_path / "seen.txt")
    assert (ended.code, ended.out) == (2, "")
    assert "seen.txt ends in '.txt'; pictures are written as" in ended.err
