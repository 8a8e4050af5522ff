"""A state is there whole or not at all."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch

from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.files.writing import replacing
from lens_plugins.train import TrainConfig
from lens_plugins.train.checkpoint import RunState, load_state, save_state


def state() -> RunState:
    return RunState(
        step=3, seconds=1.5, config=TrainConfig().to_dict(), data="d", model={"w": torch.ones(2)}, optimizers=[],
        scaler={}, ema={}, random=torch.get_rng_state(), random_cuda=None,
    )  # fmt: skip


def test_there_and_back(tmp_path):
    save_state(tmp_path / "c.pt", state())
    loaded = load_state(tmp_path / "c.pt", TrainConfig(max_minutes=1.0), "d")
    assert (loaded.step, loaded.seconds) == (3, 1.5)
    assert torch.equal(loaded.model["w"], torch.ones(2))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.pt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"junk", "cut"])
def test_damaged_states_are_refused(tmp_path, content):
    path = tmp_path / "c.pt"
    save_state(path, state())
    path.write_bytes(path.read_bytes()[:-200] if content == "cut" else content)
    with pytest.raises(CheckpointError, match=r"c\.pt is not the state of a training run"):
        load_state(path, TrainConfig(), "d")


def test_flipped_bits_are_refused(tmp_path):
    path = tmp_path / "c.pt"
    save_state(path, state())
    with zipfile.ZipFile(path) as archive:
        member = next(info for info in archive.infolist() if info.filename.endswith("data/0"))
    whole = bytearray(path.read_bytes())
    whole[whole.index(torch.ones(2).numpy().tobytes(), member.header_offset)] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"not the state of a training run \(.*c\.pt cannot be read"):
        load_state(path, TrainConfig(), "d")


def test_whatever_bit_flips_nothing_else_is_loaded(tmp_path):
    path = tmp_path / "c.pt"
    save_state(path, state())
    whole, right, refused = path.read_bytes(), repr(load_state(path, TrainConfig(), "d")), 0
    random = np.random.default_rng(0)
    for place in random.choice(len(whole), 300, replace=False):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        path.write_bytes(flipped)
        try:
            loaded = repr(load_state(path, TrainConfig(), "d"))
        except CheckpointError as error:
            refused += str(path) in str(error)
        else:
            assert loaded == right
    assert refused > 200  # the rest is padding


def test_a_state_of_more_steps_than_asked_for(tmp_path):
    save_state(tmp_path / "c.pt", state())
    assert load_state(tmp_path / "c.pt", TrainConfig(steps=3), "d").step == 3
    with pytest.raises(ConfigError, match="the state after 3 steps, more than the 2 asked for"):
        load_state(tmp_path / "c.pt", TrainConfig(steps=2), "d")


def test_a_state_of_other_values_is_refused(tmp_path):
    for content in ([1], {"format": 1}, {"format": 1, "step": 1}, {**vars(state()), "format": 1, "more": 1}):
        torch.save(content, tmp_path / "c.pt")
        with pytest.raises(CheckpointError, match="is not the state of a training run"):
            load_state(tmp_path / "c.pt", TrainConfig(), "d")


def test_a_newer_format_says_upgrade(tmp_path):
    path = tmp_path / "c.pt"
    save_state(path, state())
    raw = torch.load(path, weights_only=True)
    torch.save({**raw, "format": 2}, path)
    with pytest.raises(CheckpointError, match=r"format 2; this version reads up to 1\. Upgrade"):
        load_state(path, TrainConfig(), "d")
