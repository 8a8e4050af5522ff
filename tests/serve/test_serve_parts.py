"""What requests are made of: fields, files, addresses, rows, conversations."""

import base64
import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from serving import cloud

from lens_plugins.errors import InputError, LensPluginsError
from lens_plugins.serve import Upload
from lens_plugins.serve.chats import parse_messages
from lens_plugins.serve.fetching import fetch, public_addresses
from lens_plugins.serve.fields import Link, check_known, content_parts, from_base64, upload_of
from lens_plugins.serve.refusals import BadRequest, Refusal, TooLarge
from lens_plugins.serve.rows import Row, cut
from lens_plugins.serve.uploads import as_file, read_upload

# Files in memory


def test_an_upload_is_never_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with as_file(b"secret content", "chair.ply") as path:
        assert path.read_bytes() == b"secret content"
        assert path.is_symlink()
        assert path.name == "chair.ply"
        regular = [one for one in tmp_path.rglob("*") if one.is_file() and not one.is_symlink()]
        assert regular == []
        # what a killed process would leave: a link that leads to a descriptor of this process alone
        assert str(os.getpid()) in os.readlink(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../etc/passwd.ply", "passwd.ply"),
        ("C:\\files\\a b.ply", "a_b.ply"),
        ("/etc/.ply", "ply.npy"),
        ("", "file.npy"),
        ("x" * 300 + ".ply", "x" * 56 + ".ply"),
        ("a\0b.npy", "a_b.npy"),
    ],
)
def test_only_the_ending_of_a_name_counts(name, label):
    assert Upload(cloud(), name).label == label


def test_bytes_that_do_not_say_what_they_are():
    with pytest.raises(InputError, match="The 3 bytes of a file do not say"):
        _ = Upload(b"abc").label
    with pytest.raises(InputError, match="empty"):
        read_upload(Upload(b"", "a.ply"), lambda path, name: None)


def test_errors_name_the_upload_and_no_folder(hosts):
    with pytest.raises(InputError) as caught:
        read_upload(Upload(b"ply\nnothing", "a.ply"), hosts["small"].read)
    assert "/" not in str(caught.value)
    assert "a.ply" in str(caught.value)


def test_readers_in_other_processes_see_it(hosts):
    import io

    import scipy.io

    buffer = io.BytesIO()
    import numpy as np

    scipy.io.savemat(buffer, {"EEG": {"data": np.zeros((4, 100)), "srate": 250.0}})
    with pytest.raises(LensPluginsError) as caught:  # its channels are no electrodes; but the worker could open it
        read_upload(Upload(buffer.getvalue(), "a.set", "eeg"), hosts["small"].read)
    assert "crashed" not in str(caught.value)
    assert "There is no file" not in str(caught.value)


def test_a_file_cannot_name_another_one(hosts, tmp_path):
    (tmp_path / "points.bin").write_bytes(b"\0" * 36)
    for uri in (str(tmp_path / "points.bin"), f"file://{tmp_path}/points.bin", "../points.bin", "/proc/self/environ"):
        gltf = {
            "asset": {"version": "2.0"},
            "buffers": [{"uri": uri, "byteLength": 36}],
            "bufferViews": [{"buffer": 0, "byteLength": 36}],
            "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "nodes": [{"mesh": 0}],
        }
        with pytest.raises(InputError):
            read_upload(Upload(json.dumps(gltf).encode(), "a.gltf"), hosts["small"].read)


# Fields


def test_data_uris():
    plain = upload_of("data:model/ply;base64," + base64.b64encode(b"ply").decode(), "x")
    assert (plain.content, plain.label) == (b"ply", "file.ply")
    named = upload_of("data:application/octet-stream;name=chair.glb;base64,AAAA", "x")
    assert named.label == "chair.glb"
    text = upload_of("data:,0 0 1%0A", "x", "cloud.xyz")
    assert text.content == b"0 0 1\n"
    assert upload_of("data:audio/x-wav;codecs=1;BASE64,AAAA", "x").label == "file.wav"
    assert isinstance(upload_of("https://example.org/a.png", "x"), Link)
    for wrong in ("", "data:", "data:image/png;base64", "ftp://a/b", "http:/x", "file:///etc/passwd", "a.png", "//a/b"):
        with pytest.raises(BadRequest):
            upload_of(wrong, "x")
    assert from_base64("AA==\n", "x") == from_base64("AA", "x") == b"\0"
    with pytest.raises(BadRequest):
        from_base64("A=A=", "x")


def test_parts_of_every_modality():
    uri = "data:;base64,AAAA"
    for modality in ("point_cloud", "depth", "tactile", "eeg", "audio", "image"):
        (part,) = content_parts([{"type": f"{modality}_url", f"{modality}_url": {"url": uri}}], "x")
        assert part.modality == modality
        other = "eeg" if modality != "eeg" else "depth"
        with pytest.raises(BadRequest, match="give one of them"):
            content_parts([{"type": f"{modality}_url", f"{modality}_url": {"url": uri}, "modality": other}], "x")
    (part,) = content_parts(
        [{"type": "file", "file": {"filename": "a.npy", "file_data": uri}, "modality": "depth"}], "x"
    )
    assert (part.name, part.modality) == ("a.npy", "depth")
    with pytest.raises(BadRequest, match="modality"):
        content_parts([{"type": "file", "file": {"file_data": uri}, "modality": "smell"}], "x")


def test_unknown_fields_have_a_hint():
    with pytest.raises(BadRequest, match="did you mean 'temperature'"):
        check_known({"temprature": 1}, ("temperature",))
    check_known({"n": 0}, (), {"n": (0,)})
    for value in (False, 0.5, "0", [0]):
        with pytest.raises(BadRequest, match="n is not supported"):
            check_known({"n": value}, (), {"n": (0,)})


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages is empty"),
        ("hello", "messages is empty"),
        ([{"role": "wizard", "content": "x"}], "known: system"),
        ([{"role": "assistant", "content": "x"}], "begin with the user"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "end with what is asked"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [1]}], "calls tools"),
        ([{"role": "user"}], "must be a text or a list of parts"),
        ([3], "the role None"),
    ],
)
def test_messages_that_are_none(messages, words):
    with pytest.raises(BadRequest, match=words):
        parse_messages(messages)


# Addresses


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "255.255.255.255", "2001::1", "ff02::1", "fe80::1%lo",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(address, monkeypatch):
    answers = [(None, None, None, "", ("93.184.216.34", 443)), (None, None, None, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(BadRequest, match="which is not public"):
        public_addresses("example.org", 443)


def test_public_addresses_pass(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(None, None, None, "", ("93.184.216.34", 443))])
    assert public_addresses("example.org", 443) == ["93.184.216.34"]


@pytest.mark.parametrize(
    "url",
    [
        "http://other.org/a.png", "http://example.org.evil.org/a", "http://user@example.org/a", "http://example.org:22/a",
        "http://evil.org#example.org", "http://evil.org\\@example.org/a", "http://127.0.0.1/a", "http://[::1]/a",
        "http://example.org/a b", "http://example.org/a\r\nX: y", "http://exam ple.org/",
    ],
)  # fmt: skip
def test_other_places_are_refused(url):
    with pytest.raises(BadRequest):
        fetch(Link(url), ["example.org"], 100, resolve=lambda host, port: pytest.fail("it was resolved"))


@pytest.fixture
def web(monkeypatch):
    """A web server on this machine, in the place of port 80 of example.org."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1/secret")
                self.end_headers()
                return
            self.send_response(200)
            if self.path == "/long":
                self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * (1000 if self.path in ("/long", "/endless") else 5))

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    real = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda address, **how: real((address[0], server.server_port), **how)
    )
    yield lambda host, port: ["127.0.0.1"]
    server.shutdown()


def test_fetching(web):
    found = fetch(Link("http://example.org/a/chair%20.ply?x=1"), ["example.org"], 100, resolve=web)
    assert (found.content, found.name) == (b"xxxxx", "chair .ply")
    with pytest.raises(BadRequest, match="302, a redirect, which is not followed"):
        fetch(Link("http://example.org/moved"), ["example.org"], 100, resolve=web)
    for path in ("/long", "/endless"):
        with pytest.raises(TooLarge):
            fetch(Link(f"http://example.org{path}"), ["example.org"], 100, resolve=web)
    with pytest.raises(BadRequest, match="fetches no web addresses"):
        fetch(Link("http://example.org/a"), [], 100)


# Rows


def row(stops=(), limit=None, gone=None):
    pieces = []
    return Row(stopped=lambda: bool(gone), emit=pieces.append, stop=stops, limit=limit), pieces


WORDS = ["a", " short", " story", " about", " a", " cat", "."]


def take(one, count=7):
    return [one.take(n, frozenset([99]), lambda ids: "".join(WORDS[i] for i in ids)) for n in range(count)]


def test_a_row_sends_whole_words():
    one, pieces = row()
    take(one)
    assert one.take(99, frozenset([99]), lambda ids: "") is True
    one.send("".join(WORDS))
    assert "".join(pieces) == "a short story about a cat."
    assert pieces[:2] == ["a", " short"]
    assert (one.ended, len(one.ids)) == ("stop", 7)


def test_a_row_holds_back_what_may_be_a_stop():
    one, pieces = row(stops=("about a cat",))
    done = take(one)
    assert done[:6] == [False] * 5 + [True]
    assert "".join(pieces) == "a short story"
    assert one.ended == "stop"


def test_a_row_ends_at_its_length():
    one, _ = row(limit=3)
    assert take(one, 3) == [False, False, True]
    assert one.ended == "length"


def test_halves_of_a_character_are_not_sent():
    one, pieces = row()
    one.take(0, frozenset(), lambda ids: "caf\ufffd")
    one.take(1, frozenset(), lambda ids: "café noir")
    assert pieces == ["café"]


def test_cut():
    assert cut("one two three", ["three", "two"]) == ("one", True)
    assert cut("one", ["four"]) == ("one", False)


def test_every_refusal_has_a_status():
    statuses = {kind.__name__: kind.status for kind in Refusal.__subclasses__()}
    assert {400, 401, 403, 404, 413, 429, 503, 504} <= set(statuses.values())


def test_no_module_of_the_server_writes_files():
    for path in Path(__file__).parents[2].joinpath("lens_plugins", "serve").glob("*.py"):
        text = path.read_text()
        assert "write_text(" not in text
        assert text.count("write_bytes(") == (1 if path.name == "uploads.py" else 0)  # where there is no memory file
