"""What the page does, without a browser."""

import os
import stat
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from serving import KEY, cloud, picture, sound

import lens_plugins as lp
from lens_plugins.errors import InputError
from lens_plugins.serve import Engine, ServeSettings, build_app
from lens_plugins.serve.page import mount
from lens_plugins.serve.page.acting import Actions, Told, sentence
from lens_plugins.serve.page.mounting import _FOREIGN
from lens_plugins.serve.page.tray import EXAMPLES, Item, Reader, as_mesh, described, drawn


@pytest.fixture(scope="module")
def engine(hosts):
    with Engine(hosts) as made:
        yield made


@pytest.fixture(scope="module")
def reader(engine):
    return Reader(engine, ServeSettings(max_parts=3))


@pytest.fixture(scope="module")
def actions(engine, reader):
    return Actions(engine, reader)


def test_files_are_taken_for_what_their_names_say(reader):
    tray = reader.add([], "chair.npy", cloud())
    tray = reader.add(tray, "rain.wav", sound())
    tray = reader.add(tray, "häuser 🏠.png", picture())
    assert [item.modality for item in tray] == ["point_cloud", "audio", "image"]
    assert {"image", "depth", "tactile"} <= set(tray[2].choices)
    touch = reader.change(tray, 2, "tactile")
    assert [item.modality for item in touch] == ["point_cloud", "audio", "tactile"]
    with pytest.raises(InputError, match="3 inputs already, and at most 3"):
        reader.add(tray, "more.png", picture())


def test_a_text_called_ply_is_one_sentence(reader):
    with pytest.raises(InputError, match=r"chair\.ply"):
        reader.add([], "chair.ply", b"hello")


def test_every_example_can_be_read_and_seen():
    for path, modality in EXAMPLES.values():
        given = lp.read(path, modality)
        item = Item(path.name, path.read_bytes(), given.modality, given)
        assert drawn(item).height == 448
        assert path.name in described(item)
    assert sum(path.stat().st_size for path, _ in EXAMPLES.values()) < 300_000
    named = (next(iter(EXAMPLES.values()))[0].parent / "README.md").read_text()
    assert all(path.name in named for path, _ in EXAMPLES.values())  # with its licence


def test_a_cloud_is_a_mesh_that_can_be_turned(reader):
    import io

    import trimesh

    (item,) = reader.add([], "chair.npy", cloud(points=300))
    mesh = trimesh.load(io.BytesIO(as_mesh(item.given)), file_type="ply")
    points = item.given.tensor[:, :3].numpy()
    assert len(mesh.faces) == 8 * len(points)
    assert mesh.bounds[1] == pytest.approx(points.max(0), abs=0.1)


def test_an_answer_grows_to_what_the_host_says(actions, reader, hosts):
    tray = reader.add([], "beach.png", picture(3))
    steps = list(actions.ask(tray, "what is it", "small", None))
    assert steps[-1][0] == steps[-1][1].text
    assert all(steps[-1][0].startswith(text[:3]) for text, _ in steps)
    inputs = reader.inputs(tray, "small")
    assert steps[-1][0] == hosts["small"].generate(inputs, "what is it", num_beams=1)


def test_nothing_to_look_at_is_one_sentence(actions):
    with pytest.raises(InputError, match="nothing to look at yet"):
        next(actions.ask([], "what is it", "small", None))
    with pytest.raises(InputError, match="nothing to draw yet"):
        actions.imagine([], " ", "seed", 1, 0)
    with pytest.raises(InputError, match="no query"):
        actions.find([], "", None, "small")
    with pytest.raises(InputError, match="nothing to label yet"):
        actions.label([], None, "a,b", "small")


def test_a_host_that_remembers_is_told_what_was_said(actions, reader):
    tray = reader.add([], "beach.png", picture(3))
    *_, (_, reply) = actions.ask(tray, "what is it", "seed", None)
    said = [Told("user", "what is it"), Told("assistant", reply.text, actions.markup("seed", reply))]
    *_, (text, _) = actions.ask(tray, "and where", "seed", None, said)
    assert isinstance(text, str)


def test_pictures_come_with_seeds_and_codes(actions, reader, hosts):
    tray = reader.add([], "beach.png", picture(3))
    made = actions.imagine(tray, "", "seed", 2, 5)
    expected = hosts["seed"].imagine(reader.inputs(tray, "seed"), count=2, seed=5)
    assert [number for _, number, _ in made] == [5, 6]
    assert [codes for *_, codes in made] == [reply.codes[0].tolist() for reply in expected]


def test_search_and_labels(actions, reader, hosts):
    tray = reader.add(reader.add([], "a.png", picture(1)), "b.npy", cloud(2))
    by_text = actions.find(tray, "a red ball", None, "small")
    assert {name for name, _ in by_text} == {"a.png", "b.npy"}
    assert by_text[0][1] >= by_text[1][1]
    assert [name for name, _ in actions.find(tray, "", 0, "small")] == ["b.npy"]
    shares = actions.label(tray, 1, "a, b", "small")
    theirs = hosts["small"].classify(reader.inputs(tray[1:], "small"), ["a", "b"])[0]
    assert shares == pytest.approx({one["label"]: one["score"] for one in theirs}, abs=1e-5)


def test_nothing_has_changed(actions):
    import time

    while len(actions.at_start) < 2:
        time.sleep(0.05)
    told = actions.check_frozen()
    assert told.count("unchanged") == 4
    assert "CHANGED" not in told


def test_an_error_of_ours_is_a_sentence_and_any_other_a_number(caplog):
    assert sentence(InputError("a.ply is empty.")) == "a.ply is empty."
    told = sentence(ZeroDivisionError("secret"))
    assert "secret" not in told
    assert told.split()[-1].strip(".") in caplog.text


def test_tags_of_other_web_servers_go():
    page = (
        b'<link rel="preconnect" href="https://fonts.googleapis.com" /><script src="./assets/a.js"></script>'
        b'<script src="https://cdnjs.cloudflare.com/x.js" async></script><link href="./a.css" rel="stylesheet">'
    )
    assert _FOREIGN.sub(b"", page) == b'<script src="./assets/a.js"></script><link href="./a.css" rel="stylesheet">'


def test_uploads_lie_in_a_folder_of_this_user_alone(hosts):
    engine = Engine(hosts)
    app = mount(build_app(engine, ServeSettings(api_key=KEY)), engine, ServeSettings(api_key=KEY))
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.name.startswith("lens-plugins-page-")

    from fastapi.testclient import TestClient

    client = TestClient(app)
    shown = client.get("/config")
    assert shown.status_code == 401  # the page asks for the key
    assert client.get("/gradio_api/file=/etc/passwd").status_code in (401, 403, 404)
    assert client.post("/login", data={"username": "me", "password": "wrong"}).status_code == 400
    assert client.post("/login", data={"username": "me", "password": KEY}).status_code == 200
    assert client.get("/config").status_code == 200
    for path in ("/etc/passwd", "../../etc/passwd", str(Path(__file__))):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "googleapis" not in page.text
    assert "cdnjs" not in page.text
