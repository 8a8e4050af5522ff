"""The lenses that ship: pairs from the packs, then the public training call, against the frozen pocket ViT alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lens_plugins.hosts.text_tower import HEAD_FILE
from lens_plugins.lens.config import LensConfig
from lens_plugins.lens.lens import Lens
from lens_plugins.pocket.text_encoder import folder as text_encoder_folder
from lens_plugins.splice import FrozenViT, freeze, vit_from_tower
from lens_plugins.train import TrainConfig, lens_config_for, train_lens
from lens_plugins.train.augment import PointCloudAugment
from lens_plugins.train.recipe import trainable_lens
from lens_plugins.train.towers import load_text_tower

from .build import read_tower
from .data.pack import read_lines
from .packs import Pictures
from .senses import Run, Sense, close, lens_folder
from .senses.pairing import facts, left_out, object_pairs, save_pictures, views_of

__all__ = ["point_cloud_pairs", "train_point_cloud", "train_sense"]

VIEWS = 8  # pictures of each object that anchor its cloud
POINTS = 1024  # that the lens reads
SMALL = {"group_size": 16}  # half the neighbourhood of the released lens, for a CPU


def train_point_cloud(work: Path, target: Path) -> None:
    """Align the point cloud lens and write it to ``target/lens-point-cloud`` in float16.

    Clouds as they are, in any heading; then, from there, a mixture with clouds as they come from elsewhere (other up
    axis, noise, missing sides, few points); then closer, more of them lying.
    """
    tame = PointCloudAugment(points=POINTS, tilt_degrees=3, swap_up=0, jitter=0.005, half_space=0, scan=0, outliers=0)
    mixed = PointCloudAugment(
        points=POINTS, tilt_degrees=5, swap_up=0.3, jitter=0.012, half_space=0.12, scan=0.12, outliers=0.15
    )
    runs = (
        Run("tame", tame, {"steps": 400, "lr": 1e-3}),
        Run("mixed", mixed, {"steps": 450, "lr": 8e-4}),
        close(replace(mixed, swap_up=0.5), steps=200),
    )
    _train("point_cloud", SMALL, runs, point_cloud_pairs(work), work, target)


def train_sense(sense: Sense, work: Path, target: Path) -> None:
    """Align the lens of a sense, write it in float16, and its held-out cases beside it."""
    _train(sense.modality, sense.lens, sense.runs, sense.pairs(work), work, target, sense.start)
    sense.write_heldout(work, target / "heldout" / sense.modality)


def _train(
    modality: str,
    sizes: Mapping[str, Any],
    runs: Sequence[Run],
    pairs: Path,
    work: Path,
    target: Path,
    start: Callable[[Lens, Path], None] | None = None,
) -> None:
    """All runs of a lens, each from where the one before it ended; each goes on where it was stopped."""
    vit = pocket_vit(target / "instructblip")
    lens: Lens | LensConfig = lens_config_for(modality, vit, sizes)
    if start:
        lens, _ = trainable_lens(lens, vit, seed=0)
        start(lens, work)
    name = lens_folder(modality)
    for run in runs:
        lens = _align(pairs, vit, lens, target / "instructblip" / HEAD_FILE, work / f"{name}-{run.name}", run)
    save_small(lens, target / name)


def _align(pairs: Path, vit: FrozenViT, lens: Lens | LensConfig, head: Path, output: Path, run: Run) -> Lens:
    """One run of the public training call; goes on where it stopped."""
    values = {
        "batch_size": 48,
        "weight_decay": 0.05,
        "warmup_steps": 30,
        "text_weight": 1.0,
        "regression_weight": 2.0,
        "ema": 0.98,
        "precision": "bf16",
        "validate_every": 150,
        "checkpoint_every": 50,
    }
    done = train_lens(
        pairs,
        vit=vit,
        lens=lens,
        output=output,
        config=TrainConfig(**{**values, **run.train}),
        text_tower=load_text_tower(text_encoder_folder()),
        text_head=head,
        augmentation=run.augmentation,
        cache=pairs.parent / "anchors",
        resume=(output / "checkpoint.pt").exists(),
    )
    return done.lens


def save_small(lens: Lens, folder: Path) -> None:
    """A lens with its weights rounded to float16, as everything that ships."""
    lens.to(torch.float16).save_pretrained(folder)


def pocket_vit(host: Path) -> FrozenViT:
    """The ViT of a written pocket host, without its language model."""
    from transformers import InstructBlipConfig
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    tower = InstructBlipVisionModel(InstructBlipConfig.from_pretrained(host).vision_config)
    tower.load_state_dict(read_tower(host))
    return vit_from_tower(freeze(tower), "the ViT of pocket-instructblip")


def point_cloud_pairs(work: Path) -> Path:
    """Write clouds and pictures of every object as files, and the manifest that names them; returns the manifest.

    Held-out generated objects become the validation split; held-out catalogue objects are left out altogether.
    """

    return object_pairs(work, "pairs-point-cloud", _pairs_of)


def _pairs_of(pack: Path, folder: Path) -> Iterator[dict[str, Any]]:
    pictures = Pictures.open([pack])
    clouds = np.load(pack / "clouds.npy", mmap_mode="r", allow_pickle=False)
    rows = read_lines(pack / "clouds.jsonl")
    views = views_of(pictures)
    for cloud, row in zip(clouds, rows):
        if left_out(row, pack):
            continue
        home = folder / pack.name / row["object"].replace("/", "_")
        home.mkdir(parents=True)
        np.save(home / "cloud.npy", cloud.astype(np.float32))
        numbers = views[row["object"]][:: max(1, len(views[row["object"]]) // VIEWS)][:VIEWS]
        names = [f"view{i}.png" for i in range(len(numbers))]
        save_pictures(pictures, {number: home / name for number, name in zip(numbers, names)})
        yield {
            "modality": "point_cloud",
            "path": f"{pack.name}/{home.name}/cloud.npy",
            "image": [f"{pack.name}/{home.name}/{name}" for name in names],
            **facts(row),
            "id": row["object"],
        }
