"""Files that once crashed, hung or filled the memory of a reader, each with what is right."""

import base64
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lens_plugins import load_host, load_lens, read
from lens_plugins.errors import LensPluginsError
from lens_plugins.files.tensors import read_state
from lens_plugins.inputs import AudioSettings, DepthSettings, EegSettings, ImageSettings, PointCloudSettings
from lens_plugins.testing.small import write_host

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_seeds import Seed
from run import outcome_apart

HOSTILE = Path(__file__).parents[1] / "data" / "hostile"
SETTINGS = {
    "point_cloud": PointCloudSettings(max_points=64, mesh_points=128),
    "image": ImageSettings(size=28),
    "depth": DepthSettings(size=28),
    "audio": AudioSettings(frames=24, clip_seconds=1.0),
    "eeg": EegSettings(channels=4),
}


def check(path, modality, found, said=""):
    """Read in a process of its own: within 10 seconds and 2 GiB, and with this end."""
    given = Seed("x", {}, lambda file: read(file, modality, SETTINGS[modality]).tensor)
    end, told = outcome_apart(given, path)
    assert (end, said in told) == (found, True), f"{end}: {told}"


@pytest.mark.parametrize(
    ("name", "modality", "found", "said"),
    [
        ("fz-crash-3189-ee_c.set", "eeg", "refused", "unknown type 0"),
        ("fz-crash-500526-ee_d.set", "eeg", "refused", "not a whole .set"),
        ("fz-crash-504176-ee_a.set", "eeg", "refused", "not a whole .set"),
        ("fz-crash-506998-ee_a.set", "eeg", "refused", "unknown type"),
        ("fz-memory-2525-ee_c.set", "eeg", "refused", "declares 1500000000 elements, its bytes hold 1264"),
        ("fz-memory-6923-ee_a.set", "eeg", "refused", "not a whole .set"),
        ("fz-timeout-505340-ee_d.set", "eeg", "refused", "not a whole .set"),
        ("hm-set-cell-300M.set", "eeg", "refused", "declares 300000000 elements"),
        ("hm-set-struct-0-fields.set", "eeg", "refused", "declares 300000000 elements"),
        ("hm-fif-tag-loop.fif", "eeg", "refused", "tag at byte 36 comes twice"),
        ("hm-eeg-1e300.npy", "eeg", "refused", "hm-eeg-1e300.npy"),
        ("fz-badtensor-1359-ee_a.npy", "eeg", "refused", "fz-badtensor-1359-ee_a.npy"),
        ("fz-FAULT-3975-pc_bin.pcd", "point_cloud", "refused", "fz-FAULT-3975-pc_bin.pcd"),
        ("hm-count.pcd", "point_cloud", "refused", "hm-count.pcd"),
        ("hm-count-ascii.pcd", "point_cloud", "refused", "hm-count-ascii.pcd"),
        ("fz-timeout-6801-pc_lst.ply", "point_cloud", "read", ""),  # edges, which are not read, name no vertex
        ("hm-gltf-chain200.gltf", "point_cloud", "read", ""),
        ("hm-webp-89Mpx-34B.webp", "image", "refused", "16383 × 5461 pixels in 34 bytes"),
        ("hm-c5.pt", "depth", "refused", "holds more than tensors (builtins.bytearray)"),
        ("hm-c10.pt", "depth", "refused", "containers that hold themselves"),
        ("hm-d_conj.pt", "depth", "refused", "conjugated"),
        ("hm-d_fp8.pt", "depth", "refused", "float8_e4m3fn"),
        ("hm-d_nested.pt", "depth", "refused", "nested"),
    ],
)
def test_input(name, modality, found, said):
    check(HOSTILE / name, modality, found, said)


def test_a_data_file_that_is_a_pipe(tmp_path):
    shutil.copy(HOSTILE / "hm-set-fdt-is-fifo.set", tmp_path / "a.set")
    os.mkfifo(tmp_path / "ff.fdt")
    check(tmp_path / "a.set", "eeg", "refused", "ff.fdt is a pipe or a device")


def test_sound_far_beyond_full_scale(tmp_path):
    wave = np.sin(np.arange(8000) / 9).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave * 1e30, 8000, subtype="FLOAT")
    np.save(tmp_path / "a.npy", wave * 1e38)
    for name in ("a.wav", "a.npy"):
        check(tmp_path / name, "audio", "refused", name)


def test_an_object_of_8000_materials(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "".join(f"usemtl m{n}\nf 1 2 3\n" for n in range(8000))
    (tmp_path / "a.obj").write_text(text)
    check(tmp_path / "a.obj", "point_cloud", "read")


def test_a_chain_of_1000_nodes(tmp_path):
    data = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes() + np.array([0, 1, 2], "<u2").tobytes() + b"\0\0"
    tree = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
                      {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 6}],
        "buffers": [{"byteLength": 44,
                     "uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode()}],
        "nodes": [{"mesh": 0, **({"children": [n + 1]} if n < 999 else {})} for n in range(1000)],
    }  # fmt: skip
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    check(tmp_path / "a.gltf", "point_cloud", "read")


# --- checkpoints ---


def refused(path, match, call=load_lens, seconds=5):
    before = time.monotonic()
    with pytest.raises(LensPluginsError, match=match) as caught:
        call(path)
    assert time.monotonic() - before < seconds
    assert "weights_only" not in str(caught.value)


def test_a_lens_of_a_billion_layers(tmp_path):
    refused(HOSTILE / "hm-lens-depth1e9", "declares 2000000000 layers, but its weights have 1 names")
    for name in ("ck-json-104", "ck-json-660"):
        shutil.rmtree(tmp_path / "lens", ignore_errors=True)
        shutil.copytree(HOSTILE / "hm-lens-depth1e9", tmp_path / "lens")
        shutil.copy(HOSTILE / name, tmp_path / "lens" / "config.json")
        refused(tmp_path / "lens", "layers|sizes that no tensor can have|heads")


def test_a_deep_configuration(tmp_path):
    shutil.copytree(HOSTILE / "hm-lens-depth1e9", tmp_path / "lens")
    (tmp_path / "lens" / "config.json").write_text('{"a":' * 20_000 + "1" + "}" * 20_000)
    refused(tmp_path / "lens", r"config\.json is nested deeper than 64 levels")


@pytest.mark.parametrize("name", [path.name for path in sorted(HOSTILE.glob("ck-legacy-*"))])
def test_damaged_files_of_the_old_format(name, tmp_path):
    shutil.copy(HOSTILE / name, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "a.pt cannot be read: it is damaged, cut short or no PyTorch file")
    refused(tmp_path / "a.pt", "a.pt cannot be read", call=read_state)


@pytest.mark.parametrize("name", ["hm-c5.pt", "hm-c10.pt"])
def test_pickles_that_never_end_or_take_any_memory(name):
    for call in (load_lens, read_state):
        refused(HOSTILE / name, "holds more than tensors|containers that hold", call, seconds=2)


def test_pipes_behind_every_name(tmp_path):
    for name in ("lens.pt", "x/config.json", "y/model.safetensors", "y/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / name)
    (tmp_path / "x" / "model.safetensors").write_bytes(b"1")
    for path in (tmp_path / "lens.pt", tmp_path / "x", tmp_path / "y"):
        refused(path, "is a pipe or a device")


def test_one_latent_that_is_nan(tmp_path):
    from lens_plugins.testing.small import small_lens

    lens = small_lens("point_cloud")
    lens.resampler.latents.data[1, 2] = float("nan")
    lens.save_pretrained(tmp_path / "lens")
    refused(tmp_path / "lens", r"1 of the \d+ values of resampler\.latents are NaN or infinite")


def test_a_research_file_with_a_numpy_number_is_read(tmp_path):
    content = {"model": {"w": torch.ones(2)}, "config": {"lr": np.float64(0.5)}}
    torch.save(content, tmp_path / "a.pth")
    assert read_state(tmp_path / "a.pth")["w"].tolist() == [1, 1]


# --- hosts ---


@pytest.mark.parametrize(("part", "changes", "match"), [
    ("vision_config", {"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000; at most 1000"),
    ("vision_config", {"hidden_size": 2**16, "intermediate_size": 2**18}, "describes .* numbers; its weight files"),
    ("text_config", {"vocab_size": 2**30}, "describes .* numbers; its weight files"),
    ("text_config", {"max_position_embeddings": 2**31}, "describes .* numbers; its weight files"),
])  # fmt: skip
def test_a_host_that_describes_more_than_it_holds(part, changes, match, tmp_path):
    write_host(tmp_path, "blip2-opt")
    config = json.loads((tmp_path / "config.json").read_text())
    config[part].update(changes)
    (tmp_path / "config.json").write_text(json.dumps(config))
    seed = Seed("host", {}, lambda path: load_host(path) and [])
    found, said = outcome_apart(seed, tmp_path)
    assert found == "refused", said
    assert re.search(match, said), said
