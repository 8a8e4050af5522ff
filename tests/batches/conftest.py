"""A small random host with lenses, and small files of three modalities."""

import numpy as np
import pytest
import soundfile
from PIL import Image

from lens_plugins import load_host
from lens_plugins.testing.small import small_lens, write_host, write_text_tower


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A host's folder, two lenses, a text tower and nine files."""
    folder = tmp_path_factory.mktemp("batches")
    write_host(folder / "host", "instructblip-llama")
    write_text_tower(folder / "tower")
    for modality in ("audio", "point_cloud"):
        small_lens(modality).save_pretrained(folder / modality)
    things, random = folder / "things", np.random.default_rng(0)
    (things / "in side").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(random.integers(0, 255, (30, 30, 3), np.uint8)).save(things / f"picture{number}.png")
        soundfile.write(things / "in side" / f"sound {number}.wav", random.uniform(-0.5, 0.5, 16000), 16000)
        np.save(things / f"cloud{number}.npy", random.normal(size=(100, 3)).astype(np.float32))
    (things / "notes.txt").write_text("left out")
    return folder


@pytest.fixture(scope="session")
def lenses(small):
    return {modality: str(small / modality) for modality in ("audio", "point_cloud")}


@pytest.fixture(scope="session")
def host(small, lenses):
    host = load_host(small / "host", text_tower=small / "tower", text_head=small / "tower" / "text_head.safetensors")
    for lens in lenses.values():
        host.plug(lens)
    return host
