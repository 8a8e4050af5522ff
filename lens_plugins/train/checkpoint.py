"""The state of a run in one file, written so that it is there whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..files.tensors import read_pt_value, write_pt
from .config import TrainConfig

__all__ = ["RunState", "load_state", "save_state"]

_FORMAT = 1


@dataclass
class RunState:
    """Everything that a resumed run needs to go on as if it had not stopped."""

    step: int  # steps done
    seconds: float  # of training so far
    config: dict[str, Any]
    data: str  # digest of the pairs, the ViT and the kind of lens: another one is another run
    model: dict[str, Tensor]
    optimizers: list[dict[str, Any]]
    scaler: dict[str, Any]
    ema: dict[str, Tensor]
    random: Tensor  # torch's CPU generator
    random_cuda: Tensor | None


def save_state(path: Path, state: RunState) -> None:
    """Write a state; a reader finds this one or the one before."""
    raw = {f.name: getattr(state, f.name) for f in fields(state)}
    write_pt(path, {"format": _FORMAT, **raw})


def load_state(path: Path, config: TrainConfig, data: str) -> RunState:
    """Read a state that this run may go on from.

    Raises:
        CheckpointError: no such file, a damaged one (every byte is compared with the checksums in it), or one from a
            newer version.
        ConfigError: it was written under another configuration, other pairs or another ViT, or after more steps than
            are asked for.
    """
    try:
        raw = dict(read_pt_value(path, mapped=False, verify=True))
        version = raw.pop("format")
        state = RunState(**raw) if version == _FORMAT else None
        if state and not isinstance(state.config, dict):
            raise TypeError("its configuration has no names")
    except (CheckpointError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not the state of a training run ({str(error).rstrip('.')}). Delete it to start anew."
        ) from error
    if state is None:
        raise CheckpointError(f"{path} has format {version}; this version reads up to {_FORMAT}. Upgrade lens-plugins.")
    before = TrainConfig.from_dict(state.config)
    if different := before.changed(config):
        shown = ", ".join(f"{name} {getattr(before, name)} (now {getattr(config, name)})" for name in different)
        raise ConfigError(f"{path} was written with {shown}; resume with the same values, or start in another folder.")
    if state.step > config.steps:
        raise ConfigError(f"{path} is the state after {state.step} steps, more than the {config.steps} asked for.")
    if state.data != data:
        raise ConfigError(f"{path} was written for other pairs, another ViT or another lens; start in another folder.")
    return state
