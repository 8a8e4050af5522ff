"""What every modality promises of its reader. Inherit `InputContract`, give four fixtures, inherit the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lens_plugins._config import FrozenConfig
from lens_plugins.catalog import ModalityRow, find_modality, resolve
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import ModalityInput, read

__all__ = ["InputContract"]


class InputContract:
    """Fixtures to give: `modality` (its name), `raw` (a good float array), `settings`, `shape` (of its tensor)."""

    @pytest.fixture
    def row(self, modality: str) -> ModalityRow:
        """The modality's row of the catalogue."""
        return find_modality(modality)

    @pytest.fixture
    def saved(self, raw: np.ndarray, tmp_path: Path) -> Path:
        """The good array as a .npy file."""
        np.save(tmp_path / "good.npy", raw)
        return tmp_path / "good.npy"

    def test_tensor_is_a_plain_float32_one_of_the_stated_shape(
        self, raw: np.ndarray, modality: str, settings: FrozenConfig, shape: tuple[int, ...]
    ) -> None:
        tensor = read(raw, modality, settings).tensor
        assert (tuple(tensor.shape), tensor.dtype, tensor.device.type) == (shape, torch.float32, "cpu")
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert torch.isfinite(tensor).all()

    def test_same_data_give_the_same_tensor_from_array_tensor_and_file(
        self, raw: np.ndarray, modality: str, settings: FrozenConfig, saved: Path
    ) -> None:
        expected = read(raw, modality, settings)
        assert (expected.modality, expected.source) == (modality, None)
        for source in (raw, torch.from_numpy(raw), saved, f"{modality}:{saved}"):
            given = None if isinstance(source, str) else modality
            assert torch.equal(read(source, given, settings).tensor, expected.tensor), type(source)

    def test_tensor_file_equals_the_array(
        self, raw: np.ndarray, modality: str, settings: FrozenConfig, tmp_path: Path
    ) -> None:
        torch.save(torch.from_numpy(raw), tmp_path / "good.pt")
        found = read(tmp_path / "good.pt", modality, settings)
        assert torch.equal(found.tensor, read(raw, modality, settings).tensor)

    def test_source_is_the_file(self, modality: str, settings: FrozenConfig, saved: Path) -> None:
        assert read(saved, modality, settings).source == str(saved)

    def test_a_read_input_is_returned_as_it_is(self, raw: np.ndarray, modality: str, settings: FrozenConfig) -> None:
        once = read(raw, modality, settings)
        assert isinstance(once, ModalityInput)
        assert read(once) is once
        with pytest.raises(InputError, match=f"already {modality}, not other"):
            read(once, "other")

    def test_the_array_given_is_not_changed(self, raw: np.ndarray, modality: str, settings: FrozenConfig) -> None:
        before = raw.copy()
        tensor = read(raw, modality, settings).tensor
        tensor.zero_()
        assert np.array_equal(raw, before)

    def test_values_that_are_not_finite_are_refused(
        self, raw: np.ndarray, modality: str, settings: FrozenConfig
    ) -> None:
        for value in (np.nan, np.inf):
            broken = raw.copy()
            broken.flat[1] = value
            with pytest.raises(InputError, match=f"1 of {raw.size} values NaN or infinite"):
                read(broken, modality, settings)

    def test_arrays_without_numbers_are_refused(self, raw: np.ndarray, modality: str, settings: FrozenConfig) -> None:
        for broken in (raw[:0], np.array(["a", "b"]), np.array([{}]), raw[None, None, None]):
            with pytest.raises(InputError):
                read(broken, modality, settings)

    def test_every_suffix_refuses_what_is_no_such_file(
        self, row: ModalityRow, modality: str, settings: FrozenConfig, tmp_path: Path
    ) -> None:
        for suffix in (*row.suffixes, *row.also):
            path = tmp_path / f"bad{suffix}"
            with pytest.raises(InputError, match="There is no file"):
                read(path, modality, settings)
            for content in (b"", b"PK\x03\x04" + bytes(60), bytes(range(256)) * 8):
                path.write_bytes(content)
                with pytest.raises(InputError) as caught:
                    read(path, modality, settings)
                assert str(path) in str(caught.value)
            path.unlink()
            path.mkdir()
            with pytest.raises(InputError, match="is a directory"):
                read(path, modality, settings)

    def test_settings_survive_json_and_refuse_unknown_fields(self, row: ModalityRow, settings: FrozenConfig) -> None:
        kind = resolve(row.settings)
        assert isinstance(settings, kind)
        assert issubclass(kind, FrozenConfig)
        assert kind.from_dict(settings.to_dict()) == settings
        with pytest.raises(ConfigError, match="no_such_field"):
            kind.from_dict({"no_such_field": 1})
