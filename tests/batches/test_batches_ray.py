"""Runs on Ray: the same rows as on one machine, each once, whatever dies. Ray starts slowly, so there are few runs."""

import os
import signal
import socket
import threading
import time

import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from lens_plugins.batches.columns import columns_of
from lens_plugins.batches.local import Done, run_local
from lens_plugins.batches.plan import Plan
from lens_plugins.batches.rows import Inputs
from lens_plugins.batches.worker import Worker
from lens_plugins.errors import CheckpointError, ConfigError, InputError, LensPluginsError
from lens_plugins.testing.small import small_lens, write_host

pa = pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="the extra ray is not installed: nothing of it is tested")
from lens_plugins.batches.ray import Cluster, run_on_ray  # noqa: E402
from lens_plugins.batches.remote import RemoteParts, part_name  # noqa: E402

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A host, a lens, and files of two modalities, of which one is broken."""
    folder = tmp_path_factory.mktemp("ray")
    write_host(folder / "host", "instructblip-llama")
    small_lens("audio").save_pretrained(folder / "audio")
    things, random = folder / "things", np.random.default_rng(0)
    things.mkdir()
    for number in range(8):
        Image.fromarray(random.integers(0, 255, (30, 30, 3), np.uint8)).save(things / f"picture{number}.png")
        soundfile.write(things / f"sound{number}.wav", random.uniform(-0.5, 0.5, 16000), 16000)
    (things / "picture3.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def plan(folder):
    return Plan("embed", host=str(folder / "host"), lenses={"audio": str(folder / "audio")}, batch_size=3)


@pytest.fixture(scope="module")
def inputs(folder):
    return Inputs(str(folder / "things"))


def here(plan, inputs, output):
    """The result of one process, and the columns that it has."""
    run_local(plan, inputs, output, readers=0)
    columns = columns_of(plan.task, {}, several=False, width=Worker(plan).width)
    return there(output), columns


def there(folder):
    names = sorted(name for name in os.listdir(folder) if name.startswith("part-"))
    return pa.concat_tables(parquet.ParquetFile(folder / name).read() for name in names)


def test_the_same_rows_as_on_one_machine_and_a_run_that_goes_on(plan, inputs, tmp_path):
    """One run, since Ray takes long to start: some rows are there before, written as a run on one machine has them."""
    wanted, columns = here(plan, inputs, tmp_path / "here")
    listing, output = inputs.listing(), f"local://{tmp_path}/out"  # an address that fsspec alone knows
    begun = RemoteParts(output, plan, listing)
    begun.columns = columns
    begun.write([wanted.slice(6, 6)])
    begun.close()
    before = (tmp_path / "out" / part_name(6, 6)).stat().st_mtime_ns
    (tmp_path / "out" / ".part-of-a-killed-run").touch()
    told = []
    ended = run_on_ray(
        plan, inputs, output, Cluster(actors=1, readers=1), note=lambda rows, of: told.append((rows, of))
    )
    assert (ended.output, ended.rows, ended.failed, ended.computed) == (output, 16, 1, 10)
    assert 0 < ended.busy <= 1
    assert there(tmp_path / "out").equals(wanted)
    assert (tmp_path / "out" / part_name(6, 6)).stat().st_mtime_ns == before
    assert not (tmp_path / "out" / ".part-of-a-killed-run").exists()
    assert told
    assert all(rows <= of == 16 for rows, of in told)
    began = time.perf_counter()
    assert run_on_ray(plan, inputs, output) == Done(output, 16, 1)
    assert time.perf_counter() - began < 1  # Ray is not started for nothing
    assert run_local(plan, inputs, tmp_path / "out").computed == 0  # one machine knows it as a result of its own
    os.remove(tmp_path / "here" / "_plan.json")
    with pytest.raises(InputError, match="is no result that this run began"):
        run_on_ray(plan, inputs, tmp_path / "here")


def test_what_is_refused_before_ray_starts(plan, inputs, tmp_path):
    listing, here_alone = inputs.listing(), Cluster()

    def run(output, cluster=here_alone, plan=plan, listing=listing):
        run_on_ray(plan, inputs, output, cluster, listing=listing)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for output, cluster, error, said in (
        (tmp_path / "out.parquet", Cluster(), ConfigError, "has an ending; Ray writes a folder"),
        ("memory://out", Cluster(), ConfigError, "memory that each process has for itself"),
        ("s3://", Cluster(), ConfigError, "names no folder"),
        (tmp_path / "a", Cluster("ray://1.2.3.4:10001"), ConfigError, "give local, auto or HOST:PORT"),
        (tmp_path / "b", Cluster(f"127.0.0.1:{port}"), InputError, rf"127\.0\.0\.1:{port} cannot be reached"),
        (tmp_path / "c", Cluster(gpus=1), ConfigError, "the host is loaded on the CPU; give a device"),
    ):
        with pytest.raises(error, match=said):
            run(output, cluster)
    for wrong in ({"actors": 0}, {"readers": 0}, {"cpus": 0}, {"gpus": -1}):
        with pytest.raises(ConfigError, match="it must be"):
            Cluster(**wrong)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(InputError, match="is no result that this run began"):
        run(tmp_path / "full")
    RemoteParts(tmp_path / "begun", plan, listing).close()
    with pytest.raises(ConfigError, match=r"begun otherwise.*batch_size: 3 there, 4 now"):
        run(tmp_path / "begun", plan=Plan("embed", host=plan.host, lenses=plan.lenses, batch_size=4))
    with pytest.raises(ConfigError, match=r"begun otherwise.*inputs: 16 rows there, 1 now"):
        run(tmp_path / "begun", listing=Inputs({"path": "text:a"}).listing())


def test_parts_that_do_not_go_together(plan, inputs, tmp_path):
    wanted, columns = here(plan, inputs, tmp_path / "here")
    parts = RemoteParts(tmp_path / "out", plan, inputs.listing())
    parts.columns = columns
    written = parts.write([wanted.slice(0, 3), wanted.slice(9, 3), wanted.slice(12)])
    assert [(part.first, part.count) for part in written] == [(0, 3), (9, 7)]
    assert parts.done() == [(0, 3), (9, 7)]
    with pytest.raises(CheckpointError, match="lacks the rows 3 to 8"):
        parts.finish([])
    assert parts.write([wanted.slice(3, 6)])[0].failed == 1
    assert parts.finish([]).failed == 1
    parquet.write_table(wanted.slice(0, 6), tmp_path / "out" / part_name(3, 6))
    with pytest.raises(CheckpointError, match="holds 6 rows, others than its name says"):
        parts.finish([])
    (tmp_path / "out" / part_name(3, 3)).touch()
    with pytest.raises(CheckpointError, match="does not go with the other parts"):
        parts.done()
    with pytest.raises(InputError, match="Another run is writing"):
        RemoteParts(tmp_path / "out", plan, inputs.listing())
    picture = parts.with_picture({"row": 7, "picture": b"a picture"})
    assert (tmp_path / picture["picture"]).read_bytes() == b"a picture"
    parts.close()
    (tmp_path / "out.pictures" / "mine.png").touch()
    again = RemoteParts(tmp_path / "out", plan, inputs.listing(), overwrite=True)
    assert (again.done(), again.finished) == ([], None)
    assert os.listdir(tmp_path / "out.pictures") == ["mine.png"]
    again.close()


@pytest.mark.slow
def test_an_actor_is_killed_and_a_node_goes(plan, folder, tmp_path):
    """Two nodes of this machine; rows are there once, and the same as on one machine."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    many = Inputs([{"path": str(path)} for path in sorted((folder / "things").iterdir()) for _ in range(60)])
    wanted, _ = here(plan, many, tmp_path / "here")
    small = {"num_cpus": 2, "object_store_memory": 100_000_000}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    second, output, done = cluster.add_node(**small), tmp_path / "out", []

    def parts():
        return len([name for name in os.listdir(output) if name.startswith("part-")]) if output.exists() else 0

    def harm():
        while parts() < 1:
            time.sleep(0.05)
        running = psutil.process_iter(["pid", "cmdline"])
        answering = [one.pid for one in running if "_Answering" in " ".join(one.info["cmdline"] or ())]
        os.kill(answering[0], signal.SIGKILL)
        done.append(f"killed one of {len(answering)} after {parts()} parts")
        while parts() < 3:
            time.sleep(0.05)
        cluster.remove_node(second)
        done.append(f"removed a node after {parts()} parts")

    harming = threading.Thread(target=harm, daemon=True)
    try:
        harming.start()
        ended = run_on_ray(plan, many, output, Cluster(cluster.address, actors=2, readers=1))
        harming.join(60)
    finally:
        cluster.shutdown()
    assert len(done) == 2, done
    assert (ended.rows, ended.failed) == (960, 60)
    assert there(output).equals(wanted)


def test_a_host_or_lens_that_is_absent_is_told_as_on_one_machine(plan, inputs, folder, tmp_path):
    for wrong in ({"lenses": {"audio": str(folder / "nowhere")}}, {"host": str(folder / "nowhere")}):
        changed = Plan("embed", **{"host": plan.host, "lenses": plan.lenses, **wrong})
        with pytest.raises(LensPluginsError, match="nowhere") as direct:
            Worker(changed)
        with pytest.raises(type(direct.value)) as found:
            run_on_ray(changed, inputs, tmp_path / next(iter(wrong)))
        assert str(found.value) == str(direct.value)
