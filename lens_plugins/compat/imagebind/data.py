"""ImageBind's loaders, and those that it lacks: files become batches; None stays None.

Files are read as the model reads them that was made last in this process, or as the released vitlensL lenses read them
where there is none yet; ``model=`` names another one. All settings beside ``device`` are those of the modality's reader
(`lens_plugins.inputs`); what is not given is as the lens was trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from ..._config import FrozenConfig
from ...catalog import find_modality, resolve
from ...errors import ConfigError, InputError, Unsupported
from ...hosts.base import check_device
from ...hosts.clip import ClipHost, token_ids
from ...hosts.clip_files import load_words
from ...inputs import read
from ...inputs.base import Source, several
from ...inputs.image import ImageSettings
from .modality import modality_of
from .weights import last_host

if TYPE_CHECKING:
    from .models.imagebind_model import ImageBindModel

__all__ = [
    "load_and_transform_audio_data",
    "load_and_transform_depth_data",
    "load_and_transform_eeg_data",
    "load_and_transform_imu_data",
    "load_and_transform_point_cloud_data",
    "load_and_transform_tactile_data",
    "load_and_transform_text",
    "load_and_transform_thermal_data",
    "load_and_transform_video_data",
    "load_and_transform_vision_data",
]

Paths: TypeAlias = "Source | Sequence[Source]"
Device: TypeAlias = "str | torch.device | None"
_CONTEXT = 77


def load_and_transform_text(
    text: str | Sequence[str] | None, device: Device = None, *, model: ImageBindModel | ClipHost | None = None
) -> Tensor | None:
    """Token ids (B, 77), int64; a text of more tokens is cut.

    Raises:
        CheckpointError: there is no tokenizer.
        InputError: no text at all, or something that is none.
    """
    if text is None:
        return None
    if not isinstance(text, Iterable):
        raise InputError(f"A {type(text).__name__} is no text; give a list of texts.")
    texts = [text] if isinstance(text, str) else list(text)
    if not texts:
        raise InputError("There are 0 texts to load; at least 1 is needed.")
    host = _host_of(model)
    ids = token_ids(_common_words(), texts, _CONTEXT, pad=True) if host is None else host.texts.ids(texts, pad=True)
    return ids.to(_place(device))


def load_and_transform_vision_data(
    image_paths: Paths | None, device: Device = None, *, model: ImageBindModel | ClipHost | None = None
) -> Tensor | None:
    """Pictures (B, 3, 224, 224): shorter side to 224, centre crop, CLIP's mean and deviation.

    Raises:
        InputError: a file that is no picture.
    """
    return _stacked(image_paths, "image", device, model, {})


def load_and_transform_audio_data(
    audio_paths: Paths | None,
    device: Device = None,
    num_mel_bins: int | None = None,
    target_length: int | None = None,
    sample_rate: int | None = None,
    clip_duration: float | None = None,
    clips_per_video: int | None = None,
    mean: float | None = None,
    std: float | None = None,
    *,
    model: ImageBindModel | ClipHost | None = None,
    **settings: Any,
) -> Tensor | None:
    """Recordings as spectrograms (B, clips, 512, 128): frames, then mel bins, where ImageBind has (B, 3, 1, 128, 204).

    Args:
        audio_paths: files, or (array, rate).
        device: where the result goes.
        num_mel_bins, target_length, sample_rate, clip_duration, clips_per_video, mean, std: None: as the lens was
            trained (128 bins, 512 frames, 16 kHz, 5 s, 3 clips). A lens reads its own numbers of bins and frames alone.
        model: whose lens reads; None: the one made last.
        settings: further fields of `AudioSettings`, such as ``channel=0``.

    Raises:
        InputError: a file that is no sound.
        ConfigError: a setting that there is none, or a wrong value.
    """
    given = {
        "mel_bins": num_mel_bins,
        "frames": target_length,
        "sample_rate": sample_rate,
        "clip_seconds": clip_duration,
        "clips": clips_per_video,
        "mean": mean,
        "std": std,
    }
    settings |= {name: value for name, value in given.items() if value is not None}
    batch = _stacked(audio_paths, "audio", device, model, settings)
    return batch if batch is None or batch.ndim == 4 else batch[:, None]  # one clip keeps its axis


def load_and_transform_depth_data(
    depth_paths: Paths | None,
    device: Device = None,
    *,
    model: ImageBindModel | ClipHost | None = None,
    **settings: Any,
) -> Tensor | None:
    """Depth or disparity maps (B, 1, 224, 224); ``kind="depth_mm"`` and other fields of `DepthSettings` may be given.

    Raises:
        InputError: a file that is no depth map.
        ConfigError: a setting that there is none, or a wrong value.
    """
    return _stacked(depth_paths, "depth", device, model, settings)


def load_and_transform_point_cloud_data(
    cloud_paths: Paths | None,
    device: Device = None,
    *,
    model: ImageBindModel | ClipHost | None = None,
    **settings: Any,
) -> Tensor | list[Tensor] | None:
    """Clouds and meshes (B, P, 3) with up to 8192 points; a list of (P, 3) where they have unequal numbers of points.

    Raises:
        InputError: a file that is no cloud or mesh.
        ConfigError: a setting that there is none, or a wrong value.
    """
    if cloud_paths is None:
        return None
    place = _place(device)
    clouds = [one.to(place) for one in _read(cloud_paths, "point_cloud", model, settings)]
    return torch.stack(clouds) if len({len(cloud) for cloud in clouds}) == 1 else clouds


def load_and_transform_tactile_data(
    tactile_paths: Paths | None,
    device: Device = None,
    *,
    model: ImageBindModel | ClipHost | None = None,
    **settings: Any,
) -> Tensor | None:
    """Frames of a touch sensor (B, 3, 224, 224); fields of `TactileSettings` may be given.

    Raises:
        InputError: a file that is no picture.
        ConfigError: a setting that there is none, or a wrong value.
    """
    return _stacked(tactile_paths, "tactile", device, model, settings)


def load_and_transform_eeg_data(
    eeg_paths: Paths | None,
    device: Device = None,
    *,
    model: ImageBindModel | ClipHost | None = None,
    **settings: Any,
) -> Tensor | None:
    """EEG recordings (B, 128, 512); fields of `EegSettings` may be given, such as ``bandpass=True, zscore=True``.

    Raises:
        InputError: a file that is no recording.
        ConfigError: a setting that there is none, or a wrong value.
    """
    return _stacked(eeg_paths, "eeg", device, model, settings)


def load_and_transform_video_data(video_paths: Paths | None, device: Device = None, *_: Any, **__: Any) -> None:
    """None for None; nothing here reads video.

    Raises:
        Unsupported: there is a path.
    """
    if video_paths is not None:
        raise Unsupported(
            "Nothing here reads video. Take pictures out of it and give load_and_transform_vision_data their files; a "
            "vision tensor (B, K, 3, H, W) is K pictures each, whose vectors are averaged."
        )


def load_and_transform_thermal_data(thermal_paths: Paths | None, device: Device = None, *_: Any, **__: Any) -> None:
    """None for None; there is no lens for thermal pictures.

    Raises:
        Unsupported: there is a path.
    """
    if thermal_paths is not None:
        modality_of("thermal")


def load_and_transform_imu_data(imu_paths: Paths | None, device: Device = None, *_: Any, **__: Any) -> None:
    """None for None; there is no lens for the movements of an IMU.

    Raises:
        Unsupported: there is a path.
    """
    if imu_paths is not None:
        modality_of("imu")


def _host_of(model: ImageBindModel | ClipHost | None) -> ClipHost | None:
    if model is None:
        return last_host()
    host = getattr(model, "host", model)
    if not isinstance(host, ClipHost):
        raise ConfigError(f"model is a {type(model).__name__}; give one of imagebind_huge, or a host that embeds.")
    return host


def _place(device: Device) -> torch.device | None:
    """The device, if this machine has it."""
    return None if device is None else check_device(device)


@cache
def _common_words() -> Any:
    """CLIP's tokenizer, for texts that are loaded before there is a model."""
    return load_words(None)


def _stacked(
    paths: Paths | None,
    modality: str,
    device: Device,
    model: ImageBindModel | ClipHost | None,
    values: Mapping[str, Any],
) -> Tensor | None:
    if paths is None:
        return None
    place = _place(device)  # before anything is read
    return torch.stack(_read(paths, modality, model, values)).to(place)


def _read(
    paths: Paths, modality: str, model: ImageBindModel | ClipHost | None, values: Mapping[str, Any]
) -> list[Tensor]:
    """One tensor for each input, all read with the same settings."""
    sources = several(paths)
    if not sources:
        raise InputError(f"There are 0 inputs of {modality} to load; at least 1 is needed.")
    own = _settings(modality, _host_of(model))
    settings = own.from_dict({**own.to_dict(), **values})
    free = {*getattr(own, "per_input", ()), "clips"}
    other = [name for name in values if name not in free and getattr(own, name) != getattr(settings, name)]
    if other:
        told = ", ".join(f"{name}={getattr(settings, name)!r} in place of {getattr(own, name)!r}" for name in other)
        warnings.warn(
            f"Inputs of {modality} are read with {told}, which the lens was trained with; its vectors are others then. "
            "Leave out what ImageBind's lens was trained with.",
            stacklevel=4,
        )
    return [read(source, modality, settings).tensor for source in sources]


def _settings(modality: str, host: ClipHost | None) -> FrozenConfig:
    """As the host's lens reads, else as the released one does."""
    if host is None:
        released: FrozenConfig = resolve(find_modality(modality).settings)()
        return replace(released, resize="shorter") if isinstance(released, ImageSettings) else released
    lens = host.lenses.get(modality)
    if lens is not None:
        return lens.config.input
    if modality == "image":
        return host.image_settings
    raise Unsupported(f"{host.name} has no lens for {find_modality(modality).noun}; it was loaded without one.")
