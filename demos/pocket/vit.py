"""Stage one of the pocket host: a small ViT of the EVA shape, taught by names, classes and an ImageNet network.

Every picture gives the teacher's features as a target, so unlabelled ones count too; names pull the class token to
their sentence embedding among all names (a frozen text tower's space, so that unseen words still land somewhere);
catalogue classes add a plain classifier. Half of the patches are dropped for most of the training: it is quicker, and
the blocks learn to read incomplete token sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data.sounds import THINGS
from .loop import Stage, run
from .packs import Pictures, compose, normalise, plain
from .teacher import TEACHER_WIDTH
from .views import Views

__all__ = ["SIZE", "Labels", "VitPupil", "held_out", "make_views", "train_vit", "vit_config"]

SIZE = 112
UNNAMED = -100  # what cross-entropy passes over
SHARES = {"sweethome": 0.58, "generated": 0.13, "emoji": 0.1, "stamps": 0.06, "clipart": 0.07, "materials": 0.06}
VIEW_SHARES = {"sweethome": 0.44, "generated": 0.08, "emoji": 0.17, "stamps": 0.14, "clipart": 0.06, "materials": 0.11}
HEARD = 3.0  # how much oftener views show a thing that has a sound, whose pictures are few
WILD = 0.5  # share of wild views towards the end
MIXED_FROM = 0.28  # of the steps; from there on every other batch is of blended pictures
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
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.register_buffer("names", names, persistent=False)

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
    def of(cls, rows: Sequence[dict], shares: Mapping[str, float] = SHARES) -> Labels:
        """Names are what the index calls a picture; classes those of the catalogue objects.

        `shares` say how often each pack is drawn.
        """
        classes = sorted({row["class"] for row in rows if row["class"]})
        names = sorted({row["name"] for row in rows if row["name"]} | set(classes))
        place = {name: i for i, name in enumerate(names)} | {None: UNNAMED}
        train = np.array([i for i, row in enumerate(rows) if row["split"] == "train"])
        weight = _weights([rows[i] for i in train], shares)
        return cls(
            names,
            classes,
            torch.tensor([place[row["name"]] for row in rows]),
            torch.tensor([classes.index(row["class"]) if row["class"] else -1 for row in rows]),
            train,
            weight,
        )


def _weights(rows: Sequence[dict], shares: Mapping[str, float]) -> np.ndarray:
    """How often each picture is drawn: packs by `shares`; inside a pack objects are equal, whatever their number of
    views, but that frequent classes are held back by a square root."""

    def kind(row: dict) -> str:
        return row["class"] or row["name"] or row["object"]

    views = Counter(row["object"] for row in rows)
    kinds = Counter({row["object"]: kind(row) for row in rows}.values())
    raw = np.array([1 / views[row["object"]] / kinds[kind(row)] ** 0.5 for row in rows])
    packs = np.array([row["pack"] for row in rows])
    for pack in set(packs):
        raw[packs == pack] *= shares[pack] / raw[packs == pack].sum()
    return raw / raw.sum()


def _loss(pupil: VitPupil, pictures: Pictures, labels: Labels, teacher: np.ndarray, batch: int, steps: int):
    patches = (SIZE // pupil.vit.config.patch_size) ** 2

    def step(number: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        draw = np.random.default_rng([17, number]).choice(labels.train, batch, p=labels.weight)
        rgb = compose(pictures.take(draw), SIZE, g, WILD * min(1.0, max(0.0, 2.5 * number / steps - 0.4)))
        goal = torch.from_numpy(teacher[draw].astype(np.float32))
        other, share = np.arange(batch), 1.0
        if number > MIXED_FROM * steps and number % 2:  # blends of two pictures, taught by the blend of their targets
            other, share = np.roll(other, 1), 0.5 + 0.5 * float(torch.rand((), generator=g))
            rgb, goal = (share * x + (1 - share) * x[other] for x in (rgb, goal))
        kept = torch.rand(batch, patches, generator=g).argsort(1)[:, :KEPT]
        with torch.autocast("cpu", torch.bfloat16):
            features = pupil.features(rgb, kept if number < 0.95 * steps else None)
        cls, mean = features[:, 0].float(), features[:, 1:].float().mean(1)
        taught = _apart(pupil.teacher_head(cls), goal) + 0.5 * _apart(pupil.patch_teacher_head(mean), goal)
        names, kinds = pupil.name_logits(cls), pupil.class_head(cls)
        named = sorted_ = torch.zeros(())
        for part, some in ((share, draw), (1 - share, draw[other])):
            named = named + part * F.cross_entropy(names, labels.name_of[some], label_smoothing=0.05)
            sorted_ = sorted_ + part * F.cross_entropy(
                kinds, labels.class_of[some], ignore_index=-1, label_smoothing=0.1
            )
        numbers = {"teacher": taught, "name": named, "class": sorted_}
        return 4 * taught + 0.7 * named + sorted_, {key: value.item() for key, value in numbers.items()}

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
    """Composed views of training pictures, for the stage after this one.

    The ViT is mostly taught catalogue objects; what gives it words sees more of the packs with many names.
    """
    labels = Labels.of(pictures.rows, VIEW_SHARES)
    heard = {name for thing in THINGS for name in (thing.name, *thing.shown)}
    weight = labels.weight * np.where([pictures.rows[i]["name"] in heard for i in labels.train], HEARD, 1.0)
    weight /= weight.sum()

    def draw(batch: int, n: int) -> np.ndarray:
        return np.random.default_rng([41, batch]).choice(labels.train, n, p=weight)

    return Views.make(pictures, draw, folder, count, SIZE)


def train_vit(
    pictures: Pictures, teacher: np.ndarray, text_features, folder: Path, steps: int = 3100, batch: int = 128
) -> VitPupil:
    """Train stage one, or go on with it; the result holds the averaged weights.

    `teacher` holds the image teacher's features of every picture, (N, 1280).
    """
    labels = Labels.of(pictures.rows)
    torch.manual_seed(0)
    pupil = VitPupil(text_features(labels.names), len(labels.classes))
    loss = _loss(pupil, pictures, labels, teacher, batch, steps)
    stage = Stage(steps=steps, lr=1e-3, muon_lr=2e-3, warmup=60, check_every=200)
    run(pupil, loss, _check(pictures, labels), stage, folder)
    return pupil.eval()
