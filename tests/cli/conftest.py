from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lens_plugins.cli.main import run
from lens_plugins.testing.small import small_lens, write_host, write_text_tower


@dataclass(frozen=True)
class Ended:
    """How a command line ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path_factory):
    """Run a command line in this process."""
    from transformers.utils import logging

    monkeypatch.delenv("LENS_PLUGINS_DEBUG", raising=False)
    monkeypatch.setenv("LENS_PLUGINS_VECTORS", str(tmp_path_factory.mktemp("vectors")))
    logging.disable_progress_bar()  # as `quieten` does before anything is imported

    def command(*words: object) -> Ended:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return Ended(code, *capsys.readouterr())

    return command


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A folder with a small `host`, text `tower`, lens of each modality by its name, and a file of most modalities."""
    root = tmp_path_factory.mktemp("small")
    write_host(root / "host", "instructblip-llama")
    write_text_tower(root / "tower")
    for modality in ("point_cloud", "depth", "tactile"):
        small_lens(modality).save_pretrained(root / modality)
    rng = np.random.default_rng(0)
    np.save(root / "piano.npy", rng.random((60, 3), dtype=np.float32))
    np.save(root / "chair.npy", rng.random((60, 3), dtype=np.float32))
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(root / "beach.jpg")
    Image.fromarray(rng.integers(500, 4000, (40, 50)).astype(np.uint16)).save(root / "room.png")
    return root


@pytest.fixture
def plugged(small) -> list[object]:
    """The options that make every command quick: the small host, its lenses, four tokens, one beam."""
    return [*_host(small), "--max-new-tokens", "4", "--num-beams", "1"]


@pytest.fixture
def literate(small) -> list[object]:
    """The small host, its lenses and a text tower."""
    return [*_host(small), "--text-tower", small / "tower", "--text-head", small / "tower" / "text_head.safetensors"]


def _host(small: Path) -> list[object]:
    lenses = [word for name in ("point_cloud", "depth") for word in ("--lens", f"{name}={small / name}")]
    return ["--host", small / "host", *lenses]
