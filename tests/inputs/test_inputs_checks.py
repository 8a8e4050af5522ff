import numpy as np
import pytest
import torch

import lens_plugins as lp
from lens_plugins.catalog import find_modality
from lens_plugins.errors import InputError
from lens_plugins.inputs import EegSettings, ModalityInput
from lens_plugins.inputs.checks import check_result


def test_a_sound_result_passes_unchanged():
    made = ModalityInput("eeg", torch.zeros(2, 3))
    assert check_result(made, find_modality("eeg")) is made
    clips = ModalityInput("audio", torch.zeros(3, 4, 5))
    assert check_result(clips, find_modality("audio")) is clips


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5), (0, 3), ()])
def test_shapes(shape):
    with pytest.raises(InputError, match=r"What was given as an EEG recording was read as .* of shape \("):
        check_result(ModalityInput("eeg", torch.zeros(shape)), find_modality("eeg"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e10, -1e30])
def test_numbers(bad):
    made = ModalityInput("eeg", torch.tensor([[1.0, bad, 2.0]]), "a.edf")
    with pytest.raises(InputError, match=r"a\.edf has numbers that cannot be an EEG recording: 1 of the 3 values"):
        check_result(made, find_modality("eeg"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_every_reader_is_checked(tmp_path, monkeypatch, value):
    made = lp.ModalityInput("image", torch.full((3, 4, 4), value))
    monkeypatch.setattr("lens_plugins.inputs.image.read", lambda payload, settings: made)
    with pytest.raises(InputError, match="NaN, infinite or beyond 1e"):
        lp.read(np.zeros((4, 4, 3)), modality="image")
    monkeypatch.undo()
    settings = EegSettings(channels=2, steps=8, start=0, stop=8)
    with pytest.raises(InputError, match=r"1e\+300"):
        lp.read(np.full((2, 50), 1e300), modality="eeg", settings=settings)
    np.save(tmp_path / "a.npy", np.full(16_000, 1e30, np.float32) * np.random.default_rng(0).choice([-1, 1], 16_000))
    with pytest.raises(InputError, match=r"a\.npy"):
        lp.read(f"audio:{tmp_path / 'a.npy'}")


def test_a_file_whose_name_begins_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~.xyz").write_text("0 0 0\n1 2 3\n4 5 6\n")
    assert lp.read("~.xyz").tensor.shape == (3, 3)
    with pytest.raises(InputError, match=r"no file ~nobody\.xyz"):
        lp.read("~nobody.xyz")
