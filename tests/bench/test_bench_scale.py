import re

import pytest
import torch

from lens_plugins.bench import scale
from lens_plugins.bench.scale import Costs
from lens_plugins.errors import InputError
from lens_plugins.testing.small import small_lens, write_host

pytest.importorskip("lancedb")


def test_costs_tell_what_is_narrowest():
    costs = Costs(read=0.2, answer=0.5, write=0.01, sent=0, kept=0, worked=0.7)
    assert costs.alone == pytest.approx(0.71)
    for readers, hosts, seconds, name in (
        (1, 1, 0.5, "the model"),
        (1, 4, 0.2, "reading"),
        (8, 8, 0.0625, "the model"),
        (100, 100, 0.01, "writing"),
    ):
        assert costs.beside(readers, hosts) == pytest.approx(seconds)
        assert costs.narrowest(readers, hosts) == name


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_what_is_foretold_follows_from_what_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "_INDEXED", (64, 128))
    write_host(tmp_path / "host", "instructblip-llama")
    small_lens("audio").save_pretrained(tmp_path / "audio")
    before = torch.get_num_threads()
    told = scale.run(str(tmp_path / "host"), lenses={"audio": str(tmp_path / "audio")}, rows=100, batch_size=4, hosts=2)
    assert torch.get_num_threads() == before
    lines = told.splitlines()
    assert lines[0].startswith("host, batches of 4, 1 threads; ")
    costs = {
        cells(line)[0]: [float(cell) for cell in cells(line)[1:]]
        for line in lines
        if re.match(r"\| [a-z_]+ \| \d", line)
    }
    assert sorted(costs) == ["audio", "image"]
    run = next(cells(line) for line in lines if line.startswith("| 100 |"))
    alone = sum(sum(row[:3]) for row in costs.values()) / 2 / 1e3
    assert float(run[1]) == pytest.approx(100 * alone, abs=0.06)
    assert float(run[2]) > 0
    assert float(run[5]) > 0
    most = next(cells(line.replace(",", "")) for line in lines if line.startswith("| 1,000,000,000 |"))
    answer = sum(row[1] for row in costs.values()) / 2 / 1e3
    assert float(most[2]) == pytest.approx(1e9 * answer / 86_400, rel=0.05, abs=2)
    assert float(most[5]) == pytest.approx(1e9 * sum(row[4] for row in costs.values()) / 2 / 1e9, rel=0.05)


def test_a_host_that_reads_nothing_of_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "MADE", {})
    with pytest.raises(InputError, match="give a lens for one"):
        scale.run(str(write_host(tmp_path / "host", "instructblip-llama")))
