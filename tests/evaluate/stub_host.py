"""A host whose vectors are known without any network, and a second way to score them."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import torch

from lens_plugins.hosts.messages import Text
from lens_plugins.inputs import (
    AudioSettings,
    DepthSettings,
    EegSettings,
    ImageSettings,
    PointCloudSettings,
    TactileSettings,
)

WIDTH = 24
SETTINGS = {
    "audio": AudioSettings(),
    "depth": DepthSettings(size=28),
    "eeg": EegSettings(),
    "point_cloud": PointCloudSettings(max_points=64, candidates=64),
    "tactile": TactileSettings(size=28, resize=32),
}


class StubHost:
    """Texts and tensors become unit vectors by seeded projections: the same thing has the same vector everywhere."""

    name = "stub"
    text_tower = None
    image_settings = ImageSettings(size=28)

    def __init__(self):
        self.lenses = {
            name: SimpleNamespace(config=SimpleNamespace(input=own), tower=None, source=None)
            for name, own in SETTINGS.items()
        }
        self.model = torch.nn.LayerNorm(2)  # weights that are alike in every stub
        self.seen = []  # every input that was embedded
        self.calls = 0

    def embed(self, inputs, space=None):
        self.calls += 1
        given = [one for one in inputs if not isinstance(one, Text)]
        self.seen += given
        return torch.from_numpy(np.stack([vector_of(one) for one in inputs]))


def vector_of(source):
    if isinstance(source, Text):
        seed = int.from_bytes(hashlib.sha256(source.text.encode()).digest()[:4], "big")
        made = np.random.default_rng(seed).standard_normal(WIDTH)
    else:
        flat = source.tensor.numpy().astype(np.float64).reshape(-1)
        made = flat @ np.random.default_rng(7).standard_normal((len(flat), WIDTH))
    return (made / np.linalg.norm(made)).astype(np.float32)


def class_vectors(names, templates):
    """(L, E) by plain numpy: each template filled, mean of unit vectors, unit again."""
    each = np.stack([[vector_of(Text(t.replace("{c}", name))) for t in templates] for name in names]).astype(np.float64)
    mean = each.mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def top_k(vectors, classes, right, k):
    """Percent of rows whose class is among the k nearest, by plain numpy."""
    order = np.argsort(-(np.asarray(vectors, np.float64) @ classes.T), axis=1)[:, :k]
    return 100 * np.mean([label in row for label, row in zip(right, order)])


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
