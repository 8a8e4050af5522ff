import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lens_plugins import Reply, Request
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.hosts.messages import Seen


def test_a_reply_is_its_text_and_carries_pictures():
    picture = Image.new("RGB", (2, 2))
    reply = Reply("a chair", parts=["a chair", picture])
    assert reply == "a chair"
    assert reply.upper() == "A CHAIR"
    assert type(reply.text) is str
    assert reply.images == [picture]
    assert reply.parts == ("a chair", picture)


def test_a_reply_of_text_alone_has_no_pictures():
    assert Reply("yes").images == []
    assert Reply("yes").parts == ("yes",)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_a_reply_survives_copying(again):
    reply = again(Reply("both", parts=("both", Image.new("RGB", (2, 2)))))
    assert reply.text == "both"
    assert reply.images[0].size == (2, 2)


def test_one_input_may_stand_alone():
    assert Request("a.ply").sources == ["a.ply"]
    assert Request(["a.ply", "b.jpg"]).sources == ["a.ply", "b.jpg"]


def test_an_empty_request_is_refused():
    with pytest.raises(InputError, match="0 inputs; it needs at least 1"):
        Request([])


def test_an_unknown_place_is_refused_where_the_request_is_made():
    with pytest.raises(ConfigError, match="no place 'lm' to fuse"):
        Request("a.ply", fuse="lm")


def test_what_carries_tensors_and_pictures_is_shown_short():
    assert repr(Seen((torch.zeros(257, 8), torch.zeros(257, 8)))) == "Seen(features of shape (257, 8), (257, 8))"
    assert repr(Reply("both", parts=("both", Image.new("RGB", (64, 32))))) == "Reply('both', pictures of 64 × 32)"
    assert repr(Reply("a chair")) == "'a chair'"


def test_modalities_go_with_inputs():
    array = np.zeros((4, 3))
    assert Request([array, "b.jpg"], modality=["point_cloud", None]).named_sources == [
        (array, "point_cloud"),
        ("b.jpg", None),
    ]
    assert Request((array, 16_000), modality="audio").named_sources == [((array, 16_000), "audio")]
    with pytest.raises(ConfigError, match="1 modalities for 2 inputs"):
        Request(["a", "b"], modality=["eeg"])


def test_a_request_keeps_what_it_says_and_is_given_the_rest():
    asked = Request.of(Request("a.ply", "own", clips=1), "shared", "vit", 3, "depth")
    assert (asked.prompt, asked.fuse, asked.clips, asked.modality) == ("own", "vit", 1, "depth")
    assert Request.of(["a.ply", "b.ply"], "what").sources == ["a.ply", "b.ply"]
