"""How often lenses and ViT run, and that sharing changes no answer."""

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from lens_plugins import ModalityInput, Request
from lens_plugins.testing.small import small_input, small_lens


@pytest.fixture
def host(instructblip):
    for modality in ("point_cloud", "audio", "depth", "tactile", "eeg"):
        instructblip.plug(small_lens(modality))
    return instructblip


@pytest.fixture
def passes(host):
    """Shapes of what went through the blocks."""
    shapes = []
    hook = host.vit.blocks.register_forward_hook(lambda _, given, __: shapes.append(tuple(given[0].shape)))
    yield shapes
    hook.remove()


def test_a_mixed_batch_goes_through_the_vit_once(host, passes):
    requests = [Request(small_input(m, clips=1)) for m in ("image", "point_cloud", "audio", "depth", "eeg", "tactile")]
    host.generate_batch(requests, max_new_tokens=2)
    assert passes == [(6, 5, 32)]


def test_passes_of_one_length_go_together(host, passes):
    both = [small_input("image"), small_input("point_cloud")]
    host.generate_batch([Request(both), Request(both[0]), Request(both[::-1]), Request(both[1])], max_new_tokens=2)
    assert sorted(passes) == [(2, 5, 32), (2, 9, 32)]


def test_identical_inputs_are_encoded_once_also_across_batches(host, passes):
    requests = [Request(small_input("image"), prompt) for prompt in ("a", "what is this", "a photo of")]
    host.generate_batch(requests, batch_size=1, max_new_tokens=2)
    assert passes == [(1, 5, 32)]


def test_inputs_are_told_apart_by_content_and_modality(host, passes):
    values = small_input("image").tensor
    same = [ModalityInput("image", values.clone(), "b.png"), ModalityInput("image", values, "a.png")]
    other = [ModalityInput("tactile", values, "a.png"), ModalityInput("image", values + 1e-3, "a.png")]
    host.generate_batch([Request(one) for one in same + other], max_new_tokens=2)
    assert passes == [(3, 5, 32)]


def test_one_lens_reads_its_inputs_in_one_batch(host):
    seen = []
    hook = host.lenses["point_cloud"].register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    host.generate_batch([Request(small_input("point_cloud", seed=s)) for s in (1, 2, 3, 1)], max_new_tokens=2)
    hook.remove()
    assert seen == [3]


def test_clouds_of_unequal_sizes_share_the_vit(host, passes):
    clouds = [ModalityInput("point_cloud", torch.randn(n, 3), None) for n in (20, 33)]
    host.generate_batch([Request(cloud) for cloud in clouds], max_new_tokens=2)
    assert passes == [(2, 5, 32)]


def test_clips_are_units_in_time_order(host):
    recording = small_input("audio", clips=3)
    (seen,) = host.look_batch([Request(recording)])
    assert [tuple(unit.shape) for unit in seen.features] == [(5, 32)] * 3
    alone = host.look_batch([Request(ModalityInput("audio", clip, None)) for clip in recording.tensor])
    for unit, one in zip(seen.features, alone):
        torch.testing.assert_close(unit, one.features[0])


def test_units_of_each_place(host):
    inputs = [small_input("image"), small_input("image", seed=5)]
    seen = host.look_batch([Request(inputs, fuse=place) for place in ("vit", "qformer", "llm")])
    assert [[len(unit) for unit in one.features] for one in seen] == [[9], [10], [5, 5]]
    assert not torch.equal(*seen[2].features)


def test_what_was_looked_at_is_not_encoded_again(host, passes):
    seen = host.look(small_input("image"))
    first = host.generate(seen, "what is this", max_new_tokens=4)
    again = host.generate_batch(
        [Request(seen, "what is this"), Request(small_input("image", seed=9))], max_new_tokens=4
    )
    assert len(passes) == 2
    assert first == again[0]


def test_files_are_read_as_the_lens_wants_them(host, tmp_path):
    cloud, picture = tmp_path / "cloud.npy", tmp_path / "photo.png"
    np.save(cloud, np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(picture)
    assert host.read(str(cloud)).modality == "point_cloud"
    assert host.read(picture).tensor.shape == (3, 28, 28)
    assert host.read(f"tactile:{picture}").modality == "tactile"
    assert host.generate([str(cloud), str(picture)], max_new_tokens=3).text is not None


def test_the_number_of_clips_can_be_asked_for(host, tmp_path):
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(size=48000).astype(np.float32) / 9, 16000)
    assert host.read(path).tensor.shape == (3, 24, 128)
    assert host.read(path, clips=1).tensor.shape == (24, 128)
    assert len(host.look(str(path), clips=2).features) == 2
