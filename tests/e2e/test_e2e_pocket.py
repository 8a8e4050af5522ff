"""The host that ships, about real things, as a newcomer meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lens_plugins.cli.main import run

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("pocket")]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def told(capsys):
    """What a command line says as JSON."""

    def command(*words: object) -> dict:
        assert run([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return command


def test_a_cloud_is_captioned_without_any_option(told, samples):
    found = told("caption", samples / "pc_piano_0286.npy")
    assert found["host"] == "pocket-instructblip"
    assert found["modality"] == "point_cloud"
    assert len(found["text"].split()) >= 2


def test_a_mesh_from_elsewhere(told, samples):
    assert len(told("caption", samples / "dog.glb")["text"].split()) >= 2


def test_a_question(told, samples):
    found = told("ask", samples / "pc_piano_0286.npy", "What is it used for?")
    assert found["text"]
    assert found["prompt"] == "What is it used for?"


@pytest.mark.parametrize("place", ["vit", "qformer", "llm"])
def test_a_story_of_two_inputs(told, samples, place):
    files = [samples / "pc_piano_0286.npy", samples / "beach1.jpg"]
    found = told("story", *files, "--fuse", place, "--max-new-tokens", "12", "--num-beams", "1")
    assert found["modality"] == ["point_cloud", "image"]
    assert found["text"]


def test_the_first_demo_shows_picture_prompt_and_answer():
    demo = ROOT / "demos" / "caption_point_cloud.py"
    done = subprocess.run([sys.executable, demo], capture_output=True, text=True, check=True, timeout=300)
    *picture, prompt, answer = done.stdout.splitlines()
    assert sum(any("\u2801" <= dot <= "\u28ff" for dot in line) for line in picture) >= 5
    assert prompt.startswith("prompt: ")
    assert answer.startswith("answer: ")
    assert len(answer.split()) >= 3
