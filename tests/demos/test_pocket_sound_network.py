"""The network that the stem of the audio lens starts from, in the house's form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pocket import sound_network
from pocket.data.sources import find_source
from torch.nn import functional as F

from lens_plugins.errors import CheckpointError
from lens_plugins.inputs.audio import AudioSettings
from lens_plugins.lens.config import LensConfig
from lens_plugins.lens.embeddings import SpectrogramConfig
from lens_plugins.lens.embeddings.stem import ConvStem
from lens_plugins.lens.lens import Lens
from lens_plugins.lens.perceiver import PerceiverConfig

SETTINGS = AudioSettings(clip_seconds=2.0, frames=198, clips=1)


@pytest.fixture(scope="module")
def network():
    """Random weights by the names and in the shapes of the published ones."""
    generator = torch.Generator().manual_seed(0)
    state, before = {}, 1
    for block, width in enumerate(sound_network.CHANNELS, 1):
        for layer, inside in ((1, before), (2, width)):
            home = f"embedding_net.conv_block{block}"
            state[f"{home}.conv{layer}.weight"] = torch.randn(width, inside, 3, 3, generator=generator) / 5
            state[f"{home}.bn{layer}.weight"] = torch.rand(width, generator=generator) + 0.5
            state[f"{home}.bn{layer}.bias"] = torch.randn(width, generator=generator) / 10
            state[f"{home}.bn{layer}.running_mean"] = torch.randn(width, generator=generator) / 10
            state[f"{home}.bn{layer}.running_var"] = torch.rand(width, generator=generator) + 0.5
        before = width
    return state


def as_published(state, x):  # (B, 1, time, bins) -> (B, C, time, bins)
    """Its blocks as the paper's code runs them: convolution without bias, batch norm, ReLU, twice; maximum."""
    for block in range(1, 5):
        for layer in (1, 2):
            home = f"embedding_net.conv_block{block}"
            norm = [state[f"{home}.bn{layer}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")]
            x = F.relu(F.batch_norm(F.conv2d(x, state[f"{home}.conv{layer}.weight"], padding=1), *norm))
        x = F.max_pool2d(x, 2) if block < 4 else x
    return x


def test_the_stem_sees_what_the_network_sees(network):
    stem = ConvStem(sound_network.CHANNELS, 128)
    stem.load_state_dict(sound_network.stem_weights(network, SETTINGS))
    x = torch.randn(1, 1, 128, 198, generator=torch.Generator().manual_seed(1))
    power = ConvStem.pooled((x * SETTINGS.std).exp()) * stem.offset.exp()[:, None]  # 10000 times its own
    theirs = torch.log10(1 + power) / 9.457798957824707
    with torch.no_grad():
        expected = as_published(network, theirs.transpose(2, 3)).transpose(2, 3)
        assert (stem(x) - expected).norm() < 1e-4 * expected.norm()


def test_white_noise_has_the_level_that_the_network_is_used_to(network):
    """The same noise at 16 and at 44.1 kHz, through either spectrogram."""
    from lens_plugins.inputs import read

    noise = torch.randn(32_000, generator=torch.Generator().manual_seed(2)) * 0.1
    x = read(noise.numpy(), "audio", SETTINGS).tensor.T[None, None]
    offset = sound_network.stem_weights(network, SETTINGS)["offset"]
    found = ConvStem.pooled((x * SETTINGS.std).exp())[0, 0] * offset.exp()[:, None] / 10_000
    window = torch.hann_window(2048, periodic=False)
    theirs = 0.01 * window.square().sum() * 44_100 / 16_000  # the density of its power stays, up to 8 kHz
    torch.testing.assert_close(found.mean(dim=1)[8:-1], theirs.expand(55), rtol=0.2, atol=0)


def test_a_lens_starts_from_the_package(network, tmp_path, monkeypatch):
    folder = tmp_path / "downloads" / find_source("aisfx").folder / "aisfx" / "models"
    folder.mkdir(parents=True)
    torch.save((network, {"prosfx": (np.int64(0), 78)}), folder / "checkpoint.pth")
    monkeypatch.setattr(sound_network, "unpack", lambda source, downloads: downloads / source.folder)
    embedding = SpectrogramConfig(16, 96, patch=1, stride=1, stem=sound_network.CHANNELS)
    lens = Lens(LensConfig("audio", 32, embedding, PerceiverConfig(32, 6, 16, 1, 1, 1, 16, 2, 16), SETTINGS))
    sound_network.start_stem(lens, tmp_path)
    expected = sound_network.stem_weights(network, SETTINGS)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in lens.embedding.stem.state_dict().items())
    assert lens(torch.randn(2, 198, 128)).shape == (2, 6, 32)


def test_another_file_is_refused(network, tmp_path):
    short = {name: tensor for name, tensor in network.items() if name != "embedding_net.conv_block3.bn2.bias"}
    with pytest.raises(
        CheckpointError, match=r"not the network aisfx: it has no embedding_net\.conv_block3\.bn2\.bias"
    ):
        sound_network.stem_weights(short, SETTINGS)
    path = tmp_path / "checkpoint.pth"
    for content in ((Path("/"), {}), "text"):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="cannot be read as the weights of aisfx"):
            sound_network._network(path)


def test_other_settings_have_an_offset_of_their_own(network):
    offset = sound_network.stem_weights(network, SETTINGS)["offset"]
    louder = sound_network.stem_weights(network, replace(SETTINGS, mean=SETTINGS.mean + 1))["offset"]
    torch.testing.assert_close(louder, offset + 1)
    assert offset.isfinite().all()
