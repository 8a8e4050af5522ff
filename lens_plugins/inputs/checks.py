"""What every reader's result must be, asked once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..catalog import ModalityRow
from ..errors import InputError
from .arrays import MAX_VALUES

if TYPE_CHECKING:
    from .base import ModalityInput

__all__ = ["LARGEST", "check_result"]

LARGEST = 1e9
"""No modality's numbers come near it; beyond it sums of squares inside a network lose all precision."""


def check_result(made: ModalityInput, row: ModalityRow) -> ModalityInput:
    """The same input, if a lens of its modality can read it.

    Args:
        made: by the modality's reader: one tensor of `row.ndim` axes, or several clips of them.
        row: the modality's.

    Raises:
        InputError: another number of axes, no values or too many, or values that are not finite or far out of range.
    """
    tensor, name = made.tensor, made.source or f"What was given as {row.noun}"
    if tensor.ndim not in (row.ndim, row.ndim + 1) or not 0 < tensor.numel() <= MAX_VALUES:
        raise InputError(
            f"{name} was read as {row.noun} of shape {tuple(tensor.shape)}; {row.ndim} axes (one more for clips) and "
            f"1 to {MAX_VALUES} values are read."
        )
    low, high = (float(value) for value in torch.aminmax(tensor))
    if not (low >= -LARGEST and high <= LARGEST):  # false for NaN too
        broken = tensor.numel() - int(((tensor >= -LARGEST) & (tensor <= LARGEST)).sum())
        raise InputError(
            f"{name} has numbers that cannot be {row.noun}: {broken} of the {tensor.numel()} values read from it are "
            f"NaN, infinite or beyond {LARGEST:g}. Look at its numbers and their unit."
        )
    return made
