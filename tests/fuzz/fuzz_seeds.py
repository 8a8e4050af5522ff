"""Small valid files of every format and every kind of checkpoint, each with the call that reads it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import trimesh
from PIL import Image

from lens_plugins import load_lens, read
from lens_plugins.files.folders import read_folder
from lens_plugins.files.jsons import read_json
from lens_plugins.files.tensors import read_state
from lens_plugins.inputs import (
    AudioSettings,
    DepthSettings,
    EegSettings,
    ImageSettings,
    PointCloudSettings,
    TactileSettings,
)
from lens_plugins.testing.small import small_lens, write_host
from lens_plugins.train import TrainConfig
from lens_plugins.train.checkpoint import RunState, load_state, save_state

__all__ = ["Seed", "seeds"]

SETTINGS = {
    "point_cloud": PointCloudSettings(max_points=64, mesh_points=128),
    "image": ImageSettings(size=28),
    "tactile": TactileSettings(size=28),
    "depth": DepthSettings(size=28),
    "audio": AudioSettings(frames=24, clip_seconds=1.0),
    "eeg": EegSettings(channels=4, start=2, stop=50, steps=20),
}


def _write_edf() -> Any:
    """A recording of EEG byte for byte, as the tests of its reader write it."""
    spec = spec_from_file_location("inputs_conftest", Path(__file__).parents[1] / "inputs" / "conftest.py")
    module = module_from_spec(spec)  # by its path: several folders have a conftest
    spec.loader.exec_module(module)
    return module.write_edf


@dataclass(frozen=True)
class Seed:
    """A valid file or folder.

    Attributes:
        kind: its format, under which outcomes are counted.
        files: content by name; one file, or those of a folder.
        read: called with the path of the file or folder; gives what must be finite.
        share: how often it is drawn, beside 1 for the others.
    """

    kind: str
    files: dict[str, bytes]
    read: Callable[[Path], Any]
    share: float = 1.0


def seeds(folder: Path) -> list[Seed]:
    """All of them; `folder` is scratch space."""
    made = [*_clouds(folder), *_pictures(folder), *_sounds(), *_recordings(folder), *_arrays(), *_cases()]
    return [*made, *_lenses(folder), *_checkpoints(folder)]


def _input(modality: str, name: str, content: bytes, share: float = 1.0) -> Seed:
    def read_it(path: Path) -> Any:
        return read(path, modality, SETTINGS[modality]).tensor

    return Seed(f"{modality}:{Path(name).suffix[1:]}", {name: content}, read_it, share)


def _clouds(folder: Path) -> Iterator[Seed]:
    box = trimesh.creation.box((1, 2, 3))
    box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=np.tile([1, 2, 3, 255], (8, 1)))
    points = trimesh.PointCloud(np.random.default_rng(0).normal(size=(20, 3)))
    for suffix, more in (
        ("ply", {"encoding": "ascii"}), ("ply", {"encoding": "binary"}), ("obj", {}), ("off", {}), ("glb", {}),
        ("stl", {}), ("stl_ascii", {}),
    ):  # fmt: skip
        content = box.export(file_type=suffix, **more)
        content = content.encode() if isinstance(content, str) else content
        yield _input("point_cloud", f"a.{suffix.partition('_')[0]}", content)
    yield _input("point_cloud", "a.ply", points.export(file_type="ply", encoding="ascii"))
    parts = trimesh.Scene(box).export(file_type="gltf")
    tree = json.loads(parts.pop("model.gltf"))
    for buffer in tree["buffers"]:
        data = base64.b64encode(parts[buffer["uri"]]).decode()
        buffer["uri"] = f"data:application/octet-stream;base64,{data}"
    yield _input("point_cloud", "a.gltf", json.dumps(tree).encode(), 2)
    rows = "\n".join(f"{x:.3f} {y:.3f} {z:.3f}" for x, y, z in points.vertices)
    yield _input("point_cloud", "a.xyz", rows.encode())
    head = (
        "VERSION 0.7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH 20\nHEIGHT 1\nPOINTS 20\nDATA "
    )
    yield _input("point_cloud", "a.pcd", (head + "ascii\n" + rows.replace("\n", " 0\n") + " 0\n").encode())
    body = np.hstack([points.vertices, np.zeros((20, 1))]).astype("<f4").tobytes()
    yield _input("point_cloud", "a.pcd", (head + "binary\n").encode() + body)


def _pictures(folder: Path) -> Iterator[Seed]:
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    for suffix in ("png", "jpg", "webp", "bmp", "gif", "tif"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
        yield _input("tactile" if suffix == "jpg" else "image", f"a.{suffix}", buffer.getvalue())
    deep = Image.fromarray((np.arange(192, dtype=np.uint16) * 20 + 500).reshape(12, 16))
    for suffix in ("png", "tiff"):
        buffer = io.BytesIO()
        deep.save(buffer, suffix)
        yield _input("depth", f"a.{suffix}", buffer.getvalue())
    import OpenEXR

    values = np.linspace(1, 5, 192, dtype=np.float32).reshape(12, 16)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Z": values}).write(str(folder / "a.exr"))
    yield _input("depth", "a.exr", (folder / "a.exr").read_bytes(), 2)


def _sounds() -> Iterator[Seed]:
    wave = 0.5 * np.sin(np.arange(4000) / 10)
    kinds = (("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III"))
    for suffix, subtype in kinds:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, 8000, format=suffix, subtype=subtype)
        yield _input("audio", f"a.{suffix}", buffer.getvalue())


def _recordings(folder: Path) -> Iterator[Seed]:
    import mne
    import scipy.io

    data = np.random.default_rng(0).normal(size=(4, 400)) * 20
    for suffix in ("edf", "bdf"):
        yield _input("eeg", f"a.{suffix}", _write_edf()(folder / f"a.{suffix}", data, 200).read_bytes())
    info = mne.create_info(4, 200.0, "eeg", verbose="ERROR")
    mne.io.RawArray(data * 1e-6, info, verbose="ERROR").save(folder / "a_raw.fif", verbose="ERROR", overwrite=True)
    yield _input("eeg", "a_raw.fif", (folder / "a_raw.fif").read_bytes())
    names = np.array([(f"E{n}", float(n)) for n in range(4)], dtype=[("labels", "O"), ("X", "O")])
    recording = {
        "setname": "x", "srate": 200.0, "nbchan": 4.0, "pnts": 400.0, "trials": 1.0, "xmin": 0.0, "xmax": 2.0,
        "data": data.astype(np.float32), "chanlocs": names, "event": np.zeros((0, 0)), "icawinv": np.zeros((0, 0)),
    }  # fmt: skip
    for compressed in (False, True):
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"EEG": recording}, do_compression=compressed, appendmat=False)
        yield _input("eeg", "a.set", buffer.getvalue())


def _arrays() -> Iterator[Seed]:
    random = np.random.default_rng(0)
    values = {
        "point_cloud": random.normal(size=(20, 3)).astype(np.float32),
        "depth": np.linspace(1, 30, 192, dtype=np.float32).reshape(12, 16),
        "image": random.integers(0, 255, (12, 16, 3), np.uint8),
        "audio": random.normal(size=20_000).astype(np.float32) * 0.1,
        "eeg": random.normal(size=(4, 100)),
    }
    for modality, array in values.items():
        npy, npz, pt = io.BytesIO(), io.BytesIO(), io.BytesIO()
        np.save(npy, array)
        yield _input(modality, "a.npy", npy.getvalue())
        torch.save(torch.from_numpy(array), pt)
        yield _input(modality, "a.pt", pt.getvalue(), 0.5)
        if modality in ("point_cloud", "depth"):
            np.savez_compressed(npz, array)
            yield _input(modality, "a.npz", npz.getvalue(), 0.5)


def _cases() -> Iterator[Seed]:
    """Files of the tests: real quirks, and what was hostile once."""
    kinds = {
        "wav": "audio",
        "mp3": "audio",
        "flac": "audio",
        "exr": "depth",
        **dict.fromkeys(("edf", "bdf", "fif", "set"), "eeg"),
    }
    kinds |= dict.fromkeys(("ply", "obj", "glb", "gltf", "stl", "xyz", "pcd"), "point_cloud")
    for path in sorted((Path(__file__).parents[1] / "data").rglob("*")):
        if path.is_file() and path.suffix[1:] in kinds and path.stat().st_size < 50_000:
            yield _input(kinds[path.suffix[1:]], f"a{path.suffix}", path.read_bytes(), 0.2)


# --- checkpoints ---


def _read_json(path: Path) -> list[torch.Tensor]:
    read_json(path)
    return []


def _weights(module: Any) -> list[torch.Tensor]:
    return list(module.state_dict().values())


def _saved(value: Any, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _lenses(folder: Path) -> Iterator[Seed]:
    for modality in ("point_cloud", "depth", "audio", "eeg", "tactile"):
        lens = small_lens(modality)
        lens.save_pretrained(folder / modality)
        yield Seed("lens:folder", _content(folder / modality), lambda path: _weights(load_lens(path)))
    torch.manual_seed(0)
    patch = {"visual.eva_vit.patch_embed.proj.weight": torch.randn(8, 3, 14, 14) * 0.1,
             "visual.eva_vit.patch_embed.proj.bias": torch.zeros(8)}  # fmt: skip
    for legacy in (False, True):
        released = {"epoch": 3, "name": "x", "state_dict": {f"module.{name}": value for name, value in patch.items()}}
        yield Seed(f"lens:{'legacy' if legacy else 'pt'}", {"a.pt": _saved(released, legacy)},
                   lambda path: _weights(load_lens(path, "tactile", size=28)))  # fmt: skip


def _checkpoints(folder: Path) -> Iterator[Seed]:
    state = {f"layers.{n}.weight": torch.ones(3, 2) for n in range(3)}
    for name, content in (
        ("state", {"model": state, "lr": np.float64(0.1), "epoch": 3}),
        ("views", {"w": torch.ones(4, 4)[1:].T}),
    ):
        for legacy in (False, True):
            yield Seed(f"pth:{name}", {"a.pth": _saved(content, legacy)}, lambda path: list(read_state(path).values()))
    optimizer = {"state": {0: {"step": torch.ones(())}}}
    run = RunState(1, 0.5, TrainConfig().to_dict(), "d", state, [optimizer], {}, {}, torch.get_rng_state(), None)
    save_state(folder / "c.pt", run)
    yield Seed(
        "pth:training",
        {"c.pt": (folder / "c.pt").read_bytes()},
        lambda path: [load_state(path, TrainConfig(), "d").random],
    )
    from safetensors.torch import save

    from lens_plugins.hosts.text_tower import load_text_head

    head = save({"weight": torch.ones(8, 32), "bias": torch.zeros(8)})
    yield Seed("safetensors", {"a.safetensors": head}, lambda path: _weights(load_text_head(path)))
    config = json.dumps({"a": [1, 2.5, None], "b": {"c": "x"}}).encode()
    yield Seed("json", {"a.json": config}, _read_json)
    lens = _content(folder / "depth")
    yield Seed("folder", lens, lambda path: list(read_folder(path, "a lens")[1].values()))
    yield from _hosts(folder)


def _hosts(folder: Path) -> Iterator[Seed]:
    from lens_plugins import load_host

    for name in ("instructblip-llama", "blip2-opt"):
        write_host(folder / name, name)
        yield Seed(f"host:{name}", _content(folder / name), lambda path: _weights(load_host(path).vit.module), 0.3)
