"""What a training run is told: one frozen dataclass, checked where it is made."""

from __future__ import annotations

from dataclasses import dataclass

from .._config import FrozenConfig

__all__ = ["TrainConfig"]

_CHOICES = {
    "views": ("draw", "mean"),
    "regression": ("none", "cls", "pooled", "tokens"),
    "regression_loss": ("cosine", "smooth_l1"),
    "optimizer": ("adamw", "muon"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}
_POSITIVE = ("steps", "batch_size", "log_every", "checkpoint_every", "memory_gb", "eps", "grad_clip", "logit_scale")
_NOT_NEGATIVE = (
    "validate_every",
    "num_workers",
    "seed",
    "weight_decay",
    "image_weight",
    "text_weight",
    "regression_weight",
    "embedding_share",
)
_OF_THE_RUN = ("steps", "max_minutes", "log_every", "checkpoint_every", "num_workers", "memory_gb")


@dataclass(frozen=True)
class TrainConfig(FrozenConfig):
    """Everything about a run but its data, its ViT and its lens.

    The defaults are those of the ViT-Lens training recipe (AdamW 0.9/0.98, eps 1e-6, weight decay 0.2, cosine after a
    warm-up), with step counts for the small hosts that ship with this package.
    """

    steps: int = 1000  # optimizer steps; also the length of the cosine
    batch_size: int = 64  # pairs a step, over all devices together; cut to the number of training pairs
    optimizer: str = "adamw"  # adamw | muon (for the lens's matrices): sooner there from random weights
    lr: float | None = None  # None: the usual one of the lens's embedding
    warmup_steps: int | None = None  # None: a tenth of `steps`
    embedding_share: float = 1.0  # of the learning rate, for the lens's embedding; less for one that knows something
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2  # not on biases, norms, latents, position tables and other vectors
    grad_clip: float = 1.0  # largest norm of the gradient
    image_weight: float = 0.5  # of the contrast with the paired pictures
    text_weight: float = 0.5  # of the contrast with the texts
    regression_weight: float = 1.0
    regression: str = "pooled"  # none | cls | pooled (CLS and mean patch) | tokens (CLS and every patch)
    regression_loss: str = "cosine"  # cosine | smooth_l1, on unit vectors
    views: str = "draw"  # a pair with several pictures or texts: draw one an epoch, or use their mean (pictures only)
    center: bool = True  # subtract the mean picture from CLS rows before they are compared
    logit_scale: float = 1 / 0.07  # first value of the learned factor; it never passes 100
    points: int | None = None  # of each cloud in a training batch; None: as many as the lens reads, best by far
    augment: bool = True
    ema: float = 0.0  # decay of a running mean of the weights, which is then what is saved; 0: off
    precision: str = "auto"  # auto (bf16 where CUDA has it, else fp32) | fp32 | bf16 | fp16
    seed: int = 0
    num_workers: int = 0  # processes that prepare batches; 0: the training process itself
    log_every: int = 10
    validate_every: int = 200  # steps; 0: only at the end
    checkpoint_every: int = 200
    max_minutes: float | None = None  # save and stop, cleanly, after this long
    memory_gb: float = 2.0  # of decoded inputs kept in memory; what exceeds it is read again each epoch

    def __post_init__(self) -> None:
        self._check_kinds()
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            self._require(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
        for name in _POSITIVE:
            self._require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in _NOT_NEGATIVE:
            self._require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must be 0 or more.")
        self._require(self.batch_size > 1, f"batch_size is {self.batch_size}; a contrast needs 2 pairs or more.")
        self._require(self.lr is None or self.lr > 0, f"lr is {self.lr}; it must be above 0.")
        self._require(self.points is None or self.points > 0, f"points is {self.points}; it must be above 0.")
        self._require(0 <= self.ema < 1, f"ema is {self.ema}; it must be from 0 (off) to below 1.")
        self._require(self.logit_scale <= 100, f"logit_scale is {self.logit_scale}; it must be 100 or less.")
        self._require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"betas is {self.betas}; it must be two numbers from 0 to below 1.",
        )
        self._require(
            self.warmup_steps is None or 0 <= self.warmup_steps < self.steps,
            f"warmup_steps is {self.warmup_steps}; it must be from 0 to below steps ({self.steps}).",
        )
        self._require(
            self.max_minutes is None or self.max_minutes > 0,
            f"max_minutes is {self.max_minutes}; it must be above 0, or left out.",
        )
        # A run without a term would end well and have learnt nothing.
        terms = self.image_weight + self.text_weight + (self.regression_weight if self.regression != "none" else 0)
        self._require(terms > 0, "image_weight, text_weight and regression_weight are all 0; nothing would be learnt.")

    @property
    def warmup(self) -> int:
        """Steps over which the learning rate rises."""
        return self.steps // 10 if self.warmup_steps is None else self.warmup_steps

    def changed(self, other: TrainConfig) -> list[str]:
        """Names of the fields that make `other` another training than this one (length, limits and cadence don't)."""
        return [k for k, v in self.to_dict().items() if k not in _OF_THE_RUN and v != getattr(other, k)]
