"""What every host promises: inherit a contract, give the fixtures, and the promises are tested."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from ..errors import ConfigError, DoesNotFit, Unsupported
from ..hosts.base import Host
from ..hosts.messages import Reply, Request, Text
from ..hosts.text_tower import HostTextTower
from ..inputs import ModalityInput
from ..lens.lens import Lens
from ..splice import PLACES, digest, unchanged

__all__ = ["EmbeddingHostContract", "HostContract"]


class EmbeddingHostContract:
    """Promises of every host: it embeds, and lenses change nothing in it. Hosts that write keep `HostContract` too.

    Give the fixtures ``host`` (without lenses; made anew for each test or left as it was), ``lens`` (one for its ViT,
    not of pictures), ``heard`` (an input of its modality), ``pixels`` (B, 3, S, S) and ``reference_features`` (what the
    host's own code makes of them after its final norm).
    """

    @pytest.fixture
    def picture(self, pixels: Tensor) -> ModalityInput:
        return ModalityInput("image", pixels[0], None)

    @pytest.fixture
    def plugged(self, host: Host, lens: Lens) -> Iterator[Host]:
        """The host with its lens, which it forgets again."""
        host.plug(lens)
        yield host
        host.unplug(lens.modality)

    def test_a_spliced_picture_is_the_hosts_own(self, host: Host, pixels: Tensor, reference_features: Tensor) -> None:
        features = host.vit.encode(host.vit.embed_image(pixels))
        torch.testing.assert_close(features, reference_features, atol=1e-4, rtol=1e-4)

    def test_nothing_moves_while_it_embeds(
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        before, own = digest(host.model), host.embed(picture)
        host.plug(lens)
        assert digest(host.model) == before
        with unchanged(host.model), unchanged(lens):
            host.embed([heard, picture])
        host.unplug(lens.modality)
        assert host.lenses == {}
        assert digest(host.model) == before
        torch.testing.assert_close(host.embed(picture), own)
        with pytest.raises(Unsupported, match="has no lens for"):
            host.embed(heard)

    def test_a_lens_of_another_width_is_refused_with_both_numbers(self, host: Host, lens: Lens) -> None:
        other = _Resized(lens, width=lens.width + 8)
        with pytest.raises(DoesNotFit, match=rf"width {lens.width + 8}; .* width {host.vit.width}"):
            host.plug(other)
        assert host.lenses == {}

    def test_a_lens_of_another_length_is_refused_with_both_numbers(self, host: Host, lens: Lens) -> None:
        other = _Resized(lens, num_tokens=lens.num_tokens + 3)
        with pytest.raises(DoesNotFit, match=rf"{lens.num_tokens + 3} latents; .* {host.vit.num_patches} patches"):
            host.plug(other)
        assert host.lenses == {}

    def test_embeddings_are_unit_vectors_of_one_space(
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        host.plug(lens)
        vectors = host.embed([picture, heard, picture])
        host.unplug(lens.modality)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
        torch.testing.assert_close(vectors[0], vectors[2])
        assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)

    def test_many_are_embedded_as_one_by_one_and_in_order(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        asked = [picture, heard, heard, picture, heard]
        alone = torch.cat([plugged.embed(one) for one in asked])
        torch.testing.assert_close(plugged.embed(asked), alone, atol=1e-5, rtol=0)

    def test_eight_threads_embed_as_one_by_one(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        asked: list[Any] = [picture, heard, [picture, heard]] * 4
        alone = [plugged.embed(one) for one in asked]
        with ThreadPoolExecutor(8) as pool:
            for together, singly in zip(pool.map(plugged.embed, asked), alone):
                torch.testing.assert_close(together, singly, atol=1e-5, rtol=0)

    def test_it_embeds_where_it_is_moved(self, plugged: Host, heard: ModalityInput) -> None:
        before = plugged.embed(heard)
        assert plugged.to("cpu") is plugged
        assert plugged.vit.device == torch.device("cpu")
        torch.testing.assert_close(plugged.embed(heard), before)
        for absent in ("cuda:99", "nowhere"):
            with pytest.raises(ConfigError, match=absent):
                plugged.to(absent)

    def test_the_likest_is_found_first(self, plugged: Host, heard: ModalityInput, picture: ModalityInput) -> None:
        found = plugged.search(heard, [picture, heard], space="vision")
        assert [hit["index"] for hit in found] == [1, 0]
        assert found[0]["item"] is heard
        assert found[0]["score"] == pytest.approx(1, abs=1e-4)
        vectors = plugged.embed([picture, heard], space="vision")
        (best,) = plugged.search(picture, vectors, top=1, space="vision")
        assert best["index"] == 0

    def test_labels_are_compared_where_there_is_a_text_tower(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        labels = ["heard", "picture"]
        # each label's vector is that of one input, so the right answer is known
        own, plugged.text_tower = plugged.text_tower, None
        try:
            with pytest.raises(Unsupported, match="has no text tower"):
                plugged.classify(picture, labels)
            vectors = dict(zip(labels, plugged.embed([heard, picture])))
            plugged.text_tower = _told(vectors)
            ranked = plugged.classify(picture, labels)
            assert [one["label"] for one in ranked] == ["picture", "heard"]
            assert sum(one["score"] for one in ranked) == pytest.approx(1)
            several = plugged.classify([heard, picture], labels)
            assert [row[0]["label"] for row in several] == labels
            assert plugged.search(Text("heard"), [picture, heard], top=1)[0]["index"] == 1
        finally:
            plugged.text_tower = own

    def test_labels_may_have_several_templates_or_vectors_of_their_own(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        labels, own = ["heard", "picture"], plugged.text_tower
        plugged.text_tower = None
        try:
            vectors = plugged.embed([heard, picture])
            given = [row[0]["label"] for row in plugged.classify([picture, heard], labels, vectors=vectors)]
            assert given == ["picture", "heard"]
            with pytest.raises(DoesNotFit, match="for 2 labels it is"):
                plugged.classify(picture, labels, vectors=vectors[:1])
            # one template says the other input's words: the mean of two unit vectors, made unit, is the same for both
            told = dict(zip(("a heard", "a picture", "the heard", "the picture"), vectors[[0, 1, 1, 0]]))
            plugged.text_tower = _told(told)
            written = plugged.label_vectors(labels, ["a {}", "the {}"])
            middle = torch.nn.functional.normalize(vectors.mean(dim=0), dim=-1)
            torch.testing.assert_close(written, middle.expand(2, -1))
            twice = plugged.label_vectors(labels, ["a {}", "a {}", "the {}"])
            assert (twice * vectors).sum(dim=-1).min() > (written * vectors).sum(dim=-1).max()
        finally:
            plugged.text_tower = own

    def test_only_a_lens_that_is_plugged_is_unplugged(self, host: Host) -> None:
        with pytest.raises(ConfigError, match="has no lens for 'smell' to unplug; plugged: none"):
            host.unplug("smell")


class HostContract(EmbeddingHostContract):
    """Promises of a host that writes, besides those of every host.

    Where it needs options to be quick and repeatable, give the fixture ``options`` (of `generate`). Several inputs meet
    at every place, threads share the host, and what it cannot do it refuses: each is tested without another fixture.
    """

    knows_beams = True
    """Whether it takes transformers' `num_beams`; a host that does not must refuse it."""

    @pytest.fixture
    def options(self) -> dict[str, Any]:
        return {"max_new_tokens": 5}

    @pytest.fixture
    def one_beam(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options with which a stream gives the very words of `generate`."""
        return {**options, "num_beams": 1} if self.knows_beams else options

    def test_nothing_moves_before_during_and_after(
        self, host: Host, lens: Lens, heard: ModalityInput, options: dict[str, Any]
    ) -> None:
        before = digest(host.model)
        host.plug(lens)
        assert digest(host.model) == before
        with unchanged(host.model), unchanged(lens):
            host.generate(heard, **options)
        host.unplug(lens.modality)
        assert host.lenses == {}
        assert digest(host.model) == before

    def test_unplug_leaves_the_hosts_own_captions(
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput, options: dict[str, Any]
    ) -> None:
        own = host.generate(picture, **options)
        host.plug(lens)
        host.generate(heard, **options)
        host.unplug(lens.modality)
        assert host.generate(picture, **options) == own
        with pytest.raises(Unsupported, match="has no lens for"):
            host.generate(heard, **options)

    def test_a_batch_answers_as_one_by_one_and_in_order(
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput, options: dict[str, Any]
    ) -> None:
        host.plug(lens)
        requests = [Request(picture), Request([heard]), Request(picture, "what is this"), Request([picture, heard])]
        together = host.generate_batch(requests, batch_size=3, **options)
        # the second batch has one request, so that it is padded otherwise
        backwards = host.generate_batch(requests[::-1], batch_size=3, **options)
        alone = [host.generate(r.inputs, r.prompt, **options) for r in requests]
        host.unplug(lens.modality)
        assert together == alone
        assert backwards == alone[::-1]

    @pytest.mark.parametrize("place", PLACES)
    def test_several_inputs_meet_where_it_is_asked_for_or_are_refused(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput, options: dict[str, Any], place: str
    ) -> None:
        if place not in plugged.places:
            with pytest.raises(Unsupported, match=rf"cannot fuse inputs with fuse='{place}'; it can with"):
                plugged.generate([picture, heard], fuse=place, **options)
            return
        alone = plugged.generate([picture, heard], fuse=place, **options)
        seen = plugged.look([picture, heard], fuse=place)
        assert plugged.generate(seen, **options) == alone
        requests = [Request(picture), Request([picture, heard], fuse=place), Request(heard)]
        assert plugged.generate_batch(requests, **options)[1] == alone
        moments = len(heard.clips)  # the picture is seen with each, or before all of them
        assert len(seen.features) == (1 + moments if place == "llm" else moments)

    def test_a_stream_is_the_answer_of_one_beam_without_a_blank_in_front(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput, one_beam: dict[str, Any]
    ) -> None:
        pieces = list(plugged.stream([picture, heard], "what is this", **one_beam))
        whole = plugged.generate([picture, heard], "what is this", **one_beam)
        assert "".join(pieces).split() == whole.text.split()
        assert all(pieces)
        assert not pieces or not pieces[0][0].isspace()
        with pytest.raises(ConfigError, match="got num_beams=3" if self.knows_beams else "num_beams"):
            list(plugged.stream(picture, **{**one_beam, "num_beams": 3}))

    def test_eight_threads_answer_as_one_by_one(
        self,
        plugged: Host,
        heard: ModalityInput,
        picture: ModalityInput,
        options: dict[str, Any],
        one_beam: dict[str, Any],
    ) -> None:
        prompts = ("what is this", "a photo of", "tell a story")
        asked = [(one, prompt) for prompt in prompts for one in (picture, heard, [picture, heard])]
        alone = [plugged.generate(one, prompt, **options) for one, prompt in asked]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda ask: plugged.generate(ask[0], ask[1], **options), asked * 2))
            streamed = pool.map(lambda ask: "".join(plugged.stream(ask[0], ask[1], **one_beam)), asked)
            texts = ["".join(text.split()) for text in streamed]
        assert together == alone * 2
        singly = [plugged.generate(one, prompt, **one_beam) for one, prompt in asked]
        assert texts == ["".join(reply.text.split()) for reply in singly]

    def test_several_replies_come_best_first(
        self, plugged: Host, heard: ModalityInput, picture: ModalityInput, options: dict[str, Any]
    ) -> None:
        several = {**options, "do_sample": False, "num_beams": 3, "num_return_sequences": 2}
        requests = [Request(picture), Request([picture, heard]), Request(heard, "what is this")]
        if not self.knows_beams:
            with pytest.raises(ConfigError, match=r"num_beams|num_return_sequences|do_sample"):
                plugged.generate_batch(requests, **several)
            return
        for reply in plugged.generate_batch(requests, **several):
            scores = [one.score for one in reply.alternatives]
            assert len(scores) == 2
            assert None not in scores
            assert scores == sorted(scores, key=lambda score: score or 0.0, reverse=True)
            assert (reply, reply.score) == (reply.alternatives[0], scores[0])
        assert plugged.generate(picture, **options).alternatives == ()

    def test_it_stays_where_it_is_moved(self, plugged: Host, heard: ModalityInput, options: dict[str, Any]) -> None:
        before = plugged.generate(heard, **options)
        assert plugged.to("cpu") is plugged
        assert plugged.vit.device == torch.device("cpu")
        assert plugged.generate(heard, **options) == before
        for absent in ("cuda:99", "nowhere"):
            with pytest.raises(ConfigError, match=absent):
                plugged.to(absent)

    def test_a_reply_is_a_string(self, host: Host, picture: ModalityInput, options: dict[str, Any]) -> None:
        reply = host.generate(picture, **options)
        assert isinstance(reply, Reply)
        assert reply == reply.text
        assert isinstance(reply.images, list)

    def test_what_it_cannot_do_is_one_clear_error(self, host: Host, picture: ModalityInput) -> None:
        with pytest.raises(ConfigError, match=r"no place 'vitt'.*did you mean 'vit'"):
            host.generate(picture, fuse="vitt")


def _told(vectors: dict[str, Tensor]) -> HostTextTower:
    """A text tower that writes the vector (D,) told for each text, in the space of the ViT's own."""
    width = len(next(iter(vectors.values())))
    head = torch.nn.Linear(width, width, bias=False).requires_grad_(False)
    head.weight.copy_(torch.eye(width))
    return HostTextTower(head, lambda: lambda texts: torch.stack([vectors[text] for text in texts]))


class _Resized(Lens):
    """A lens that says other numbers than it has."""

    def __init__(self, lens: Lens, **numbers: int) -> None:
        super().__init__(lens.config)
        self._numbers = numbers

    @property
    def width(self) -> int:
        return self._numbers.get("width", super().width)

    @property
    def num_tokens(self) -> int:
        return self._numbers.get("num_tokens", super().num_tokens)
