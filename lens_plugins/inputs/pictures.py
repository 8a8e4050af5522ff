"""Opening pictures within bounds, and the resizing that image, depth and tactile share."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..files.opening import parsing, read_bytes
from .arrays import ARRAY_SUFFIXES, as_array, load_array

__all__ = [
    "CLIP_MEAN",
    "CLIP_STD",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "centre_crop",
    "normalise",
    "open_picture",
    "pixels",
    "resize_shorter_side",
    "shorter_side",
]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_ASPECT = 100  # the longest panoramas have some 20
MAX_PIXELS = 2**25  # a screen of 8K; a lens looks at 224 × 224
_MAX_PHOTO = 89_478_485  # where Pillow starts to warn of decompression bombs
_ROOM_PIXELS, _PIXELS_A_BYTE = 4 * 2**20, 10_000  # white scans of one bit a pixel have some 8,000 for each byte
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def open_picture(source: Path | Image.Image, name: str) -> Image.Image:
    """A decoded picture, upright by its EXIF tag; the first frame of an animation.

    A file has at most `MAX_PIXELS`. A photograph in JPEG may have more, as cameras write them: it is decoded at a half,
    a quarter or an eighth of its size, which JPEG allows at little cost.

    Raises:
        InputError: not a picture in a format we read, too large, or damaged.
    """
    with parsing(name, "picture"):
        if isinstance(source, Image.Image):
            image = source
            _check_pixels(image, _MAX_PHOTO, name)
        else:
            image = _open_file(source, name)
        image.load()
        return ImageOps.exif_transpose(image)


def _open_file(path: Path, name: str) -> Image.Image:
    content = read_bytes(path)
    try:
        image = Image.open(BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        if content[:4] in (b"II*\0", b"MM\0*"):
            raise InputError(
                f"{name} is a TIFF whose kind of pixels is not read, such as floats of 16 or 64 bits; save it with 8 "
                "or 16 bits, or floats of 32."
            ) from error
        raise InputError(f"{name} is not a picture; give one of {', '.join(_FORMATS)}.") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large a picture ({error}); at most {MAX_PIXELS} pixels are read.") from error
    if image.format == "PNG" and content[24:26] == b"\x10\x04":
        raise InputError(f"{name} is 16-bit grey with transparency; save it without transparency, or with 8 bits.")
    photo = image.format in ("JPEG", "MPO")  # several pictures of one shot; the first is read
    size, most = image.width * image.height, _MAX_PHOTO if photo else MAX_PIXELS
    if max(_ROOM_PIXELS, _PIXELS_A_BYTE * len(content)) < size <= _MAX_PHOTO:
        raise InputError(
            f"{name} declares {image.width} × {image.height} pixels in {len(content)} bytes; a picture has fewer than "
            f"{_PIXELS_A_BYTE} for each byte: it is damaged, empty or made to fill the memory."
        )
    _check_pixels(image, most, name)
    if size > MAX_PIXELS:
        scale = next((scale for scale in (2, 4) if size <= MAX_PIXELS * scale**2), 8)
        image.draft(None, (image.width // scale, image.height // scale))
        _check_pixels(image, MAX_PIXELS, name)
    return image


def _check_pixels(image: Image.Image, most: int, name: str) -> None:
    width, height = image.size
    if not 0 < width * height <= most:
        raise InputError(f"{name} is {width} × {height}, {width * height} pixels; give between 1 and {most}: scale it.")


def pixels(source: Path | np.ndarray | Tensor | Image.Image, name: str) -> np.ndarray:
    """RGB pixels of a picture or array: (H, W, 3), uint8, or float32 in [0, 1] where floats were given.

    Transparency is dropped, as the original code does. Arrays may be (H, W), (H, W, 1|3|4) or (1|3|4, H, W).

    Raises:
        InputError: not a picture, 16-bit or float grey (a depth map?), or an array of another shape or range.
    """
    if isinstance(source, Path) and source.suffix.lower() in ARRAY_SUFFIXES:
        source = load_array(source, ("image", "pixels"))
    if isinstance(source, (np.ndarray, Tensor)):
        return _array_pixels(source, name)
    image = open_picture(source, name)
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{name} has pixels of mode {image.mode}, not 8-bit; a depth map is read as depth:{name}, a photograph is "
            "saved with 8 bits."
        )
    return np.asarray(image.convert("RGB"))


def _array_pixels(source: np.ndarray | Tensor, name: str) -> np.ndarray:
    eight_bit = str(source.dtype).removeprefix("torch.") == "uint8"
    array = as_array(source, name).astype(np.float32)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4):
        array = np.moveaxis(array, 0, -1)  # (C, H, W) -> (H, W, C)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise InputError(f"{name} has shape {tuple(source.shape)}; a picture is (H, W), (H, W, 3) or (3, H, W).")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise InputError(f"{name} has {array.shape[0] * array.shape[1]} pixels; at most {MAX_PIXELS} are read.")
    if not eight_bit and not 0 <= array.min() <= array.max() <= 1:
        low, high = array.min(), array.max()
        raise InputError(f"{name} has values from {low:g} to {high:g}; give uint8, or floats from 0 to 1.")
    rgb = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return rgb.astype(np.uint8) if eight_bit else rgb


def shorter_side(height: int, width: int, size: int, name: str) -> tuple[int, int]:
    """Height and width after the shorter side became `size`, the other rounded down (as torchvision's Resize does).

    Raises:
        InputError: a picture `MAX_ASPECT` times as long as wide, or longer: resized whole, it takes seconds.
    """
    longer = int(size * max(height, width) / min(height, width))
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(
            f"{name} is {width} × {height}: with a shorter side of {size} the longer one would be {longer}; crop it."
        )
    return (size, longer) if height <= width else (longer, size)


def resize_shorter_side(tensor: Tensor, size: int, name: str) -> Tensor:  # (C, H, W) -> (C, h, w), min(h, w) = size
    """Bicubic on the tensor, antialias off: the original resized tensors, where torchvision did not smooth."""
    target = shorter_side(tensor.shape[-2], tensor.shape[-1], size, name)
    return functional.interpolate(tensor[None], target, mode="bicubic", align_corners=False, antialias=False)[0]


def centre_crop(tensor: Tensor, size: int) -> Tensor:  # (C, h, w) -> (C, size, size)
    """The middle; an odd rest is split as torchvision's CenterCrop does (half to even)."""
    top, left = (round((side - size) / 2) for side in tensor.shape[-2:])
    return tensor[..., top : top + size, left : left + size]


def normalise(tensor: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:  # (C, H, W), per channel
    """(x − mean) / std, contiguous."""
    shape = (-1, 1, 1)
    return ((tensor - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)).contiguous()
