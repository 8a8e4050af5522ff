import numpy as np
import pytest
import torch

from lens_plugins.inputs import ModalityInput, read
from lens_plugins.inputs.preview import SIDE, preview, preview_sheet
from lens_plugins.testing.small import small_input


@pytest.mark.parametrize("modality", ["image", "point_cloud", "depth", "audio", "tactile", "eeg"])
def test_every_modality_is_drawn(modality):
    drawn = preview(small_input(modality, clips=1))
    assert (drawn.mode, drawn.size) == ("RGB", (SIDE, SIDE))
    assert len(np.unique(np.asarray(drawn))) > 1


def test_clips_stand_side_by_side():
    assert preview(small_input("audio", clips=3)).size == (3 * SIDE + 16, SIDE)


def test_a_cloud_is_drawn_where_its_points_are():
    """A column along y, seen from in front and above, is upright in the middle of the picture."""
    column = np.stack([np.zeros(200), np.linspace(-1, 1, 200), np.zeros(200)], axis=1)
    rows, columns = np.nonzero(np.asarray(preview(read(column, modality="point_cloud")).convert("L")) < 255)
    assert np.ptp(rows) > 0.9 * SIDE
    assert np.ptp(columns) < 4
    assert abs(columns.mean() - SIDE / 2) < 4


def test_time_runs_to_the_right_and_low_bands_are_at_the_bottom():
    spectrogram = torch.zeros(20, 10)
    spectrogram[15:, 0] = 1  # late, in the lowest band
    drawn = np.asarray(preview(ModalityInput("audio", spectrogram)).convert("L")) > 128
    rows, columns = np.nonzero(drawn)
    assert rows.min() > 0.85 * SIDE
    assert columns.min() > 0.7 * SIDE


def test_a_constant_input_is_drawn_without_a_warning():
    assert preview(ModalityInput("eeg", torch.zeros(4, 30))).size == (SIDE, SIDE)
    assert preview(ModalityInput("depth", torch.ones(1, 8, 8))).size == (SIDE, SIDE)


def test_a_sheet_holds_every_input_below_its_name():
    sheet = preview_sheet([small_input("image"), small_input("audio", clips=2)])
    assert sheet.size == (2 * SIDE + 8, 2 * (SIDE + 20))
    titles = np.asarray(sheet.convert("L"))[:20]
    assert titles.min() < 128
