"""Stage one of the pocket host: a small ViT of the EVA shape, taught by names, classes and an ImageNet network.

Every patch learns the teacher's local features of its place and the class token the teacher's pooled ones, in the very
view that the ViT sees, so unlabelled pictures count too; names pull the class token to their sentence embedding among
all names (a frozen text tower's space, so that unseen words still land somewhere); catalogue classes add a plain
classifier. Half of the patches are dropped for most of the training: it is quicker, and the blocks learn to read
incomplete token sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .loop import Stage, run
from .packs import Pictures, normalise, plain
from .teacher import LOCAL_WIDTH, TEACHER_WIDTH
from .views import Views

__all__ = ["SIZE", "Labels", "VitPupil", "held_out", "make_views", "train_vit", "vit_config"]

SIZE = 112
UNNAMED = -100  # what cross-entropy passes over
KEPT = 32  # patches that most of the training sees


def vit_config():
    """The pocket ViT: 112 px, patch 14, 64 patches, width 256, 6 blocks of 4 heads (4.9 M parameters)."""
    from transformers import InstructBlipVisionConfig

    return InstructBlipVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=14,
        qkv_bias=True,
        layer_norm_eps=1e-6,
        initializer_range=0.02,  # the default, 1e-10, is for weights that are loaded
    )


class VitPupil(nn.Module):
    """The ViT with the heads that only training needs."""

    def __init__(self, names: Tensor, classes: int):
        """`names` are the (T, 384) unit text features that the text head is matched against."""
        from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

        super().__init__()
        self.vit = InstructBlipVisionModel(vit_config())
        width = self.vit.config.hidden_size
        self.text_head = nn.Linear(width, names.shape[1])
        self.class_head = nn.Linear(width, classes)
        self.teacher_head = nn.Linear(width, TEACHER_WIDTH)
        self.patch_teacher_head = nn.Linear(width, TEACHER_WIDTH)
        self.local_head = nn.Linear(width, LOCAL_WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.register_buffer("names", names, persistent=False)

    @torch.no_grad()
    def spread_patches(self, rgb: Tensor) -> None:
        """Start the patch embedding at the principal components of real patches, whitened."""
        size = self.vit.config.patch_size
        patches = F.unfold(normalise(rgb), size, stride=size).transpose(1, 2).flatten(0, 1)  # (B*N, 3*p*p)
        mean = patches.mean(0)
        spread, axes = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        width = self.vit.config.hidden_size
        rows = axes[:, -width:].T / (spread[-width:, None].sqrt() + 0.05)
        embedding = self.vit.embeddings.patch_embedding
        embedding.weight.copy_(0.3 * rows.view_as(embedding.weight))
        embedding.bias.copy_(-0.3 * rows @ mean)

    def features(self, rgb: Tensor, kept: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, 1 + n, D) after the final norm; `kept` (B, n) patches, or all."""
        tokens = self.vit.embeddings(normalise(rgb))  # (B, 1 + N, D), positions added
        if kept is not None:
            order = F.pad(kept + 1, (1, 0))  # the class token stays
            tokens = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
        encoded = self.vit.encoder(inputs_embeds=tokens).last_hidden_state
        return self.vit.post_layernorm(encoded)

    def name_logits(self, cls: Tensor) -> Tensor:  # (B, D) -> (B, T)
        return self.log_scale.exp().clamp(max=60) * F.normalize(self.text_head(cls), dim=-1) @ self.names.T


@dataclass
class Labels:
    """What each picture is: a name row, a class row or -1, and how often it is drawn."""

    names: list[str]
    classes: list[str]
    name_of: Tensor  # (N,) int64, UNNAMED where a picture has none
    class_of: Tensor  # (N,) int64, -1 where the class is not one of ours
    train: np.ndarray  # numbers of training pictures
    weight: np.ndarray  # chance of each of them to be drawn

    @classmethod
    def of(cls, rows: Sequence[dict]) -> Labels:
        """Names are what the index calls a picture; classes those of the catalogue objects."""
        classes = sorted({row["class"] for row in rows if row["class"]})
        names = sorted({row["name"] for row in rows if row["name"]} | set(classes))
        place = {name: i for i, name in enumerate(names)} | {None: UNNAMED}
        train = np.array([i for i, row in enumerate(rows) if row["split"] == "train"])
        views = Counter(row["object"] for row in rows)
        kinds = Counter({row["object"]: _kind(row) for row in rows}.values())
        # objects are equal whatever their number of views; frequent classes are held back by a square root
        weight = [1 / views[r["object"]] / kinds[_kind(r)] ** 0.5 for r in (rows[i] for i in train)]
        return cls(
            names,
            classes,
            torch.tensor([place[row["name"]] for row in rows]),
            torch.tensor([classes.index(row["class"]) if row["class"] else -1 for row in rows]),
            train,
            np.array(weight) / sum(weight),
        )


def _kind(row: dict) -> str:
    """What a picture shares its turns with: its class, its name, or nothing."""
    return row["class"] or row["name"] or row["object"]


def _loss(pupil: VitPupil, views: Views, labels: Labels, batch: int, drop_until: int):
    sample = views.local[:2048].astype(np.float32)
    mean, spread = torch.from_numpy(sample.mean((0, 1))), torch.from_numpy(sample.std((0, 1)) + 1e-3)

    def step(number: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([17, number])
        rows = rng.integers(len(views.number), size=batch)
        rgb, local, pooled = views.take(rows, rng.random(batch) < 0.5)
        name, kind = labels.name_of[views.number[rows]], labels.class_of[views.number[rows]]
        kept = torch.rand(local.shape[:2], generator=g).argsort(1)
        kept = kept[:, :KEPT] if number < drop_until else kept
        with torch.autocast("cpu", torch.bfloat16):
            features = pupil.features(rgb, kept)
            near = pupil.local_head(features[:, 1:])
        cls, patches = features[:, 0].float(), features[:, 1:].float().mean(1)
        wanted = ((local - mean) / spread).gather(1, kept[..., None].expand(-1, -1, local.shape[2]))
        placed = F.smooth_l1_loss(near.float(), wanted)
        taught = _apart(pupil.teacher_head(cls), pooled) + 0.5 * _apart(pupil.patch_teacher_head(patches), pooled)
        named = F.cross_entropy(pupil.name_logits(cls), name, label_smoothing=0.05)
        sorted_ = F.cross_entropy(pupil.class_head(cls), kind, ignore_index=-1, label_smoothing=0.1)
        total = 4 * placed + 4 * taught + 0.7 * named + sorted_
        numbers = {"local": placed, "teacher": taught, "name": named, "class": sorted_}
        return total, {key: value.item() for key, value in numbers.items()}

    return step


def _apart(found: Tensor, wanted: Tensor) -> Tensor:
    """One minus the mean cosine."""
    return 1 - F.cosine_similarity(found, wanted, dim=-1).mean()


def _check(pictures: Pictures, labels: Labels):
    """Held-out catalogue objects: top-1 by the class head and by name anchors, one view at a time."""
    numbers = held_out(pictures.rows)
    among = torch.tensor([labels.names.index(c) for c in labels.classes])

    def check(pupil: VitPupil) -> dict[str, float]:
        right = {"head": 0, "name": 0}
        with torch.no_grad():
            for chunk, rgba in pictures.batches(numbers, 128):
                with torch.autocast("cpu", torch.bfloat16):
                    cls = pupil.features(plain(rgba, SIZE, 0.93))[:, 0].float()
                kind = labels.class_of[chunk]
                right["head"] += (pupil.class_head(cls).argmax(1) == kind).sum().item()
                right["name"] += (pupil.name_logits(cls)[:, among].argmax(1) == kind).sum().item()
        return {f"test_{k}": v / len(numbers) for k, v in right.items()} | {"test_pictures": len(numbers)}

    return check


def held_out(rows: Sequence[dict], views: int = 4) -> list[int]:
    """Pictures of held-out catalogue objects of a known class, `views` of the 24 each."""
    return [
        i for i, row in enumerate(rows)
        if row["split"] == "test" and row["class"] and row["pack"] == "sweethome" and row["view"] % (24 // views) == 0
    ]  # fmt: skip


def make_views(pictures: Pictures, folder: Path, count: int = 40960) -> Views:
    """The composed views of training pictures that stage one reads."""
    labels = Labels.of(pictures.rows)

    def draw(batch: int, n: int) -> np.ndarray:
        return np.random.default_rng([41, batch]).choice(labels.train, n, p=labels.weight)

    return Views.make(pictures, draw, folder, count, SIZE)


def train_vit(
    pictures: Pictures, views: Views, text_features, folder: Path, steps: int = 3000, batch: int = 64
) -> VitPupil:
    """Train stage one, or go on with it; the result holds the averaged weights."""
    labels = Labels.of(pictures.rows)
    torch.manual_seed(0)
    pupil = VitPupil(text_features(labels.names), len(labels.classes))
    pupil.spread_patches(views.take(np.arange(512), np.zeros(512, bool))[0])
    stage = Stage(steps=steps, lr=1e-3, warmup=150, check_every=250)
    run(pupil, _loss(pupil, views, labels, batch, steps * 17 // 20), _check(pictures, labels), stage, folder)
    return pupil.eval()
