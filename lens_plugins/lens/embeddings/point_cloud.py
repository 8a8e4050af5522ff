"""Point tokenizer: groups around spread centres, each read by a mini-PointNet (Point-BERT, Yu et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._config import FrozenConfig
from ...errors import InputError
from ..geometry import gather_points, spread_and_group

__all__ = ["PointConfig", "PointEmbedding"]

_ROWS_CPU = 1024  # points encoded at once: their activations stay in a core's cache
_ROWS_GPU = 2**18


@dataclass(frozen=True)
class PointConfig(FrozenConfig):
    """Dimensions of the point tokenizer; the defaults are those of the released lenses."""

    trans_dim: int = 384  # width of a token
    num_groups: int = 512
    group_size: int = 32
    encoder_dim: int = 256  # width of a group's feature before the last linear layer
    hidden: int = 128  # the mini-PointNet is hidden, 2 * hidden, 4 * hidden wide
    seed: int | None = None  # of the first centre; None: the cloud's first point

    def __post_init__(self) -> None:
        for name in ("trans_dim", "num_groups", "group_size", "encoder_dim", "hidden"):
            self._require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}.")

    @property
    def width(self) -> int:
        return self.trans_dim

    @property
    def tokens(self) -> int:
        return self.num_groups

    def check_input(self, settings: Any) -> None:
        self._require(
            settings.max_points >= self.group_size,
            f"a group holds {self.group_size} points, but the input settings keep {settings.max_points} of a cloud.",
        )


class StoredNorm(nn.Module):
    """Batch normalisation that only ever uses its stored statistics (eps 1e-5, as upstream trained it)."""

    eps = 1e-5

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def fold(self, linear: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias of `linear` followed by this norm; gradients reach the parameters of both."""
        scale = self.weight * torch.rsqrt(self.var + self.eps)
        return linear.weight * scale[:, None], (linear.bias - self.mean) * scale + self.bias


class _Folded(NamedTuple):
    """The mini-PointNet as five matrix products."""

    lift: tuple[Tensor, Tensor]  # 3 -> h
    expand: tuple[Tensor, Tensor]  # h -> 2h, for the maximum over the group
    shared: tuple[Tensor, Tensor]  # 2h -> 4h, the half that reads this maximum
    own: Tensor  # h -> 4h, the half that reads each point
    project: tuple[Tensor, Tensor]  # 4h -> encoder_dim


class GroupEncoder(nn.Module):
    """Mini-PointNet: one feature per neighbourhood, (B, G, K, 3) -> (B, G, E).

    The plain form is lift, norm, ReLU, expand; maximum over the group; concatenation [maximum, point]; mix, norm,
    ReLU, project; maximum. Here the norms are folded into the layers before them. The half of `mix` that reads the
    maximum is computed once per group, and the half that reads the point is multiplied into `expand`, since nothing
    non-linear lies between the two. The same numbers up to rounding, with about half of the arithmetic; gradients
    flow through it all.
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.lift = nn.Linear(3, hidden)
        self.lift_norm = StoredNorm(hidden)
        self.expand = nn.Linear(hidden, 2 * hidden)
        self.mix = nn.Linear(4 * hidden, 4 * hidden)
        self.mix_norm = StoredNorm(4 * hidden)
        self.project = nn.Linear(4 * hidden, width)

    def forward(self, groups: Tensor) -> Tensor:  # (B, G, K, 3) -> (B, G, E)
        folded = self._fold()
        rows = _ROWS_GPU if groups.is_cuda else _ROWS_CPU
        chunks = groups.flatten(0, 1).split(max(1, rows // groups.shape[2]))
        return torch.cat([_encode(chunk, folded) for chunk in chunks]).unflatten(0, groups.shape[:2])

    def _fold(self) -> _Folded:
        mix, bias = self.mix_norm.fold(self.mix)
        shared, own = mix.chunk(2, 1)  # (4h, 2h) each: upstream concatenates the maximum first
        return _Folded(
            self.lift_norm.fold(self.lift),
            (self.expand.weight, self.expand.bias),
            (shared, bias + own @ self.expand.bias),
            own @ self.expand.weight,
            (self.project.weight, self.project.bias),
        )


def _encode(groups: Tensor, folded: _Folded) -> Tensor:  # (G, K, 3) -> (G, E)
    shape = groups.shape[:2]
    lifted = F.linear(groups.flatten(0, 1), *folded.lift).relu_()  # (GK, h)
    widest = F.linear(lifted, *folded.expand).unflatten(0, shape).amax(1)  # (G, 2h)
    mixed = F.linear(lifted, folded.own).unflatten(0, shape)  # (G, K, 4h)
    mixed = mixed.add_(F.linear(widest, *folded.shared)[:, None]).relu_()
    return F.linear(mixed.flatten(0, 1), *folded.project).unflatten(0, shape).amax(1)


class PointEmbedding(nn.Module):
    """Points -> one token per group, with a position made from the group's centre (upstream ``PointTokenizer``)."""

    config_class: ClassVar = PointConfig
    input_dims: ClassVar = 2  # (P, 3)

    def __init__(self, config: PointConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = GroupEncoder(config.hidden, config.encoder_dim)
        self.reduce = nn.Linear(config.encoder_dim, config.trans_dim)
        self.position = nn.Sequential(
            nn.Linear(3, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.trans_dim)
        )

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, 3) -> tokens (B, G, W), positions (B, G, W).

        Raises:
            InputError: another shape, or fewer points than a group holds.
        """
        centers, groups = self.group(points)  # (B, G, 3), (B, G, K, 3)
        dtype = self.reduce.weight.dtype
        return self.reduce(self.encoder(groups.to(dtype))), self.position(centers.to(dtype))

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, 3) -> centres (B, G, 3), neighbours relative to their centre (B, G, K, 3); both float32."""
        self._check(points)
        points = points.float()  # distances in half precision would choose other neighbours
        size, start = self.config.group_size, self._start(points.shape[1])
        centers, neighbors = (
            gather_points(points, index) for index in spread_and_group(points, self.config.num_groups, size, start)
        )
        return centers, neighbors - centers[:, :, None]

    def _start(self, total: int) -> int:
        if self.config.seed is None:
            return 0
        return int(torch.randint(total, (), generator=torch.Generator().manual_seed(self.config.seed)))

    def _check(self, points: Tensor) -> None:
        if points.ndim != 3 or points.shape[-1] != 3:
            raise InputError(f"The point tokenizer reads clouds of shape (B, P, 3), not {tuple(points.shape)}.")
        if points.shape[1] < self.config.group_size:
            raise InputError(
                f"A cloud of {points.shape[1]} points is too small: one group alone holds {self.config.group_size}."
            )
