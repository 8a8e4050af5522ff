import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from serving import KEY, cloud, picture, running

import lens_plugins as lp
from lens_plugins.cli.main import run
from lens_plugins.errors import ConfigError, InputError, Unsupported
from lens_plugins.serve.client import Unavailable

SHORT = {"max_new_tokens": 4, "num_beams": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "chair.npy").write_bytes(cloud(1))
    (folder / "beach.png").write_bytes(picture(2))
    (folder / "broken.ply").write_text("ply\nformat ascii 1.0\nelement vertex 3\n")
    return folder


@pytest.fixture(scope="module")
def client(server):
    return lp.connect(server.url, api_key=KEY)


@pytest.fixture
def cli(server, capsys, monkeypatch):
    monkeypatch.setenv("LENS_PLUGINS_SERVER", server.url)
    monkeypatch.setenv("LENS_PLUGINS_API_KEY", KEY)

    def command(*words):
        capsys.readouterr()
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_it_answers_as_the_host_does(client, hosts, files):
    for given in ([f"point_cloud:{files / 'chair.npy'}"], [files / "beach.png"], [files / "beach.png"] * 2):
        expected = hosts["small"].generate(given, "what is it", **SHORT)
        assert client.generate(given, "what is it", **SHORT) == expected
    reply = client.generate(files / "beach.png", **SHORT)
    assert reply.told["prompt"] == hosts["small"].default_prompt
    assert reply.told["modalities"] == ["image"]
    assert reply.told["milliseconds"]["computing"] > 0


def test_many_are_under_way_together_and_come_in_order(client, hosts, files):
    given = [f"point_cloud:{files / 'chair.npy'}", str(files / "beach.png")] * 4
    expected = hosts["small"].generate_batch(given, prompt="what", **SHORT)
    assert client.generate_batch(given, prompt="what", **SHORT) == expected


def test_a_stream_is_the_answer_in_pieces(client, files):
    pieces = list(client.stream(files / "beach.png", "what is it", max_new_tokens=6))
    assert "".join(pieces).strip() == client.generate(files / "beach.png", "what is it", max_new_tokens=6, num_beams=1)


def test_objects_are_sent_as_files(client, hosts, files):
    points = np.load(files / "chair.npy")
    asked = {"modality": "point_cloud", **SHORT}
    assert client.generate(points, "what", **asked) == hosts["small"].generate(points, "what", **asked)
    with Image.open(files / "beach.png") as opened:
        assert client.generate(opened, "what", **SHORT) == client.generate(files / "beach.png", "what", **SHORT)
    sound = (np.sin(np.arange(16000) / 20).astype(np.float32), 16000)
    expected = hosts["small"].generate(sound, "what", modality="audio", **SHORT)
    assert client.generate(sound, "what", modality="audio", **SHORT) == expected


def test_vectors_and_labels(client, hosts, files):
    given = [str(files / "beach.png"), "text:a red ball"]
    torch_ones = hosts["small"].embed(given, "text").numpy()
    assert np.allclose(client.embed(given, space="text"), torch_ones, atol=1e-5)
    ours = client.classify([str(files / "beach.png")], ["a", "b"])[0]
    theirs = hosts["small"].classify([str(files / "beach.png")], ["a", "b"])[0]
    assert [one["label"] for one in ours] == [one["label"] for one in theirs]
    assert [one["score"] for one in ours] == pytest.approx([one["score"] for one in theirs], abs=1e-5)


def test_pictures_are_drawn_with_their_seeds_and_codes(client, hosts, files):
    drawn = client.imagine(str(files / "beach.png"), count=2, seed=3)
    replies = hosts["seed"].imagine([str(files / "beach.png")], count=2, seed=3)
    assert [one.seed for one in drawn] == [reply.seed for reply in replies]
    assert [one.codes for one in drawn] == [reply.codes[0].tolist() for reply in replies]
    assert all(np.array_equal(one.picture, reply.images[0]) for one, reply in zip(drawn, replies))
    assert drawn[0].prompt == hosts["seed"].prompt_of(None, 1)


def test_errors_are_those_of_a_host(client, server, files):
    with pytest.raises(InputError, match=r"broken\.ply"):
        client.generate(files / "broken.ply")
    with pytest.raises(InputError, match=r"nosuch\.ply"):
        client.generate("nosuch.ply")
    with pytest.raises(InputError, match="0 inputs"):
        client.generate([])
    with pytest.raises(ConfigError, match="no model 'other'; it has: small, seed"):
        lp.connect(server.url, api_key=KEY, model="other")
    with pytest.raises(ConfigError, match="key"):
        lp.connect(server.url, api_key="wrong")
    with pytest.raises(Unavailable, match="does not answer"):
        lp.connect("http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="no address"):
        lp.connect("ftp://somewhere")


def test_a_server_without_what_is_asked_for_says_so(hosts, files):
    with running({"seed": hosts["seed"]}) as made, pytest.raises(Unsupported, match="compares with texts"):
        lp.connect(made.url, api_key=KEY).classify(files / "beach.png", ["a", "b"])


def test_commands_answer_through_it(cli, client, files):
    chair = f"point_cloud:{files / 'chair.npy'}"
    code, out, err = cli("caption", files / "beach.png", chair, "--json", "--max-new-tokens", 4)
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [row["modality"] for row in rows] == ["image", "point_cloud"]
    assert [row["text"] for row in rows] == client.generate_batch([files / "beach.png", chair], max_new_tokens=4)
    assert {row["host"] for row in rows} == {"small"}
    code, out, _ = cli("ask", files / "beach.png", "what is it", "--max-new-tokens", 4)
    assert (code, out.strip()) == (0, client.generate(files / "beach.png", "what is it", max_new_tokens=4))
    code, out, _ = cli("classify", files / "beach.png", "--labels", "a,b", "--json")
    assert code == 0
    assert {one["label"] for one in json.loads(out)["labels"]} == {"a", "b"}


def test_a_broken_file_costs_only_itself(cli, files):
    code, out, err = cli("caption", files / "beach.png", files / "broken.ply", "--max-new-tokens", 4)
    assert code == 2
    assert "broken.ply" in err
    assert "beach.png" in out


def test_pictures_are_saved_here(cli, files, tmp_path):
    code, out, err = cli("imagine", files / "beach.png", "-o", tmp_path / "seen.png", "--json")
    assert (code, err) == (0, "")
    row = json.loads(out)
    with Image.open(tmp_path / "seen.png") as opened:
        assert json.loads(opened.info["lens-plugins"])["codes"] == row["codes"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--lens", "audio=x"], "--lens is of a host that is loaded here"),
        (["--4bit"], "--4bit is of a host that is loaded here"),
        (["--host", "other"], "no model 'other'"),
        (["--show", "seen.png"], "--show draws what is read here"),
        (["--set", "depth.colour=1"], "colour"),
    ],
)
def test_options_that_a_server_cannot_obey_are_refused(cli, files, words, told):
    code, out, err = cli("caption", files / "beach.png", *words)
    assert (code, out) == (2, "")
    assert told in err


def test_settings_reach_the_server(cli, client, files, tmp_path):
    np.save(tmp_path / "room.npy", np.full((40, 40), 2000, np.uint16))
    room = f"depth:{tmp_path / 'room.npy'}"
    code, out, err = cli("caption", room, "--set", "depth.kind=depth_mm", "--max-new-tokens", 4)
    assert (code, err) == (0, "")
    assert out.strip() == client.generate(room, settings={"depth": {"kind": "depth_mm"}}, max_new_tokens=4)


def test_a_client_needs_no_torch():
    code = "import sys, lens_plugins.serve.client, lens_plugins.cli.caption; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_setting_for_nothing_is_told(cli, files):
    code, _, err = cli("caption", files / "beach.png", "--set", "depth.kind=depth_mm", "--max-new-tokens", 4)
    assert code == 0
    assert "note: settings.depth changed nothing" in err
