"""An index of files that lasts: on a small random host, whose vectors are what `Host.embed` says."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from lens_plugins import load_host
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError
from lens_plugins.index import Index, table
from lens_plugins.testing.small import small_lens, write_host

lancedb = pytest.importorskip("lancedb")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A host, two lenses, and files of three modalities."""
    folder = tmp_path_factory.mktemp("index")
    write_host(folder / "host", "instructblip-llama")
    for modality in ("audio", "point_cloud"):
        small_lens(modality).save_pretrained(folder / modality)
    small_lens("audio", seed=7).save_pretrained(folder / "other-audio")
    things, random = folder / "things", np.random.default_rng(0)
    (things / "50%_a").mkdir(parents=True)
    for number in range(4):
        Image.fromarray(random.integers(0, 255, (30, 30, 3), np.uint8)).save(things / f"picture{number}.png")
        soundfile.write(things / "50%_a" / f"it's {number}.wav", random.uniform(-0.5, 0.5, 16000), 16000)
        np.save(things / f"cloud{number}.npy", random.normal(size=(100, 3)).astype(np.float32))
    return folder


@pytest.fixture
def host(folder):
    host = load_host(folder / "host")
    for modality in ("audio", "point_cloud"):
        host.plug(folder / modality)
    return host


@pytest.fixture
def files(folder):
    return sorted(str(file) for file in (folder / "things").rglob("*.*"))


@pytest.fixture
def index(host, files, tmp_path):
    index = Index(tmp_path / "things.lance", host)
    assert index.add(files, batch_size=5).added == 12
    return index


def names(found):
    return [os.path.basename(file) for file in found.column("file").to_pylist()]


def test_scores_are_the_cosines_of_the_hosts_own_vectors(index, host, files):
    vectors = host.embed(files)
    for number in (0, 5, 11):
        found = index.search(files[number], top=12)
        cosines = vectors @ vectors[number]
        order = cosines.argsort(descending=True)
        assert found.column("file").to_pylist() == [files[i] for i in order]
        assert np.allclose(found.column("score").to_numpy(), cosines[order], atol=1e-5)
        assert names(index.search(vectors[number], top=12)) == names(found)


def test_several_inputs_are_one_query(index, host, files):
    asked = torch.nn.functional.normalize(host.embed(files[:2]).mean(0), dim=-1)
    assert names(index.search(files[:2])) == names(index.search(asked))


def test_an_index_lasts_and_grows_by_what_is_new(index, host, files, folder, tmp_path):
    again = Index(tmp_path / "things.lance", host)
    assert len(again) == 12
    done = again.add(files)
    assert (done.added, done.known, list(done.failed)) == (0, 12, [])
    things = tmp_path / "things"
    shutil.copytree(folder / "things", things)
    np.save(things / "cloud0.npy", np.random.default_rng(9).normal(size=(100, 3)).astype(np.float32))
    done = again.add(sorted(str(file) for file in things.rglob("*.*")))
    assert (done.added, done.known) == (1, 11)  # contents that were known under other names are not embedded again
    assert len(again) == 24
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(things / "picture0.png")  # another content, the same name
    assert again.add([things / "picture0.png"]).added == 1
    assert len(again) == 24
    assert names(again.search(things / "picture0.png", top=1)) == ["picture0.png"]


def test_rows_as_arrow(index, host, files):
    rows = index.to_arrow(vectors=True)
    assert rows.column_names == ["file", "modality", "content", "lens", "vector"]
    order = {file: number for number, file in enumerate(rows.column("file").to_pylist())}
    vectors = np.stack(rows.column("vector").to_pylist())[[order[file] for file in files]]
    assert np.allclose(vectors, host.embed(files), atol=1e-6)
    assert set(rows.column("modality").to_pylist()) == {"audio", "image", "point_cloud"}


def test_filters_by_modality_and_place(index, files, folder):
    things, asked = folder / "things", files[0]
    assert len(index.search(asked, 99, modality="audio")) == 4
    assert len(index.search(asked, 99, modality=["audio", "image"])) == 8
    assert len(index.search(asked, 99, path=things)) == 12
    assert len(index.search(asked, 99, path=things / "50%_a")) == 4
    assert len(index.search(asked, 99, path=things / "*.png")) == 4
    assert names(index.search(asked, 99, path=things / "50%_a" / "it's 2.wav")) == ["it's 2.wav"]
    assert len(index.search(asked, 99, path=things / "picture?.png", modality="audio")) == 0
    assert len(index.search(asked, 99, path=f"{things}/50__a")) == 0  # no letter of a name is a pattern but * and ?


def test_files_folders_and_patterns_are_removed(index, folder, tmp_path):
    things = folder / "things"
    assert index.remove(things / "cloud0.npy", things / "picture*") == 5
    assert index.remove(things / "50%_a") == 4
    assert index.remove(things / "50%_a") == 0
    assert len(Index(tmp_path / "things.lance", space="vision")) == 3


def test_what_is_gone_from_a_folder(host, folder, tmp_path):
    shutil.copytree(folder / "things", tmp_path / "things")
    index = Index(tmp_path / "db", host)
    index.add(sorted((tmp_path / "things").glob("*.png")))
    (tmp_path / "things" / "picture1.png").unlink()
    assert index.remove_gone(tmp_path / "things") == 1
    assert len(index) == 3


def test_what_cannot_be_read_is_told_and_left_out(index, folder, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    done = index.add([tmp_path / "broken.wav", tmp_path / "nowhere.png", tmp_path / "a.txt", f"depth:{tmp_path}/x.png"])
    assert done.added == done.known == 0
    assert [os.path.basename(name) for name, _ in done.failed] == ["nowhere.png", "a.txt", "x.png", "broken.wav"]
    assert len(index) == 12


def test_a_lens_that_is_changed_under_an_open_index_is_refused(index, host, folder, files):
    audio = next(file for file in files if file.endswith(".wav"))
    index.search(audio)
    host.plug(folder / "other-audio")
    for ask in (lambda: index.add([audio]), lambda: index.search(audio)):
        with pytest.raises(DoesNotFit, match=r"holds audio vectors of audio \(\w+\); the one in use is other-audio \("):
            ask()


def test_a_file_that_can_no_longer_be_read_leaves(host, folder, tmp_path):
    shutil.copytree(folder / "things", tmp_path / "things")
    index, files = Index(tmp_path / "db", host), sorted((tmp_path / "things").glob("*.png"))
    index.add(files)
    files[0].write_bytes(b"no picture any more")
    assert len(index.add(files).failed) == 1
    assert len(index) == 3
    assert names(index.search(files[1], 9)).count(files[0].name) == 0


def test_names_that_look_like_patterns_or_are_no_text(host, folder, tmp_path):
    odd = tmp_path / "st*r?"
    shutil.copytree(folder / "things", odd)
    index = Index(tmp_path / "db", host)
    index.add(sorted(odd.glob("*.png")))
    assert len(index.search(odd / "picture0.png", 9, path=odd)) == 4
    (odd / "picture1.png").unlink()
    assert index.remove_gone(odd) == 1
    assert index.remove(odd) == 3
    bad = os.fsdecode(b"bad\xff.png")
    shutil.copy(odd / "picture0.png", tmp_path / bad)
    done = index.add([tmp_path / bad, odd / "picture0.png"])
    assert done.added == 1
    assert "no name in UTF-8" in done.failed[0][1]


def test_wrong_calls(index, files, tmp_path):
    with pytest.raises(ConfigError, match="is one file; give a list"):
        index.add(files[0])
    with pytest.raises(ConfigError, match="2 files and 1 vectors"):
        index.as_rows(["a", "b"], torch.ones(1, 4), "image")
    with pytest.raises(ConfigError, match="no modality 'picture'"):
        index.search(files[-1], modality="picture")
    with pytest.raises(ConfigError, match="0 modalities"):
        index.search(files[-1], modality=[])
    with pytest.raises(InputError, match="has no table; build it first"):
        Index(tmp_path / "misspelt")
    assert not (tmp_path / "misspelt").exists()


def test_vectors_of_another_host_or_lens_are_refused_by_name(index, host, folder, files, tmp_path):
    other = load_host(write_host(tmp_path / "other", "instructblip-llama", seed=5))
    with pytest.raises(DoesNotFit, match=r"holds vectors of .*; this host is .*Give that host, or build another index"):
        Index(tmp_path / "things.lance", other)
    host.plug(folder / "other-audio")
    changed = Index(tmp_path / "things.lance", host)
    audio = next(file for file in files if file.endswith(".wav"))
    wave = (np.zeros(16000, np.float32), 16000)
    for ask in (
        lambda: changed.add([audio]),
        lambda: changed.search(audio),
        lambda: changed.search(wave, query_modality="audio"),
    ):
        with pytest.raises(DoesNotFit, match=r"holds audio vectors of audio \(\w+\); the one in use is other-audio \("):
            ask()
    assert changed.search(files[-1]).num_rows  # a picture needs no lens
    changed.remove(folder / "things" / "50%_a")
    assert changed.add([audio]).added == 1


def test_indices_built_apart_become_one(index, host, files, folder, tmp_path):
    parts = [Index(tmp_path / name, host) for name in ("a", "b", "both")]
    parts[0].add(files[:7])
    parts[1].add(files[5:])
    assert sum(parts[2].add_rows(part.to_arrow(vectors=True)) for part in parts[:2]) == 14
    assert parts[2].search(files[3], 12).equals(index.search(files[3], 12))
    with pytest.raises(DoesNotFit, match="no rows of an index like"):
        parts[2].add_rows(parts[0].to_arrow())
    with pytest.raises(DoesNotFit, match="no rows of an index like"):
        parts[2].add_rows(parts[0].to_arrow(vectors=True).replace_schema_metadata(None))


def test_stats(index):
    stats = index.stats()
    assert (stats.rows, stats.space, stats.exact) == (12, "vision", True)
    assert stats.modalities == {"audio": 4, "image": 4, "point_cloud": 4}
    assert len(stats.lenses["audio"]) == 1
    assert stats.lenses["audio"][0].startswith("audio (")
    assert stats.bytes > 12 * stats.width * 4


def test_without_a_host(index, files, tmp_path):
    alone = Index(tmp_path / "things.lance")
    assert alone.stats() == index.stats()
    for ask in (lambda: alone.add(files), lambda: alone.search(files[0])):
        with pytest.raises(ConfigError, match="opened without a host"):
            ask()
    with pytest.raises(DoesNotFit, match=r"shape \(3,\); vectors of .* have \(\d+,\)"):
        alone.search(torch.ones(3))
    with pytest.raises(ConfigError, match="top is 0"):
        alone.search(torch.ones(3), 0)


def test_nothing_there(host, files, tmp_path):
    with pytest.raises(InputError, match="has no table; build it first"):
        Index(tmp_path / "nothing")
    for ask in (Index(tmp_path / "nothing", host).stats, lambda: Index(tmp_path / "nothing", host).search(files[0])):
        with pytest.raises(InputError, match="has 0 rows; build it first"):
            ask()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match="file cannot be used"):
        Index(tmp_path / "file", host).add(files)
    lancedb.connect(tmp_path / "foreign").create_table("vision", [{"vector": [1.0, 2.0], "file": "x"}])
    with pytest.raises(CheckpointError, match="no index of lens-plugins"):
        Index(tmp_path / "foreign", host)


def test_many_rows_get_an_approximate_index_that_finds_the_same(host, monkeypatch, tmp_path):
    monkeypatch.setattr(table, "EXACT_ROWS", 600)
    index, random = Index(tmp_path / "db", host), np.random.default_rng(0)
    width = host.vit.width
    centres = random.normal(size=(20, width))
    vectors = centres[np.arange(1000) % 20] + 0.5 * random.normal(size=(1000, width))
    vectors = torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float32), dim=-1)
    rows = index.as_rows([f"/f{i}" for i in range(1000)], vectors, "image")
    index.add_rows(rows.slice(0, 500))
    assert index.stats().exact
    assert index.add_rows(rows.slice(500)) == 500
    assert not index.stats().exact
    wanted = (vectors[:50] @ vectors.T).topk(10).indices
    found = [set(index.search(vector, 10).column("file").to_pylist()) for vector in vectors[:50]]
    hits = sum(len(names & {f"/f{i}" for i in row.tolist()}) for names, row in zip(found, wanted))
    assert hits >= 475


def test_an_approximate_index_is_made_anew_when_the_table_has_grown(host, monkeypatch, tmp_path):
    monkeypatch.setattr(table, "EXACT_ROWS", 300)
    index, random = Index(tmp_path / "db", host), np.random.default_rng(0)
    vectors = torch.nn.functional.normalize(torch.tensor(random.normal(size=(1500, host.vit.width))), dim=-1).float()
    rows = index.as_rows([f"/f{i}" for i in range(1500)], vectors, "image")
    trained = []
    for start, end in ((0, 300), (300, 1100), (1100, 1500)):
        index.add_rows(rows.slice(start, end - start))
        trained.append(index._trained_on())
    assert trained == [300, 300, 1500]
    assert len(index._vector_indices()) == 1
    assert index.search(vectors[7], 1).column("file").to_pylist() == ["/f7"]


def test_old_versions_go_and_whoever_reads_goes_on(host, tmp_path):
    index, random = Index(tmp_path / "db", host), np.random.default_rng(0)
    vectors = torch.tensor(random.normal(size=(6000, host.vit.width)), dtype=torch.float32)
    rows = index.as_rows([f"/f{i}" for i in range(6000)], vectors, "image")
    index.add_rows(rows.slice(0, 1000))
    reading = Index(tmp_path / "db", host)
    assert len(reading.search(vectors[0], 3)) == 3
    for start in range(1000, 6000, 1000):
        index.add_rows(rows.slice(start, 1000))
    time.sleep(1.1)
    index.add_rows(rows.slice(0, 1))
    assert index.stats().bytes < 1.5 * rows.nbytes  # every version by itself would be four times as much
    assert len(reading.search(vectors[0], 3)) == 3
    assert len(reading) == 6000


def test_texts_of_another_tower_are_refused(index, host, files, monkeypatch, tmp_path):
    towers, embed = {"now": "a" * 64}, type(host).embed
    monkeypatch.setattr(table, "text_digest", lambda _: towers["now"])
    monkeypatch.setattr(type(host), "embed", lambda *_, **__: torch.ones(1, host.vit.width))
    index.search("text:a dog")
    assert Index(tmp_path / "things.lance", host).search("text:a cat").num_rows
    monkeypatch.setattr(type(host), "embed", embed)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "new.png")
    assert index.add([tmp_path / "new.png", *files]).added == 1
    monkeypatch.setattr(type(host), "embed", lambda *_, **__: torch.ones(1, host.vit.width))
    towers["now"] = "b" * 64
    index.search("text:a dog")  # this one has been checked
    with pytest.raises(DoesNotFit, match=r"text tower \(a{12}\); this host has another one \(b{12}\)"):
        Index(tmp_path / "things.lance", host).search("text:a dog")


def test_killed_while_it_grows(host, folder, files, tmp_path):
    """kill -9 between and within commits: the index opens, holds whole rows once, and goes on."""
    script = textwrap.dedent(f"""
        import sys
        from lens_plugins import load_host
        from lens_plugins.index import Index, table
        table._AT_ONCE = 1
        host = load_host({str(folder / "host")!r})
        for modality in ("audio", "point_cloud"):
            host.plug({str(folder)!r} + "/" + modality)
        Index({str(tmp_path / "db")!r}, host).add({files!r}, note=lambda done: print(done, flush=True))
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as growing:
        for line in growing.stdout:
            if int(line) == 5:
                time.sleep(0.02)
                break
        growing.send_signal(signal.SIGKILL)
    index = Index(tmp_path / "db", host)
    assert 5 <= len(index) < 12
    rows = index.to_arrow().column("file").to_pylist()
    assert len(set(rows)) == len(rows)
    done = index.add(files)
    assert done.added + done.known == 12
    assert sorted(index.to_arrow().column("file").to_pylist()) == files
