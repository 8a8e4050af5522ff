"""Vectors of many inputs: the cache, digests of contents, reading ahead."""

import json
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from lens_plugins import load_host
from lens_plugins.errors import InputError, Unsupported
from lens_plugins.hosts import vectors
from lens_plugins.hosts.vectors import (
    FeatureCache,
    HostDigests,
    content_digest,
    embed_each,
    host_digest,
    read_ahead,
    text_digest,
)
from lens_plugins.splice import digest
from lens_plugins.testing.small import small_lens
from lens_plugins.testing.small_clip import write_clip


@pytest.fixture
def pictures(tmp_path):
    files = []
    for number in range(5):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((20, 20, 3), 40 * number, np.uint8)).save(files[-1])
    return [str(file) for file in files]


def test_vectors_are_those_of_embed_and_errors_stand_in_their_place(instructblip, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"none")
    files = [*pictures[:2], str(tmp_path / "broken.png"), "audio:x.wav", *pictures[2:]]
    for cache in (None, FeatureCache(tmp_path / "cache"), FeatureCache(tmp_path / "cache")):
        found = list(embed_each(instructblip, files, batch_size=2, cache=cache))
        assert isinstance(found[2], InputError)
        assert isinstance(found[3], Unsupported)
        made = torch.stack([one for one in found if isinstance(one, torch.Tensor)])
        torch.testing.assert_close(made, instructblip.embed(pictures))


def test_a_cache_knows_weights_settings_and_content(instructblip, pictures, tmp_path, monkeypatch):
    cache, asked = FeatureCache(tmp_path / "cache"), []
    embed = type(instructblip).embed
    monkeypatch.setattr(
        type(instructblip), "embed", lambda self, given, space: asked.append(len(given)) or embed(self, given, space)
    )
    for _ in range(2):
        list(embed_each(instructblip, pictures, cache=cache))
    assert asked == [5]
    Image.fromarray(np.full((20, 20, 3), 255, np.uint8)).save(pictures[0])
    list(embed_each(instructblip, pictures, cache=cache))
    assert asked == [5, 1]
    settings = instructblip.image_settings
    instructblip.image_settings = settings.from_dict({**settings.to_dict(), "interpolation": "bilinear"})
    list(embed_each(instructblip, pictures, cache=cache))
    assert asked == [5, 1, 5]


def test_a_host_is_another_with_another_lens(instructblip):
    first = host_digest(instructblip, "depth")
    instructblip.plug(small_lens("depth"))
    second = host_digest(instructblip, "depth")
    instructblip.plug(small_lens("depth", seed=1))
    assert len({first, second, host_digest(instructblip, "depth")}) == 3
    assert host_digest(instructblip, "image") == first == host_digest(instructblip)


def test_each_part_is_digested_once_also_by_threads(instructblip, pictures, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(vectors, "digest", lambda part: looked.append(part) or digest(part))
    list(embed_each(instructblip, pictures, batch_size=1, cache=FeatureCache(tmp_path / "cache")))
    assert len(looked) == 1  # the ViT; this host has no text head
    digests = HostDigests(instructblip)
    lens = small_lens("depth")
    instructblip.plug(lens)
    assert [digests.of("depth") for _ in range(3)] == [host_digest(instructblip, "depth")] * 3
    assert sum(part is lens for part in looked) == 2


def test_a_file_is_its_bytes_and_those_of_its_parts(tmp_path):
    (tmp_path / "a.gltf").write_text('{"buffers": [{"uri": "a%20b.bin"}, {"uri": "data:,x"}]}')
    (tmp_path / "a b.bin").write_bytes(b"1")
    (tmp_path / "a.set").write_bytes(b"x")
    (tmp_path / "a.fdt").write_bytes(b"1")
    before = [content_digest(tmp_path / "a.gltf"), content_digest(str(tmp_path / "a.set"))]
    for name in ("a b.bin", "a.fdt"):
        (tmp_path / name).write_bytes(b"22")
    after = [content_digest(tmp_path / "a.gltf"), content_digest(str(tmp_path / "a.set"))]
    assert not set(before) & set(after)
    assert (
        content_digest(np.zeros(3)) == content_digest(torch.zeros(3, dtype=torch.float64)) != content_digest(np.ones(3))
    )


def test_the_oldest_vectors_go(tmp_path):
    cache = FeatureCache(tmp_path, most=3)
    for number in range(6):
        cache.put({f"{number}": torch.full((2,), float(number))})
    assert [cache.get(f"{number}") is not None for number in range(6)] == [False] * 3 + [True] * 3


def test_reading_ahead_is_in_order_bounded_and_ends():
    asked = []

    def items():
        for number in range(100):
            asked.append(number)
            yield number

    batches = read_ahead(items(), lambda number: number**2, 3)
    assert next(batches) == [0, 1, 4]
    assert len(asked) <= 12
    batches.close()
    assert not any(thread.name.startswith("lens-plugins-read") for thread in threading.enumerate())
    assert [n for batch in read_ahead(range(7), abs, 3) for n in batch] == list(range(7))


def test_what_computes_otherwise_is_another_host(tmp_path):
    folder = write_clip(tmp_path / "a", "transformers")
    host = load_host(folder)
    weights, words = host_digest(host), text_digest(host)
    assert (host_digest(load_host(folder)), text_digest(load_host(folder))) == (weights, words)
    for name in ("b", "c"):
        shutil.copytree(folder, tmp_path / name)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    config["vision_config"]["hidden_act"] = "relu"  # no weight tells
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    assert host_digest(load_host(tmp_path / "b")) != weights
    tokenizer = json.loads((tmp_path / "c" / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = list(vocabulary)[:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (tmp_path / "c" / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert text_digest(load_host(tmp_path / "c")) != words
