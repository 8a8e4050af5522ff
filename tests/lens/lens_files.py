"""Small files in the released layouts, for the tests of this folder."""

import torch

from lens_plugins.inputs import AudioSettings, DepthSettings, EegSettings, TactileSettings
from lens_plugins.keymap import Rename
from lens_plugins.lens.config import LensConfig
from lens_plugins.lens.embeddings import DepthConfig, EegConfig, PatchConfig, PointConfig, SpectrogramConfig
from lens_plugins.lens.layouts import CLIP, EVA, table
from lens_plugins.lens.lens import Lens
from lens_plugins.lens.perceiver import PerceiverConfig
from lens_plugins.lens.tower import TowerConfig

WIDTH = 64
SHORT = {"point_cloud": "pc"}


def small_config(modality: str, family: str = EVA) -> LensConfig:
    """A lens of each modality that differs from the released ones in its sizes alone."""
    resampler = PerceiverConfig(WIDTH, 4, 24, 2, 1, 1, 16, 4, 16)
    embedding, settings = {
        "point_cloud": (PointConfig(24, 16, 8, 12, 8), None),
        "audio": (SpectrogramConfig(24, 24), AudioSettings(frames=24, clip_seconds=1.0)),
        "depth": (DepthConfig(WIDTH, 14, 28), DepthSettings(size=28)),
        "eeg": (EegConfig(24, 5, 20), EegSettings(channels=5, steps=20)),
        "tactile": (PatchConfig(WIDTH, 14, 28, bias=family == EVA), TactileSettings(size=28)),
    }[modality]
    tower = TowerConfig(WIDTH, 2, 1, 96, 4, 20) if family == CLIP else None
    resampler = None if modality in ("depth", "tactile") else resampler
    return LensConfig(modality, WIDTH, embedding, resampler, settings, family=family, tower=tower)


OVERRIDES = {
    "point_cloud": {"cross_dim_head": 16, "latent_dim_head": 16, "group_size": 8, "num_groups": 16},
    "audio": {"cross_dim_head": 16, "latent_dim_head": 16},
    "depth": {},
    "eeg": {"cross_dim_head": 16, "latent_dim_head": 16},
    "tactile": {"size": 28},
}


def overrides(modality: str, family: str = EVA) -> dict:
    """What the shapes of such a file do not tell."""
    return OVERRIDES[modality] | ({"heads": 1} if family == CLIP else {})


def random_lens(config: LensConfig) -> Lens:
    torch.manual_seed(3)
    lens = Lens(config).eval().requires_grad_(False)
    for tensor in lens.state_dict().values():
        tensor.copy_(torch.rand_like(tensor) * 0.2 + (0.5 if tensor.ndim == 1 else -0.1))
    return lens


def released_state(lens: Lens, root: str = "visual.") -> dict[str, torch.Tensor]:
    """The lens in the words of the original project."""
    config = lens.config
    rows = table(config.family, config.modality).under(root)
    state = rows.inverse().convert(lens.state_dict())
    unused = [row.source for row in rows.rows if isinstance(row, Rename) and row.target is None]
    return state | {key: torch.zeros(()) for key in unused}
