"""The lenses that ship: pairs from the packs, then the public training call, against the frozen pocket ViT alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..splice import FrozenViT, freeze, vit_from_tower
from ..train import TrainConfig, lens_config_for, train_lens
from ..train.augment import PointCloudAugment
from ..train.towers import load_text_tower
from .packs import Pictures, plain
from .text_encoder import folder as text_encoder_folder
from .vit import SIZE

__all__ = ["point_cloud_pairs", "train_point_cloud"]

VIEWS = 8  # pictures of each object that anchor its cloud
POINTS = 1024  # that the lens reads
SMALL = {"group_size": 16}  # half the neighbourhood of the released lens, for a CPU


def train_point_cloud(work: Path, target: Path) -> None:
    """Align the point cloud lens and write it to ``target/lens-point-cloud`` in float16.

    Two runs of the public training call: clouds as they are, in any heading; then, from there, clouds as they come from
    elsewhere (other up axis, noise, missing sides, few points).
    """
    vit = pocket_vit(target / "instructblip")
    head = target / "instructblip" / "text_head" / "text_head.safetensors"
    tame = PointCloudAugment(points=POINTS, tilt_degrees=3, swap_up=0, jitter=0.005, half_space=0, scan=0, outliers=0)
    lens = _align(work, "tame", "point_cloud", vit, head, tame, steps=260, lr=1e-3)
    lens = _align(work, "wild", lens, vit, head, PointCloudAugment(points=POINTS), steps=160, lr=5e-4)
    save_small(lens, target / "lens-point-cloud")


def _align(
    work: Path, name: str, lens: Any, vit: FrozenViT, head: Path, augmentation: Any, *, steps: int, lr: float
) -> Any:
    """One run; goes on where it stopped."""
    output = work / f"lens-point-cloud-{name}"
    config = TrainConfig(
        steps=steps,
        batch_size=48,
        lr=lr,
        weight_decay=0.05,
        warmup_steps=30,
        text_weight=1.0,
        regression_weight=2.0,
        ema=0.98,
        precision="bf16",
        validate_every=130,
        checkpoint_every=50,
    )
    done = train_lens(
        point_cloud_pairs(work),
        vit=vit,
        lens=lens_config_for("point_cloud", vit, SMALL) if isinstance(lens, str) else lens,
        output=output,
        config=config,
        text_tower=load_text_tower(text_encoder_folder()),
        text_head=head,
        augmentation=augmentation,
        cache=work / "anchors",
        resume=(output / "checkpoint.pt").exists(),
    )
    return done.lens


def save_small(lens: Any, folder: Path) -> None:
    """A lens with its weights rounded to float16, as everything that ships."""
    lens.to(torch.float16).save_pretrained(folder)


def pocket_vit(host: Path) -> FrozenViT:
    """The ViT of a written pocket host, without its language model."""
    from safetensors.torch import load_file
    from transformers import InstructBlipConfig
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    tower = InstructBlipVisionModel(InstructBlipConfig.from_pretrained(host).vision_config)
    prefix = "vision_model."
    state = load_file(host / "model.safetensors")
    tower.load_state_dict({k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)})
    return vit_from_tower(freeze(tower), "the ViT of pocket-instructblip")


def point_cloud_pairs(work: Path) -> Path:
    """Write clouds and pictures of every object as files, and the manifest that names them; returns the manifest.

    Held-out generated objects become the validation split; held-out catalogue objects are left out altogether.
    """
    folder = work / "pairs-point-cloud"
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        return manifest
    scratch = folder.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    lines: list[dict[str, Any]] = []
    for pack in (work / "pack" / "sweethome", work / "pack" / "generated"):
        lines += _pairs_of(pack, scratch)
    (scratch / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    scratch.rename(folder)
    return manifest


def _pairs_of(pack: Path, folder: Path) -> list[dict[str, Any]]:
    pictures = Pictures.open([pack])
    clouds = np.load(pack / "clouds.npy", mmap_mode="r", allow_pickle=False)
    rows = [json.loads(line) for line in (pack / "clouds.jsonl").read_text("utf-8").splitlines()]
    views: dict[str, list[int]] = {}
    for number, row in enumerate(pictures.rows):
        views.setdefault(row["object"], []).append(number)
    lines = []
    for cloud, row in zip(clouds, rows):
        if row["split"] == "test" and pack.name == "sweethome":
            continue
        home = folder / pack.name / row["object"].replace("/", "_")
        home.mkdir(parents=True)
        np.save(home / "cloud.npy", cloud.astype(np.float32))
        numbers = views[row["object"]][:: max(1, len(views[row["object"]]) // VIEWS)][:VIEWS]
        names = [_save(rgb, home / f"view{i}.png") for i, rgb in enumerate(plain(pictures.take(numbers), SIZE, 0.93))]
        lines.append(
            {
                "modality": "point_cloud",
                "path": f"{pack.name}/{home.name}/cloud.npy",
                "image": [f"{pack.name}/{home.name}/{name}" for name in names],
                "text": sorted({row["name"], row["class"] or row["name"]}),
                "split": "val" if row["split"] == "test" else "train",
                "id": row["object"],
            }
        )
    return lines


def _save(rgb: torch.Tensor, path: Path) -> str:
    Image.fromarray((rgb.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
    return path.name
