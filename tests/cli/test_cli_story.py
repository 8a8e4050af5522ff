import json

import pytest

from lens_plugins import load_host, load_lens
from lens_plugins.cli.story import PROMPT


@pytest.mark.parametrize("place", ["vit", "qformer", "llm"])
def test_one_story_of_all_files_as_python_tells_it(cli, small, plugged, place):
    files = [str(small / "piano.npy"), str(small / "beach.jpg")]
    found = json.loads(cli("story", *files, *plugged, "--fuse", place, "--json").out)
    host = load_host(small / "host")
    host.plug(load_lens(small / "point_cloud"))
    assert found["text"] == host.generate(files, PROMPT, fuse=place, max_new_tokens=4, num_beams=1)
    assert (found["inputs"], found["prompt"], found["fuse"]) == (files, PROMPT, place)


def test_another_prompt(cli, small, plugged):
    found = json.loads(cli("story", small / "piano.npy", *plugged, "--prompt", "tell a story", "--json").out)
    assert found["prompt"] == "tell a story"


def test_plain_text_is_the_reply_alone(cli, small, plugged):
    ended = cli("story", small / "piano.npy", *plugged)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.strip()
