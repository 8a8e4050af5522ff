"""What every lens promises: inherit `LensContract`, give two fixtures, and the promises are tested."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError, InputError
from ..lens.config import LensConfig
from ..lens.lens import CONFIG_FILE, WEIGHTS_FILE, Lens

__all__ = ["LensContract"]


class LensContract:
    """Promises of a lens.

    Give the fixtures ``config`` (a small `LensConfig`) and ``batch`` (two inputs that differ, as the embedding reads
    them).
    """

    @pytest.fixture
    def lens(self, config: LensConfig) -> Lens:
        torch.manual_seed(0)
        return Lens(config).eval()

    def test_it_writes_as_many_latents_as_it_says(self, lens: Lens, batch: Tensor) -> None:
        latents = lens(batch)
        assert tuple(latents.shape) == (len(batch), lens.num_tokens, lens.width)
        assert latents.dtype == lens.dtype
        assert torch.isfinite(latents).all()

    def test_the_halves_make_the_whole(self, lens: Lens, batch: Tensor) -> None:
        tokens, positions = lens.embedding(batch)
        assert tokens.shape[-1] == lens.config.embedding.width
        assert torch.equal(lens.resampler(tokens + positions), lens(batch))

    def test_inputs_of_a_batch_do_not_meet(self, lens: Lens, batch: Tensor) -> None:
        torch.testing.assert_close(lens(batch)[1:], lens(batch[1:]), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(lens(batch)[0], lens(batch)[1], atol=1e-4)

    def test_a_second_call_gives_the_same(self, lens: Lens, batch: Tensor) -> None:
        assert torch.equal(lens(batch), lens(batch))

    def test_a_call_changes_no_weight(self, lens: Lens, batch: Tensor) -> None:
        before = {name: tensor.clone() for name, tensor in lens.state_dict().items()}
        lens.train()(batch)
        moved = [name for name, tensor in lens.state_dict().items() if not torch.equal(tensor, before[name])]
        assert not moved

    def test_training_reaches_every_parameter(self, lens: Lens, batch: Tensor) -> None:
        lens.train()(batch).square().sum().backward()
        dry = [
            n for n, p in lens.named_parameters() if not n.startswith("tower.") and (p.grad is None or not p.grad.any())
        ]
        assert not dry

    def test_saving_and_loading_changes_no_bit(self, lens: Lens, batch: Tensor, tmp_path: Path) -> None:
        lens.save_pretrained(tmp_path / "lens")
        again = Lens.from_pretrained(tmp_path / "lens")
        assert again.config == lens.config
        assert torch.equal(again(batch), lens(batch))

    def test_a_loaded_lens_is_frozen(self, lens: Lens, tmp_path: Path) -> None:
        lens.save_pretrained(tmp_path)
        again = Lens.from_pretrained(tmp_path)
        assert not again.training
        assert not [name for name, parameter in again.named_parameters() if parameter.requires_grad]

    def test_saved_again_it_is_the_same_folder(self, lens: Lens, tmp_path: Path) -> None:
        lens.save_pretrained(tmp_path / "a")
        Lens.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    def test_nothing_loads_in_part(self, lens: Lens, tmp_path: Path) -> None:
        lens.save_pretrained(tmp_path)
        tensors = load_file(tmp_path / WEIGHTS_FILE)
        lost = sorted(tensors)[0]
        del tensors[lost]
        save_file(tensors | {"stray.weight": torch.zeros(1)}, tmp_path / WEIGHTS_FILE)
        with pytest.raises(CheckpointError) as caught:
            Lens.from_pretrained(tmp_path)
        assert lost in str(caught.value)
        assert "stray.weight" in str(caught.value)

    @pytest.mark.parametrize("shape", [(2,), (2, 3), (1, 1, 1, 1, 1, 1, 1)])
    def test_another_shape_is_refused_with_the_shape(self, lens: Lens, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError) as caught:
            lens(torch.zeros(shape))
        assert str(shape) in str(caught.value)

    def test_half_precision_keeps_the_direction(self, lens: Lens, batch: Tensor) -> None:
        exact = lens(batch).flatten(1)
        rough = lens.bfloat16()(batch).float().flatten(1)
        assert torch.cosine_similarity(exact, rough).min() > 0.98
