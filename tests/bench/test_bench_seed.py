import re

import pytest
import torch

from lens_plugins import load_host
from lens_plugins.bench import seed as bench
from lens_plugins.errors import Unsupported
from lens_plugins.testing.small import write_host
from lens_plugins.testing.small_seed import write_seed_host


def test_the_table_tells_the_parts_apart(tmp_path):
    host = load_host(write_seed_host(tmp_path))
    before = torch.get_num_threads()
    title, *rows, share = bench.run(host, repeats=1, threads=1).splitlines()
    assert "1 threads, medians of 1" in title
    assert f"torch {torch.__version__}" in title
    assert [row[:18].strip() for row in rows] == ["tokenizer", "language model", "image embedding", "diffusion"]
    assert "6 tokens" in rows[1]
    assert "2 steps" in rows[3]
    assert re.fullmatch(r"constrained decoding: [\d.]+ ms of [\d.]+ ms a token \([\d.]+%\)", share)
    assert torch.get_num_threads() == before


def test_a_host_without_pictures_is_refused(tmp_path):
    host = load_host(write_host(tmp_path, "instructblip-llama"))
    with pytest.raises(Unsupported, match="makes no pictures"):
        bench.run(host)
