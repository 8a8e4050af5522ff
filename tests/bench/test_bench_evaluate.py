import re

import pytest

from lens_plugins.bench import captions
from lens_plugins.bench.evaluate import run
from lens_plugins.errors import CheckpointError
from lens_plugins.testing.small import small_lens, write_host


def test_both_ways_give_the_same_vectors(tmp_path):
    write_host(tmp_path / "host", "instructblip-llama")
    small_lens("point_cloud").save_pretrained(tmp_path / "lens")
    told = run(str(tmp_path / "host"), str(tmp_path / "lens"), clouds=64, points=64, batch_size=4)
    assert told.startswith("64 clouds of 64 points, batches of 4, 1 threads")
    apart = float(re.search(r"two vectors: (\S+)\.$", told)[1])
    assert apart < 1e-5
    again = next(line for line in told.splitlines() if line.startswith("| again"))
    assert float(again.split("|")[3]) < 1


def test_captions_need_the_held_out_objects(monkeypatch):
    def absent():
        raise CheckpointError("The held-out cases are not in this installation.")

    monkeypatch.setattr(captions, "open_objects", absent)
    with pytest.raises(CheckpointError, match="not in this installation"):
        captions.run()
