"""A tiny world: six solids as clouds, each paired with pictures of its own colour, and a tiny random ViT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

NAMES = ("ball", "stick", "disc", "box", "ring", "cross")


def _solid(name: str, generator: np.random.Generator, points: int = 300) -> np.ndarray:
    x = generator.normal(size=(points, 3))
    if name == "ball":
        return x / np.linalg.norm(x, axis=1, keepdims=True)
    if name == "stick":
        return x * (0.05, 1.0, 0.05)
    if name == "disc":
        return x * (1.0, 0.02, 1.0)
    if name == "box":
        return generator.uniform(-1, 1, (points, 3))
    if name == "ring":
        angle = generator.uniform(0, 2 * np.pi, points)
        return np.stack([np.cos(angle), 0.05 * x[:, 0], np.sin(angle)], 1)
    axis = np.eye(3)[generator.integers(0, 3, points)]
    return axis * generator.uniform(-1, 1, (points, 1)) + 0.03 * x


def _picture(index: int, generator: np.random.Generator) -> np.ndarray:
    colour = np.array([(index >> bit) % 2 for bit in range(3)]) * 180 + 30
    return np.clip(colour + generator.normal(0, 8, (28, 28, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """The manifest of 48 pairs, 12 of them for validation, beside their files."""
    folder = tmp_path_factory.mktemp("world")
    generator = np.random.default_rng(0)
    lines = []
    for number in range(48):
        index = number % len(NAMES)
        np.save(folder / f"{number}.npy", _solid(NAMES[index], generator).astype(np.float32))
        pictures = []
        for view in range(2):
            pictures.append(f"{number}-{view}.png")
            Image.fromarray(_picture(index, generator)).save(folder / pictures[-1])
        lines.append(
            {
                "modality": "point_cloud",
                "path": f"{number}.npy",
                "image": pictures,
                "text": f"a {NAMES[index]}",
                "split": "val" if number >= 36 else "train",
                "id": f"{NAMES[index]}-{number}",
            }
        )
    manifest = folder / "pairs.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return manifest


@pytest.fixture(scope="session")
def vit():
    """Width 32, 4 patches, 2 blocks, random but the same every time."""
    from transformers import InstructBlipVisionConfig, InstructBlipVisionModel

    from lens_plugins.splice.vit import vit_from_tower

    config = InstructBlipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        tower = InstructBlipVisionModel(config)
        for parameter in tower.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return vit_from_tower(tower, "a tiny ViT")


@pytest.fixture(scope="session")
def lens_config(vit):
    """A point lens small enough that a step takes milliseconds."""
    from lens_plugins.train import lens_config_for

    values = {"trans_dim": 24, "context_width": 24, "num_groups": 8, "group_size": 8, "encoder_dim": 24, "hidden": 16}
    return lens_config_for("point_cloud", vit, {**values, "depth": 1, "max_points": 128})


@pytest.fixture(scope="session")
def text_tower():
    """One fixed random direction for each text."""

    def encode(texts: list[str]) -> torch.Tensor:
        seeds = [sum(text.encode()) for text in texts]
        return torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    return encode
