"""The run: align a lens to a frozen ViT. The ViT is read, never changed; gradients pass through it to the lens."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .. import __version__
from .._config import trait
from ..errors import CheckpointError, ConfigError, DoesNotFit, InternalError, Interrupted
from ..files.jsons import write_json
from ..inputs.image import ImageSettings
from ..inputs.settings import InputSettings
from ..lens.config import LensConfig
from ..lens.embeddings import Embedding
from ..lens.lens import Lens
from ..splice.frozen import digest
from ..splice.vit import FrozenViT
from .augment import Augmentation, augmentation_for
from .checkpoint import RunState, load_state, save_state
from .config import TrainConfig
from .data import PairBatches, Schedule, loader
from .evaluate import lens_cls, lens_features, retrieval
from .folder import RunFolder
from .interrupts import Interrupts
from .log import Bars, MetricsLog, progress_bars
from .loss import AlignmentLoss, Batch
from .optimizers import lr_at, optimizers_for
from .prepare import PairSet, Prepared, prepare
from .recipe import lens_config_for, trainable_lens
from .towers import TextTower, frozen, load_text_head, load_vit, save_text_head
from .trackers import Tracker, start_trackers, with_trackers

__all__ = ["TrainResult", "train_lens"]

log = logging.getLogger(__name__)

StepHook = Callable[[int, dict[str, float]], None]
Score = Callable[[Lens, Callable[[Tensor], Tensor]], "dict[str, float]"]
"""The lens so far, and what leads its class rows (B, D) to unit vectors (B, E) beside texts -> figures by name."""

FIT_INPUTS = 32  # of the training set, for the statistics of a new lens


@dataclass(frozen=True)
class TrainResult:
    """A run that ended well."""

    lens: Lens  # in eval mode, frozen, as saved
    output: Path  # folder that `load_lens` reads
    steps: int  # done, over all resumed parts
    stopped: str  # "steps": all done; "minutes": the time was up, resume to go on
    metrics: dict[str, float]  # the last loss parts, and the retrieval accuracies of the saved lens
    seconds: float  # of training, over all resumed parts


def train_lens(
    manifest: str | Path,
    *,
    vit: FrozenViT | str | Any,
    lens: Lens | LensConfig | str,
    output: str | Path,
    config: TrainConfig | None = None,
    val_manifest: str | Path | None = None,
    text_tower: TextTower | None = None,
    text_head: str | Path | None = None,
    image_settings: ImageSettings | None = None,
    augmentation: Augmentation | None = None,
    cache: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    log_with: str | Tracker | Sequence[str | Tracker] | None = None,
    progress: bool = False,
    on_step: StepHook | None = None,
    score: Score | None = None,
) -> TrainResult:
    """Align a lens to a frozen ViT on pairs of an input and its pictures and texts.

    The lens's CLS row through the ViT is pulled to that of the paired picture through the same ViT, and, with a text
    tower, to the pair's text (`loss.AlignmentLoss`); it reads the ViT's patches too (`TrainConfig.regression`). A text
    lives in the tower's space, so the CLS row is mapped there by a linear head: the host's own, given as a file and
    frozen, or one that is learned along and saved beside the lens.

    The folder `output` then holds the lens (`config.json`, `model.safetensors`: what `load_lens` reads), `train.json`
    (what was asked), `metrics.jsonl`, `checkpoint.pt` (for `resume`), `anchors/` and perhaps `text_head.safetensors`.
    One training at a time writes there. SIGINT and SIGTERM end a run after the step at hand, its state saved.

    Args:
        manifest: JSON lines, see `manifest.read_manifest`; lines of other modalities are left out.
        vit: a `FrozenViT`, a host (anything with `vit` and `image_settings`), or a spec that `load_vit` takes. It stays
            on its device, where the lens is trained too; with several processes it moves to each one's own.
        lens: one to go on from (it is trained in place), a configuration for a new one, or the name of a modality,
            for a new one sized for the ViT.
        output: folder, made where absent.
        config: of the run.
        val_manifest: further pairs to measure retrieval on, beside those of split "val".
        text_tower: gives one vector a text; texts are left out without it.
        text_head: safetensors file with the host's own map from CLS rows to the tower's space.
        image_settings: how paired pictures are read; None: as the host reads them, or squashed to the ViT's size.
        augmentation: of training batches in place of the modality's own.
        cache: folder of picture anchors, worth sharing between runs; None: `output/anchors`.
        resume: go on from `output/checkpoint.pt`; on a CPU the weights are bit for bit those of a run in one piece.
            With more steps than before, the learning rate follows the longer schedule from there.
        overwrite: replace the lens or the unfinished run that `output` holds; a lens stays until the new one is saved.
        log_with: where measurements go besides `metrics.jsonl`: "tensorboard" (into `output/logs`), "wandb", another
            tracker that accelerate knows, or one of its `GeneralTracker` objects; a list of them.
        progress: show bars on stderr.
        on_step: called after each step with its number and what was logged of it (often nothing).
        score: called whenever retrieval is measured; what it returns is logged too. It needs a text tower.

    Raises:
        InputError: bad lines or files of the manifest, all named at once, before anything is trained.
        ConfigError: values that don't go together, a checkpoint of another run, a folder that holds a lens already or
            that another training writes into.
        CheckpointError: a damaged checkpoint, or none to resume; a disk that is full.
        DoesNotFit: lens, text head or text tower don't fit the ViT.
        Interrupted: SIGINT or SIGTERM; says where the state is.
    """
    began = time.monotonic()
    config = config or TrainConfig()
    folder = RunFolder(output)
    folder.check(resume=resume, overwrite=overwrite)
    vit, image_settings = _resolve_vit(vit, image_settings)
    if isinstance(lens, str):
        lens = lens_config_for(lens, vit)
    lens, new = trainable_lens(lens, vit, config.seed)
    accelerator = with_trackers(log_with, folder.path)
    if accelerator.num_processes > 1:
        vit.module.to(accelerator.device)
    with (
        Interrupts() as interrupts,
        folder.locked() if accelerator.is_main_process else nullcontext(),
        frozen(vit.module),
        progress_bars(progress and accelerator.is_main_process) as bars,
    ):
        # One process fills the cache of anchors, the others read it.
        with accelerator.main_process_first():
            prepared = prepare(
                manifest, val_manifest=val_manifest, vit=vit, image_settings=image_settings, lens=lens, config=config,
                cache=Path(cache) if cache else folder.anchors, text_tower=text_tower, bars=bars,
            )  # fmt: skip
        head = _text_head(text_head, vit, prepared)
        run = _Run(accelerator, vit, lens, head, prepared, config, folder, augmentation, began, score)
        if resume:
            run.restore()
        elif new:
            run.fit_norms()
        if accelerator.is_main_process and not resume:
            folder.clear(keep=text_head)
        start_trackers(accelerator, config)
        try:
            result = run.run(bars, on_step, interrupts)
        finally:
            for tracker in accelerator.trackers:
                tracker.finish()
    # A promise to the user, and cheap beside a training: not one bit of the ViT has moved.
    if digest(vit.module) != prepared.vit_digest:
        raise InternalError(f"{vit.name} changed during the training; a frozen ViT must not.")
    return result


class _Alignment(nn.Module):
    """Lens, frozen ViT and loss as one call, which is what several processes keep in step.

    The ViT is no submodule: it is neither trained nor saved.
    """

    def __init__(self, lens: Lens, vit: FrozenViT, loss: AlignmentLoss, autocast: torch.dtype | None) -> None:
        super().__init__()
        self.lens, self.loss = lens, loss
        self._vit, self._autocast = vit, autocast

    def forward(self, batch: Batch, accelerator: Accelerator) -> dict[str, Tensor]:
        with torch.autocast(batch.inputs.device.type, self._autocast) if self._autocast else nullcontext():
            features = lens_features(self.lens, self._vit, batch.inputs)
        return self.loss(features, batch, accelerator)


class _Run:
    """State and steps of one training run; see `train_lens`."""

    def __init__(
        self,
        accelerator: Accelerator,
        vit: FrozenViT,
        lens: Lens,
        text_head: nn.Linear | None,
        prepared: Prepared,
        config: TrainConfig,
        folder: RunFolder,
        augmentation: Augmentation | None,
        began: float,
        score: Score | None = None,
    ) -> None:
        if score is not None and text_head is None:
            raise ConfigError("Scoring during training compares inputs with texts, so it needs a text tower.")
        self.score = score
        self.accelerator, self.vit, self.lens = accelerator, vit, lens
        self.prepared, self.config, self.folder = prepared, config, folder
        self.device = vit.device if accelerator.num_processes == 1 else accelerator.device
        self.batch_size = _batch_size(config.batch_size, len(prepared.train), accelerator.num_processes)
        self.peak = config.lr or trait(lens.embedding, "learning_rate", Embedding)
        precision = _precision(config.precision, self.device)
        self.batches = _batches(lens, prepared, config, augmentation)
        center = _center(prepared) if config.center else torch.zeros(vit.width)
        loss = AlignmentLoss(config, center, text_head)
        self.alignment = _Alignment(lens, vit, loss, precision).to(self.device)
        self.model = accelerator.prepare(self.alignment)
        self.optimizers = optimizers_for(self.alignment, config, self.peak)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == torch.float16)
        # Parameters alone: buffers are statistics, which are not averaged.
        self.ema = {name: p.detach().clone() for name, p in lens.named_parameters()} if config.ema else {}
        self.step, self.seconds = 0, 0.0
        self._validated = -1  # step of the last measurement
        self._began, self._started = began, time.monotonic()

    def fit_norms(self) -> None:
        """Statistics of a new lens, from the inputs of a first batch."""
        count = min(FIT_INPUTS, len(self.prepared.train))
        inputs = self.batches[0, range(count)].inputs.to(self.device)
        trait(self.lens.embedding, "fit_norms", Embedding)([inputs])

    def restore(self) -> None:
        """Take up where the checkpoint was written."""
        state = load_state(self.folder.checkpoint, self.config, self.prepared.data_digest)
        self.alignment.load_state_dict(state.model)
        for optimizer, kept in zip(self.optimizers, state.optimizers):
            optimizer.load_state_dict(kept)
        self.scaler.load_state_dict(state.scaler)
        self.ema = {name: tensor.to(self.device) for name, tensor in state.ema.items()}
        self.step, self.seconds = state.step, state.seconds
        torch.set_rng_state(state.random)
        if state.random_cuda is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state.random_cuda, self.device)

    def save_state(self) -> None:
        if not self.accelerator.is_main_process:
            return
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        save_state(
            self.folder.checkpoint,
            RunState(
                step=self.step,
                seconds=self._spent(),
                config=self.config.to_dict(),
                data=self.prepared.data_digest,
                model=self.alignment.state_dict(),
                optimizers=[optimizer.state_dict() for optimizer in self.optimizers],
                scaler=self.scaler.state_dict(),
                ema=self.ema,
                random=torch.get_rng_state(),
                random_cuda=cuda,
            ),
        )

    def run(self, bars: Bars, on_step: StepHook | None, interrupts: Interrupts) -> TrainResult:
        """All steps that are left, or as many as the time allows; then the lens is measured and saved.

        Raises:
            Interrupted: by a signal; the state is saved.
        """
        metrics_file = MetricsLog(self.folder.metrics if self.accelerator.is_main_process else None, self.step)
        bar = bars.add("training", self.config.steps, self.step)
        self._started = time.monotonic()
        last: dict[str, float] = {}
        stopped = "steps"
        self._write_request()
        interrupts.begin_steps()
        for batch in self._loader():
            parts = self._one_step(batch.to(self.device))
            row = self._row(parts)
            if row:
                self._log(metrics_file, row)
                last |= row
                bar.note(f"loss {last['loss']:.3f}" if "loss" in last else "")
            bar.advance()
            # Before the hook, which may end the run.
            if self.step % self.config.checkpoint_every == 0:
                self.save_state()
            if on_step:
                on_step(self.step, row)
            reason = self._reason_to_stop(interrupts)
            if reason and self.step < self.config.steps:
                stopped = reason
                break
        if stopped == "interrupted":
            self.save_state()
            raise Interrupted(
                f"Stopped by {interrupts.asked or 'a signal'} after step {self.step} of {self.config.steps}. The state "
                f"is in {self.folder.checkpoint}; go on with --resume (in Python resume=True)."
            )
        return self._finish(stopped, last, metrics_file)

    def _log(self, metrics_file: MetricsLog, row: dict[str, float]) -> None:
        metrics_file.write({"step": self.step, **row})
        self.accelerator.log(row, step=self.step)

    def _loader(self) -> DataLoader[Batch]:
        schedule = Schedule(
            len(self.prepared.train),
            self.batch_size,
            self.config.seed,
            start=self.step,
            stop=self.config.steps,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        return loader(self.batches, schedule, self.config.num_workers)

    def _one_step(self, batch: Batch) -> dict[str, Tensor]:
        self.lens.train()
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = lr_at(self.step, self.config, self.peak) * group.get("share", 1.0)
        # Through the prepared module: with several processes its call is what gathers gradients.
        parts = self.model(batch, self.accelerator)
        self.alignment.zero_grad(set_to_none=True)
        self.accelerator.backward(self.scaler.scale(parts["loss"]))
        # Clipped in their own units, not in those of the loss scale.
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.alignment.parameters(), self.config.grad_clip)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.step += 1
        self._follow()
        return parts

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running mean; it forgets faster at first, when the weights are far from where they end."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, parameter in self.lens.named_parameters():
            if name in self.ema:
                self.ema[name].lerp_(parameter, 1 - decay)

    def _row(self, parts: dict[str, Tensor]) -> dict[str, float]:
        """What is logged of the step just done."""
        row: dict[str, float] = {}
        if self.step % self.config.log_every == 0 or self.step in (1, self.config.steps):
            row = {name: float(part.detach()) for name, part in parts.items()}
            if not math.isfinite(row["loss"]):
                raise ConfigError(f"The loss is {row['loss']} at step {self.step}; lower lr, which is {self.peak}.")
            row |= {"lr": self.optimizers[0].param_groups[0]["lr"], "seconds": round(self._spent(), 2)}
        if self.config.validate_every and self.step % self.config.validate_every == 0:
            row |= self._validate(self.lens)
        return row

    def _validate(self, lens: Lens) -> dict[str, float]:
        held_out = self.prepared.val
        self._validated = self.step
        lens.eval()
        if self.score is not None and self.accelerator.is_main_process:
            with torch.no_grad():
                return self.score(lens, self.alignment.loss.to_text) | self._retrieval(lens, held_out)
        return self._retrieval(lens, held_out)

    def _retrieval(self, lens: Lens, held_out: PairSet) -> dict[str, float]:
        if not len(held_out):
            return {}
        cls = lens_cls(lens, self.vit, held_out.store, len(held_out), batch_size=self.batch_size)
        return retrieval(self.alignment.loss, cls, held_out.anchors)

    def _finish(self, stopped: str, last: dict[str, float], metrics_file: MetricsLog) -> TrainResult:
        self.save_state()
        seconds = self._spent()
        lens = self._final_lens()
        measured = {name: value for name, value in last.items() if name.startswith("val_")}
        if self.ema or self._validated != self.step:
            measured = self._validate(lens)
            if measured:
                self._log(metrics_file, measured)
        if self.accelerator.is_main_process:
            lens.save_pretrained(self.folder.path)
            head = self.alignment.loss.text_head
            if head is not None and head.weight.requires_grad:
                save_text_head(head, self.folder.text_head)
        self.accelerator.wait_for_everyone()
        return TrainResult(lens, self.folder.path, self.step, stopped, last | measured, seconds)

    def _final_lens(self) -> Lens:
        """The trained lens, or a copy with the running mean of its weights."""
        lens = self.lens
        if self.ema:
            lens = copy.deepcopy(lens)
            lens.load_state_dict(self.ema, strict=False)  # parameters only; the buffers are the lens's own
        return lens.eval().requires_grad_(False)

    def _write_request(self) -> None:
        if self.accelerator.is_main_process:
            raw = {
                "library_version": __version__,
                "vit": self.vit.name,
                "vit_sha256": self.prepared.vit_digest,
                "train_pairs": len(self.prepared.train),
                "val_pairs": len(self.prepared.val),
                "config": self.config.to_dict(),
            }
            write_json(self.folder.request, raw, error=CheckpointError)

    def _spent(self) -> float:
        return self.seconds + time.monotonic() - self._started

    def _reason_to_stop(self, interrupts: Interrupts) -> str:
        """ "interrupted", "minutes" or ""; the same in all processes, so that all stop at one step."""
        minutes = self.config.max_minutes
        late = minutes is not None and time.monotonic() - self._began > minutes * 60
        flags = torch.tensor([float(interrupts.asked is not None), float(late)])
        if self.accelerator.num_processes > 1:
            flags = self.accelerator.reduce(flags.to(self.device), reduction="sum")
        return "interrupted" if flags[0] else "minutes" if flags[1] else ""


def _resolve_vit(vit: Any, settings: ImageSettings | None) -> tuple[FrozenViT, ImageSettings]:
    own = None
    if isinstance(vit, str):
        vit, own = load_vit(vit)
    elif not isinstance(vit, FrozenViT):
        if not isinstance(getattr(vit, "vit", None), FrozenViT):
            raise ConfigError(f"A {type(vit).__name__} has no frozen ViT; give a host, a FrozenViT or a name.")
        vit, own = vit.vit, vit.image_settings
    return vit, settings or own or ImageSettings(size=vit.image_size)


def _text_head(path: str | Path | None, vit: FrozenViT, prepared: Prepared) -> nn.Linear | None:
    """The host's head, or a new one that maps the mean picture to 0; None without texts."""
    width = prepared.train.anchors.texts.shape[1]
    if not width:
        return None
    if path is not None:
        head = load_text_head(path, vit.width)
        if head.out_features != width:
            raise DoesNotFit(f"The text head {path} writes {head.out_features} numbers; the text tower's have {width}.")
        return head
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(vit.width, width)
    with torch.no_grad():
        head.bias.copy_(-head.weight @ _center(prepared))
    return head


def _center(prepared: Prepared) -> Tensor:
    """(D,) the mean CLS row of the training pictures."""
    return prepared.train.anchors.center(range(len(prepared.train)))


def _batch_size(asked: int, pairs: int, processes: int) -> int:
    """The whole batch, over all processes: what is asked, or all pairs where there are fewer."""
    size = min(asked, pairs - pairs % processes)
    if size < 2 or size % processes:
        raise ConfigError(
            f"A batch of {size} pairs cannot be shared by {processes} processes; "
            f"give a batch_size that is a multiple of {processes}, and at least as many pairs."
        )
    return size


def _precision(asked: str, device: torch.device) -> torch.dtype | None:
    """The dtype of autocast, or None for float32 throughout."""
    if asked == "auto":
        asked = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]


def _batches(lens: Lens, prepared: Prepared, config: TrainConfig, augmentation: Augmentation | None) -> PairBatches:
    own = lens.config.input
    settings = own if config.points is None else trait(own, "thinned", InputSettings)(config.points)
    for name, value in settings.to_dict().items():
        if value != (read := getattr(own, name)):  # neighbourhoods of k points have another size then, for one
            log.warning("%s is %s in training, but %s when the lens is used; it will do worse.", name, value, read)
    if not config.augment:
        augmentation = None
    elif augmentation is None:
        augmentation = augmentation_for(lens.modality, settings)
    return PairBatches(prepared.train.store, prepared.train.anchors, config, settings, augmentation)
