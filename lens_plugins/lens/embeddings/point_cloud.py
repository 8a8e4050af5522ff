"""Point tokenizer: groups around spread centres, each read by a mini-PointNet (Point-BERT, Yu et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import Self

from ...errors import InputError
from ...inputs.settings import ViTShape
from ...keymap import Convert, KeyMap, Operation, Rename
from ..geometry import gather_points, spread_and_group
from ..released import CLIP, EVA, Layout, Released
from .base import SMALL_TOKEN, Embedding, EmbeddingConfig, Facts

__all__ = ["PointConfig", "PointEmbedding"]

_ROWS_CPU = 1024  # points encoded at once: their activations stay in a core's cache
_ROWS_GPU = 2**18


@dataclass(frozen=True)
class PointConfig(EmbeddingConfig):
    """Dimensions of the point tokenizer; the defaults are those of the released lenses."""

    small: ClassVar[Mapping[str, Any]] = {
        "trans_dim": 24, "num_groups": 8, "group_size": 8, "encoder_dim": 12, "hidden": 8,
    }  # fmt: skip

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
        """W, as every tokenizer calls it."""
        return self.trans_dim

    @property
    def tokens(self) -> int:
        """G, the number of groups."""
        return self.num_groups

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """The released sizes, or a quarter of the groups and half of the encoder for a small ViT."""
        return cls() if vit.large else cls(SMALL_TOKEN, num_groups=128, encoder_dim=128, hidden=64)

    @classmethod
    def resampling(cls, vit: ViTShape) -> tuple[int, int]:
        """Six layers, as in the released lens for EVA ViT-g, or two for a small ViT."""
        return (6, 1) if vit.large else (2, 1)

    def required_input(self, names: set[str]) -> dict[str, Any]:
        """Nothing: clouds of any size are read."""
        return {}

    def check_input(self, settings: Any) -> None:
        """Refuse clouds that are smaller than a group."""
        self._require(
            settings.max_points >= self.group_size,
            f"a group holds {self.group_size} points, but the input settings keep {settings.max_points} of a cloud.",
        )


class StoredNorm(nn.Module):
    """Batch normalisation that only ever uses its stored statistics (eps 1e-5, as upstream trained it)."""

    eps = 1e-5
    mean: Tensor
    var: Tensor

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

    def store(self, values: Tensor) -> None:
        """Keep mean and variance of values (..., width)."""
        rows = values.flatten(0, -2)
        self.mean.copy_(rows.mean(dim=0))
        self.var.copy_(rows.var(dim=0))


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


def _pointwise(theirs: str, ours: str) -> list[Convert | Rename]:
    """Rows of a convolution with a kernel of 1, which is a linear layer here."""
    squeeze = Operation(
        "drop the last axis", lambda tensors: [tensors[0].squeeze(-1)], lambda tensors: [tensors[0].unsqueeze(-1)]
    )
    return [Convert((f"{theirs}.weight",), (f"{ours}.weight",), squeeze), Rename(f"{theirs}.bias", f"{ours}.bias")]


def _norm(theirs: str, ours: str) -> list[Rename]:
    """Rows of a batch normalisation; how many batches it has seen is left out, since it never sees more."""
    names = {"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    rows = [Rename(f"{theirs}.{name}", f"{ours}.{own}") for name, own in names.items()]
    return [*rows, Rename(f"{theirs}.num_batches_tracked", None)]


POINT_KEYS = KeyMap(
    [
        *_pointwise("encoder.first_conv.0", "encoder.lift"),
        *_norm("encoder.first_conv.1", "encoder.lift_norm"),
        *_pointwise("encoder.first_conv.3", "encoder.expand"),
        *_pointwise("encoder.second_conv.0", "encoder.mix"),
        *_norm("encoder.second_conv.1", "encoder.mix_norm"),
        *_pointwise("encoder.second_conv.3", "encoder.project"),
        ("reduce_dim.{leaf}", "reduce.{leaf}"),
        ("pos_embed.{i}.{leaf}", "position.{i}.{leaf}"),
    ]
)


def _encode(groups: Tensor, folded: _Folded) -> Tensor:  # (G, K, 3) -> (G, E)
    shape = groups.shape[:2]
    lifted = F.linear(groups.flatten(0, 1), *folded.lift).relu_()  # (GK, h)
    widest = F.linear(lifted, *folded.expand).unflatten(0, shape).amax(1)  # (G, 2h)
    mixed = F.linear(lifted, folded.own).unflatten(0, shape)  # (G, K, 4h)
    mixed = mixed.add_(F.linear(widest, *folded.shared)[:, None]).relu_()
    return F.linear(mixed.flatten(0, 1), *folded.project).unflatten(0, shape).amax(1)


class PointEmbedding(Embedding):
    """Points -> one token per group, with a position made from the group's centre (upstream ``PointTokenizer``)."""

    config_class: ClassVar = PointConfig
    input_dims: ClassVar = 2  # (P, 3)
    learning_rate: ClassVar = 5e-4
    layouts: ClassVar = dict.fromkeys((EVA, CLIP), Layout("visual_adapter.", POINT_KEYS))
    short_name: ClassVar = "pc"

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

    @torch.no_grad()
    def fit_norms(self, batches: Sequence[Tensor]) -> None:
        """Take the statistics of some clouds, (B, P, 3) each.

        The norms only ever use stored statistics (the released lenses were trained elsewhere with moving ones). Left at
        0 and 1 they would let the biases drown the points, whose offsets from a centre are of the order of 0.1.
        """
        encoder = self.encoder
        groups = torch.cat([self.group(clouds)[1] for clouds in batches])  # (B, G, K, 3)
        encoder.lift_norm.store(encoder.lift(groups))
        points = encoder.expand(F.linear(groups, *encoder.lift_norm.fold(encoder.lift)).relu())  # (B, G, K, 2h)
        widest = points.amax(dim=2, keepdim=True).expand_as(points)
        encoder.mix_norm.store(encoder.mix(torch.cat([widest, points], dim=-1)))

    @classmethod
    def likeness(cls, names: Mapping[str, Tensor]) -> int:
        """A mini-PointNet."""
        return 2 if "visual_adapter.encoder.first_conv.0.weight" in names else 0

    @classmethod
    def facts(cls, released: Released) -> Facts:
        """Widths of the layers; number and size of the groups leave no trace in the weights."""
        trans_dim, encoder_dim = released.shape("visual_adapter.reduce_dim.weight", 2)
        hidden, _, _ = released.shape("visual_adapter.encoder.first_conv.0.weight", 3)
        return Facts({"trans_dim": trans_dim, "encoder_dim": encoder_dim, "hidden": hidden})
