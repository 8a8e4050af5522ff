"""Runs on Ray from the command line: which options there are, and what they become."""

import pytest

from lens_plugins.batches.local import Done

pytest.importorskip("ray", reason="the extra ray is not installed: nothing of it is tested")
from lens_plugins.batches import ray as runs


def test_the_options_are_a_cluster(cli, small, tmp_path, monkeypatch):
    asked = []

    def run(plan, inputs, output, cluster, **more):
        asked.append((plan.task, plan.loading, len(list(inputs)), output, cluster, more["overwrite"]))
        return Done(output, 3, 1, 3, 2.0, 0.5)

    monkeypatch.setattr(runs, "run_on_ray", run)
    words = [
        "--ray",
        "h:1",
        "--ray-actors",
        "2",
        "--ray-cpus",
        "3",
        "--ray-gpus",
        "0.5",
        "--ray-readers",
        "4",
        "--device",
        "cuda",
        "--overwrite",
    ]
    ended = cli("batch", "embed", small / "chair.npy", "-o", "s3://bucket/out", *words)
    assert asked == [("embed", {"device_map": "cuda"}, 1, "s3://bucket/out", runs.Cluster("h:1", 2, 3.0, 0.5, 4), True)]
    assert ended.code == 2  # a row has failed
    assert "1 of 3 rows have failed" in ended.err
    assert "3 rows in s3://bucket/out; 3 now, 1.5 a second, the model busy 50% of the time" in ended.err


@pytest.mark.parametrize(("words", "said"), [
    (["--ray-actors", "2"], "--ray-actors is for a run on Ray; give --ray"),
    (["--ray-cpus", "2"], "--ray-cpus is for a run on Ray; give --ray"),
    (["--ray", "local", "--readers", "2"], "--readers is for a run without Ray; give --ray-readers"),
    (["--ray", "local", "--ray-gpus", "1"], "the host is loaded on the CPU; give a device"),
    (["--ray", "local", "--device", "cuda:1"], "a GPU of one machine; Ray gives each host its own"),
    (["--ray", "local", "--ray-actors", "0"], "actors is 0; it must be at least 1"),
    (["--ray", "somewhere"], "give local, auto or HOST:PORT"),
])  # fmt: skip
def test_wrong_calls(cli, small, tmp_path, words, said):
    ended = cli("batch", "embed", small / "chair.npy", "-o", tmp_path / "out", *words)
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.split())


def test_a_file_is_what_one_machine_writes(cli, small, tmp_path):
    ended = cli("batch", "embed", small / "chair.npy", "-o", tmp_path / "out.parquet", "--ray", "local")
    assert ended.code == 2
    assert "has an ending; Ray writes a folder of Parquet parts" in " ".join(ended.err.split())
