"""A host of a few thousand weights that names the words nearest to what its ViT saw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lens_plugins.catalog import HostKind
from lens_plugins.errors import ConfigError
from lens_plugins.hosts.base import Host, LoadOptions
from lens_plugins.hosts.messages import Reply, Seen
from lens_plugins.splice import FrozenViT, Held

KIND = HostKind("toy", "lens_toy_host:ToyHost", ("toy_captioner",))
WORDS = ("warm", "cold", "a", "cup", "hand", "roof", "engine", "lamp")
WIDTH, SIZE, PATCH = 32, 28, 14


class ToyModel(nn.Module):
    """A ViT of two blocks, and one row of weights for each word."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="toy_captioner", seed=seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
            self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH))
            self.positions = nn.Parameter(torch.randn(1, 1 + (SIZE // PATCH) ** 2, WIDTH) * 0.1)
            layers = [
                nn.TransformerEncoderLayer(WIDTH, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
                for _ in range(2)
            ]
            self.blocks = nn.Sequential(*layers)
            self.norm = nn.LayerNorm(WIDTH)
            self.words = nn.Linear(WIDTH, len(WORDS))

    def forward(self, pixels: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, 1 + N, D)
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], 1) + self.positions
        return self.norm(self.blocks(tokens))

    def save(self, folder: Path) -> None:
        """What `load_host` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "toy_captioner", "seed": self.config.seed}))


class ToyHost(Host):
    """Answers with the words that score best, as many as `max_new_tokens`; prompts are not understood."""

    places = ("vit", "llm")

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions) -> ToyHost:
        raw = json.loads(Path(source, "config.json").read_text())
        return cls.wrap(ToyModel(raw["seed"]).to(options.dtype))

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> ToyHost:
        vit = FrozenViT(
            name="a toy ViT",
            patch_embedding=model.patches,
            class_token=Held(model, "class_token"),
            positions=Held(model, "positions"),
            blocks=model.blocks,
            norm=model.norm,
            image_size=SIZE,
        )
        return cls(model.eval().requires_grad_(False), vit, name="toy")

    def answer(self, seen: Sequence[Seen], prompts: Sequence[str], **generation: Any) -> list[Reply]:
        return [Reply(" ".join(self._words(one, **generation))) for one in seen]

    def pieces(self, seen: Seen, prompt: str, **generation: Any) -> Iterator[str]:
        for number, word in enumerate(self._words(seen, **generation)):
            yield f" {word}" if number else word

    @torch.no_grad()
    def _words(self, seen: Seen, max_new_tokens: int = 3, **unknown: Any) -> list[str]:
        if unknown:
            raise ConfigError(f"The toy host does not know {sorted(unknown)[0]!r}; it knows max_new_tokens.")
        rows = torch.stack([features[0] for features in seen.features])  # (units, D)
        scores = self.model.words(rows).mean(0)
        return [WORDS[i] for i in scores.topk(min(max_new_tokens, len(WORDS))).indices]
