"""What every host promises: inherit `HostContract`, give the fixtures, and the promises are tested."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ..errors import ConfigError, DoesNotFit, Unsupported
from ..hosts.base import Host
from ..hosts.messages import Reply, Request
from ..inputs import ModalityInput
from ..lens.lens import Lens
from ..splice import digest, unchanged

__all__ = ["HostContract"]


class HostContract:
    """Promises of a host.

    Give the fixtures ``host`` (without lenses; made anew for each test or left as it was), ``lens`` (one that fits,
    not of pictures), ``heard`` (an input of its modality), ``pixels`` (B, 3, S, S), ``reference_features`` (what the
    host's own code makes of them after its final norm) and, where the host needs options to be quick and repeatable,
    ``options`` (of `generate`).
    """

    @pytest.fixture
    def options(self) -> dict[str, object]:
        return {"max_new_tokens": 5}

    @pytest.fixture
    def picture(self, pixels: Tensor) -> ModalityInput:
        return ModalityInput("image", pixels[0], None)

    def test_a_spliced_picture_is_the_hosts_own(self, host: Host, pixels: Tensor, reference_features: Tensor) -> None:
        features = host.vit.encode(host.vit.embed_image(pixels))
        torch.testing.assert_close(features, reference_features, atol=1e-4, rtol=1e-4)

    def test_nothing_moves_before_during_and_after(
        self, host: Host, lens: Lens, heard: ModalityInput, options: dict[str, object]
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
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput, options: dict[str, object]
    ) -> None:
        own = host.generate(picture, **options)
        host.plug(lens)
        host.generate(heard, **options)
        host.unplug(lens.modality)
        assert host.generate(picture, **options) == own
        with pytest.raises(Unsupported, match="has no lens for"):
            host.generate(heard, **options)

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

    def test_a_batch_answers_as_one_by_one_and_in_order(
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput, options: dict[str, object]
    ) -> None:
        host.plug(lens)
        requests = [Request(picture), Request([heard]), Request(picture, "what is this"), Request([picture, heard])]
        together = host.generate_batch(requests, batch_size=3, **options)
        alone = [host.generate(r.inputs, r.prompt, **options) for r in requests]
        host.unplug(lens.modality)
        assert together == alone

    def test_a_reply_is_a_string(self, host: Host, picture: ModalityInput, options: dict[str, object]) -> None:
        reply = host.generate(picture, **options)
        assert isinstance(reply, Reply)
        assert reply == reply.text
        assert isinstance(reply.images, list)

    def test_embeddings_are_unit_vectors_of_one_space(
        self, host: Host, lens: Lens, heard: ModalityInput, picture: ModalityInput
    ) -> None:
        host.plug(lens)
        vectors = host.embed([picture, heard, picture])
        host.unplug(lens.modality)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
        torch.testing.assert_close(vectors[0], vectors[2])
        assert not torch.allclose(vectors[0], vectors[1], atol=1e-3)

    def test_what_it_cannot_do_is_one_clear_error(self, host: Host, picture: ModalityInput) -> None:
        with pytest.raises(ConfigError, match=r"no place 'vitt'.*did you mean 'vit'"):
            host.generate(picture, fuse="vitt")
        with pytest.raises(ConfigError, match="has no lens for 'smell' to unplug; plugged: none"):
            host.unplug("smell")


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
