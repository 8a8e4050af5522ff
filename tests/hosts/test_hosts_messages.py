import copy
import pickle

import pytest
from PIL import Image

from lens_plugins import Reply, Request
from lens_plugins.errors import ConfigError, InputError


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
