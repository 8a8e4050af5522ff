"""Frozen features of the paired pictures: computed once through the same ViT, kept on disk, found again by content.

A cache folder holds one folder per (ViT digest, picture settings, kind); in it are safetensors files of a few hundred
pictures each. A picture is known by the sha256 of its file: copies and renamed files are found again, changed files
are not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import CheckpointError, LensPluginsError
from ..files.tensors import write_safetensors
from ..inputs import read
from ..inputs.image import ImageSettings
from ..splice.vit import FrozenViT
from .loss import anchor_rows

__all__ = ["AnchorCache"]

_PER_FILE = 512  # pictures; an interrupted run loses no more than these


class AnchorCache:
    """Features of pictures by the sha256 of their files.

    Args:
        root: cache folder; may be shared between runs, lenses and ViTs.
        vit: reads the pictures.
        vit_digest: of its weights.
        settings: how pictures are read.
        kind: what is kept, a `TrainConfig.regression`; "tokens" are kept in float16 (they are layer-normed, so of
            the order of 1), the rest in float32.
    """

    def __init__(self, root: str | Path, vit: FrozenViT, vit_digest: str, settings: ImageSettings, kind: str) -> None:
        self._vit, self._settings, self._kind = vit, settings, kind
        rows = {"none": "cls"}.get(kind, kind)
        # Whatever changes the features has its own folder, so that a cache may be shared by all runs.
        key = json.dumps([vit_digest, type(settings).__name__, settings.to_dict(), rows], sort_keys=True)
        self.folder = Path(root) / f"{rows}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"

    @property
    def rows(self) -> int:
        """A, the rows of an anchor."""
        return {"tokens": 1 + self._vit.num_patches, "pooled": 2}.get(self._kind, 1)

    def load(self) -> dict[str, Tensor]:
        """Everything there is: sha256 -> (A, D).

        Raises:
            CheckpointError: a file of the cache is damaged.
        """
        found: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    names, features = json.loads(file.metadata()["pictures"]), file.get_tensor("features")
            except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"The anchor cache {path} is damaged ({error}). Delete it; it is made again."
                ) from error
            found.update(zip(names, features))
        return found

    def fill(
        self, pictures: Mapping[str, Path], *, batch_size: int = 32, advance: Callable[[int], None] | None = None
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Features of all `pictures` (sha256 -> path), computing those that are missing.

        Args:
            pictures: the files.
            batch_size: pictures that go through the ViT at once.
            advance: called with the number of pictures done since the last call.

        Returns:
            sha256 -> (A, D) of those that could be read, and sha256 -> sentence of those that could not.
        """
        found = {name: row for name, row in self.load().items() if name in pictures}
        problems: dict[str, str] = {}
        missing = iter([name for name in pictures if name not in found])
        # Written every few hundred pictures: an interrupted run begins again where it was.
        while names := list(islice(missing, _PER_FILE)):
            made: dict[str, Tensor] = {}
            for start in range(0, len(names), batch_size):
                chunk = names[start : start + batch_size]
                made.update(self._features(chunk, pictures, problems))
                if advance:
                    advance(len(chunk))
            self._save(made)
            found.update(made)
        return found, problems

    @torch.no_grad()
    def _features(
        self, names: Iterable[str], pictures: Mapping[str, Path], problems: dict[str, str]
    ) -> dict[str, Tensor]:
        pixels: dict[str, Tensor] = {}
        for name in names:
            try:
                pixels[name] = read(pictures[name], modality="image", settings=self._settings).tensor
            except LensPluginsError as error:
                problems[name] = str(error)
        if not pixels:
            return {}
        features = self._vit.encode(self._vit.embed_image(torch.stack(list(pixels.values()))))
        rows = anchor_rows(features, self._kind).to("cpu", torch.float16 if self._kind == "tokens" else torch.float32)
        return dict(zip(pixels, rows))

    def _save(self, made: Mapping[str, Tensor]) -> None:
        if not made:
            return
        names = json.dumps(list(made))
        path = self.folder / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.safetensors"
        write_safetensors(path, {"features": torch.stack(list(made.values()))}, {"pictures": names})
