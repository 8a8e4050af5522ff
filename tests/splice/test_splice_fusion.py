"""What "before the ViT" means, on numbers small enough to write down."""

import pytest
import torch

from lens_plugins.errors import ConfigError, DoesNotFit
from lens_plugins.splice.fusion import PLACES, Frame, arrange, check_place, join_tokens

CLASS = torch.tensor([[[100.0]]])
POSITIONS = torch.tensor([[[1.0], [2.0], [3.0]]])  # class row, then two patches


def test_class_token_comes_first_with_its_own_position():
    joined = join_tokens([torch.tensor([[[10.0], [20.0]]])], CLASS, POSITIONS)
    assert joined.flatten().tolist() == [101.0, 12.0, 23.0]


def test_fused_inputs_share_one_class_token_and_repeat_the_positions():
    first, second = torch.tensor([[[10.0], [20.0]]]), torch.tensor([[[30.0], [40.0]]])
    assert join_tokens([first, second], CLASS, POSITIONS).flatten().tolist() == [101.0, 12.0, 23.0, 32.0, 43.0]
    assert join_tokens([second, first], CLASS, POSITIONS).flatten().tolist() == [101.0, 32.0, 43.0, 12.0, 23.0]


def test_every_row_of_a_batch_gets_the_class_token():
    joined = join_tokens([torch.zeros(3, 2, 1)], CLASS, POSITIONS)
    assert joined.shape == (3, 3, 1)
    assert joined[:, 0].flatten().tolist() == [101.0] * 3


@pytest.mark.parametrize("place", PLACES)
def test_known_places_pass(place):
    assert check_place(place) == place


def test_an_unknown_place_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"no place 'qformr' to fuse inputs; did you mean 'qformer'"):
        check_place("qformr")


def test_before_the_vit_one_sequence_holds_every_input():
    assert arrange(["a", "b"], "vit") == [Frame((("a", "b"),))]


def test_before_the_qformer_one_frame_holds_a_sequence_of_each_input():
    assert arrange(["a", "b"], "qformer") == [Frame((("a",), ("b",)))]


def test_before_the_language_model_every_clip_is_a_frame():
    assert arrange(["a", "bc"], "llm") == [Frame((("a",),)), Frame((("b",),)), Frame((("c",),))]


@pytest.mark.parametrize("place", PLACES)
def test_clips_of_one_recording_are_frames_in_time(place):
    assert arrange(["abc"], place) == [Frame((("a",),)), Frame((("b",),)), Frame((("c",),))]


def test_what_has_no_clips_takes_part_at_every_time():
    assert arrange(["a", "bc"], "vit") == [Frame((("a", "b"),)), Frame((("a", "c"),))]
    assert arrange(["ab", "cd"], "qformer") == [Frame((("a",), ("c",))), Frame((("b",), ("d",)))]


def test_unequal_numbers_of_clips_meet_only_in_the_language_model():
    with pytest.raises(DoesNotFit, match=r"2 and 3 clips cannot be fused before the ViT"):
        arrange(["abc", "de"], "vit")
    assert len(arrange(["abc", "de"], "llm")) == 5
