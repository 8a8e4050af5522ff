"""`lens-plugins serve` with both hosts that ship, asked by OpenAI's own client about real files."""

import base64
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from shipped import FILES

import lens_plugins as lp

openai = pytest.importorskip("openai")
pytest.importorskip("fastapi")
pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("pocket")]


@pytest.fixture(scope="module")
def server():
    hosts = ["--host", "pocket-instructblip", "--host", "pocket-seed-llama"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lens_plugins", "serve", *hosts, "--port", "0", "--no-page"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "LENS_PLUGINS_ADMIN_KEY": "admin"},
    )
    for line in process.stderr:
        if found := re.search(r"(http://127\.0\.0\.1:\d+)/v1", line):
            yield found[1]
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none")


def part(source):
    prefix, _, path = source.rpartition(":")
    content = base64.b64encode(Path(path).read_bytes()).decode()
    file = {"filename": Path(path).name, "file_data": f"data:application/octet-stream;base64,{content}"}
    return {"type": "file", "file": file, **({"modality": prefix} if prefix else {})}


def test_every_modality_as_without_a_server(client):
    host = lp.load_host("pocket-instructblip")
    for modality, source in FILES.items():
        host.plug(f"pocket-{modality.replace('_', '-')}")
        made = client.chat.completions.create(
            model="pocket-instructblip", messages=[{"role": "user", "content": [part(source)]}], max_tokens=12
        )
        assert made.choices[0].message.content == str(host.generate(source, max_new_tokens=12))
        assert made.lens_plugins["modalities"] == [modality]


def test_stream_and_labels_and_vectors(client, server):
    ask = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part(FILES["point_cloud"])]}]
    chunks = client.chat.completions.create(model="pocket-instructblip", messages=ask, max_tokens=12, stream=True)
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks).split()) >= 2
    vectors = client.embeddings.create(
        model="pocket-instructblip", input=["a chair", "a dog", part(FILES["point_cloud"])]
    )
    chair, dog, cloud = (one.embedding for one in vectors.data)
    assert sum(a * b for a, b in zip(chair, cloud)) > sum(a * b for a, b in zip(dog, cloud))


def test_a_picture_of_a_sound(client):
    made = client.images.generate(
        model="pocket-seed-llama", prompt="", extra_body={"input": [part(FILES["audio"])], "seed": 0, "steps": 4}
    )
    assert base64.b64decode(made.data[0].b64_json).startswith(b"\x89PNG")
    assert len(made.data[0].codes) == 32
    edited = client.images.edit(
        model="pocket-seed-llama",
        image=("a.png", base64.b64decode(made.data[0].b64_json)),
        prompt="Make it red.",
        extra_body={"steps": 4},
    )
    assert edited.data[0].b64_json


def test_both_hosts_are_there_and_a_lens_leaves_no_trace(client, server):
    assert [model.id for model in client.models.list()] == ["pocket-instructblip", "pocket-seed-llama"]
    admin = openai.OpenAI(base_url=f"{server}/v1", api_key="admin")
    told = admin.post("/lenses", body={"lens": "pocket-eeg", "model": "pocket-instructblip"}, cast_to=object)
    assert told["before"] == told["after"]
