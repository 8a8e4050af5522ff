"""Instances as vectors of the host's space, and the instances that are like a query of any modality.

N instances, E width of the space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..catalog import find_modality
from ..errors import ConfigError, DoesNotFit, InputError, Unsupported
from ..inputs.meshes import sample_surface
from .data import Instance, Scene

if TYPE_CHECKING:
    from ..hosts.base import Host
    from ..hosts.messages import Text
    from ..inputs.base import Source

__all__ = ["COMBINATIONS", "DEFAULT_COMBINATION", "Found", "SceneVectors", "embed_scene", "search_scene"]

COMBINATIONS = ("mean", "max", "points", "crops")
DEFAULT_COMBINATION = "mean"
_SURFACE = 10_000  # points taken from an instance's triangles, as a lens's reader takes them from a mesh
_FEWEST_POINTS = 8  # fewer show no shape


@dataclass(frozen=True, eq=False)
class Found:
    """One instance in a ranking; `rank` counts from 1, `score` is a cosine."""

    rank: int
    instance: Instance
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them; lengths in metres."""
        own = self.instance
        centre, size = own.centre, own.size
        return {
            "rank": self.rank,
            "instance": own.id,
            "label": own.label,
            "score": round(self.score, 6),
            "centre": None if centre is None else [round(float(v), 4) for v in centre],
            "size": None if size is None else [round(float(v), 4) for v in size],
            "points": 0 if own.points is None else len(own.points),
            "crops": len(own.crops),
            "frame": own.crops[0].frame if own.crops else None,
        }


@dataclass(frozen=True, eq=False)
class SceneVectors:
    """The vectors of a scene's instances: embed once, search many times.

    `points` (N, E) are what the point lens sees, `crops` (N, E) the mean of what the ViT sees in the crops, rows of
    NaN where an instance has none; `each_crop` are the crops' own vectors.
    """

    scene: Scene
    points: Tensor
    crops: Tensor
    each_crop: Sequence[Tensor]  # N of (K, E)

    def scores(self, query: Tensor, combine: str = DEFAULT_COMBINATION) -> Tensor:
        """The likeness of each instance to a query (E,): (N,), NaN where it has no vector of the kind asked for.

        Args:
            query: a unit vector.
            combine: "mean", the cosine with the mean of the points' vector and the mean crop's, made a unit vector;
                "max", the highest cosine with the points or any single crop; "points" alone or "crops" alone. What an
                instance lacks is left out.
        """
        if combine not in COMBINATIONS:
            raise ConfigError(f"combine is {combine!r}; it must be one of {', '.join(COMBINATIONS)}.")
        if query.shape != self.points.shape[1:]:
            raise DoesNotFit(
                f"The query has the shape {tuple(query.shape)}, the instances have width {self.points.shape[1]}; embed "
                "both with one host."
            )
        points, crops = self.points @ query, self.crops @ query  # (N,) each
        if combine in ("points", "crops"):
            return points if combine == "points" else crops
        if combine == "max":
            best = [(own @ query).max() if len(own) else torch.tensor(torch.nan) for own in self.each_crop]
            return torch.fmax(points, torch.stack(best))
        # One vector for each instance ranks better than the mean of two cosines; docs/scene.md has the figures.
        return normalize(torch.stack([self.points, self.crops]).nanmean(0), dim=-1) @ query

    def rank(self, query: Tensor, combine: str = DEFAULT_COMBINATION) -> list[Found]:
        """All instances that have a score, the likest first; the lower id wins a tie.

        Raises:
            InputError: no instance has a vector of the kind asked for.
        """
        scores = self.scores(query, combine)
        known = torch.nonzero(~scores.isnan())[:, 0]
        if not len(known):
            raise InputError(f"{self.scene.name} has {len(scores)} instances, 0 of them with {combine} to compare.")
        order = known[scores[known].argsort(descending=True, stable=True)].tolist()
        return [Found(place, self.scene.instances[i], scores[i].item()) for place, i in enumerate(order, start=1)]


def embed_scene(host: Host, scene: Scene, *, space: str | None = None, batch_size: int = 16) -> SceneVectors:
    """The vectors of every instance: its points through the point lens, its crops through the ViT.

    Points are turned so that y is up, as lenses are trained; where the scan is a mesh they are sampled from its
    surface. A host without a point lens sees the crops alone.

    Args:
        host: one that embeds.
        scene: of `read_scene`.
        space: as in `host.embed`.
        batch_size: instances or crops that go through the host together.

    Raises:
        Unsupported: there is nothing that the host can read: points without a point lens, and no crops.
        InputError: a crop that cannot be read.
    """
    has_lens = "point_cloud" in host.lenses
    clouds = {i: cloud for i, each in enumerate(scene.instances) if (cloud := _cloud(each, scene)) is not None}
    owners = [i for i, each in enumerate(scene.instances) for _ in each.crops]
    if not owners and not (has_lens and clouds):
        lack = "no points and no crops" if has_lens or not clouds else f"{len(clouds)} clouds and no crops"
        cure = "give frames, or a scan whose instances have more points" if has_lens else "plug one"
        lens = "" if has_lens else f", and {host.name} has no lens for {find_modality('point_cloud').noun}"
        raise Unsupported(f"{scene.name} has {lack} to look at{lens}; {cure}.")
    pictures = [crop.picture for each in scene.instances for crop in each.crops]
    seen = _embed(host, pictures, "image", space, batch_size)
    felt = _embed(host, list(clouds.values()), "point_cloud", space, batch_size) if has_lens else None
    width = next(found.shape[1] for found in (seen, felt) if found is not None)
    count = len(scene.instances)
    points = torch.full((count, width), torch.nan)
    if felt is not None:
        points[torch.tensor(list(clouds))] = felt
    each_crop = [torch.zeros(0, width)] * count
    if seen is not None:
        at = torch.tensor(owners)
        each_crop = [seen[at == i] for i in range(count)]
    crops = torch.stack(
        [normalize(own.mean(0), dim=-1) if len(own) else points.new_full((width,), torch.nan) for own in each_crop]
    )
    return SceneVectors(scene, points, crops, each_crop)


def search_scene(
    host: Host,
    scene: Scene | SceneVectors,
    query: Source | Text | Sequence[Source | Text],
    *,
    modality: str | None = None,
    combine: str = DEFAULT_COMBINATION,
    space: str | None = None,
) -> list[Found]:
    """Rank the instances of a scene by their likeness to a query of any modality.

    Args:
        host: one that embeds, with the lens of the query and, for points, of point clouds.
        scene: of `read_scene`, or its vectors of `embed_scene` to search it many times.
        query: as in `host.embed`; several make one query, the mean of their vectors.
        modality: of the query, where its file does not say it.
        combine: as in `SceneVectors.scores`.
        space: as in `host.embed`.

    Raises:
        InputError: the query or a crop cannot be read.
        Unsupported: no lens for the query, or none for anything in the scene.
    """
    asked = normalize(host.embed(query, space, modality=modality).mean(dim=0), dim=-1)  # (E,)
    vectors = scene if isinstance(scene, SceneVectors) else embed_scene(host, scene, space=space)
    return vectors.rank(asked, combine)


def _cloud(instance: Instance, scene: Scene) -> np.ndarray | None:
    """What the lens reads of an instance, y up: (P, 3); None where it has too few points to have a shape."""
    points = instance.points
    if points is None or len(points) < _FEWEST_POINTS or not np.ptp(points, axis=0).max() > 0:
        return None
    triangles = instance.triangles
    if triangles is not None and np.linalg.norm(_areas(triangles), axis=1).sum() > 0:
        points = sample_surface(triangles, _SURFACE, 0, f"instance {instance.id} of {scene.name}")
    return points if scene.up == "y" else points[:, [0, 2, 1]] * (1, 1, -1)


def _areas(triangles: np.ndarray) -> np.ndarray:
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _embed(host: Host, sources: Sequence[Any], modality: str, space: str | None, batch_size: int) -> Tensor | None:
    if not sources:
        return None
    parts = [
        host.embed(list(sources[start : start + batch_size]), space, modality=modality)
        for start in range(0, len(sources), batch_size)
    ]
    return torch.cat(parts)  # (M, E)
