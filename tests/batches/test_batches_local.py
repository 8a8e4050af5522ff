"""Runs on this machine: answers are those of the host itself, in order, whatever happened on the way."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import lens_plugins as lp
from lens_plugins.batches import Plan, Worker
from lens_plugins.batches import parts as parts_module
from lens_plugins.batches.readers import Readers, start_readers
from lens_plugins.batches.rows import Row
from lens_plugins.errors import ConfigError, InputError, Interrupted, Unsupported
from lens_plugins.testing.small_seed import write_seed_host

WORDS = {"max_new_tokens": 4}


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def test_captions_are_the_hosts_own_in_order(small, host, tmp_path):
    told = []
    done = lp.batch(
        "caption", small / "things", host=host, output=tmp_path / "out.jsonl", batch_size=4, readers=1,
        note=lambda *counts: told.append(counts), **WORDS,
    )  # fmt: skip
    assert (done.rows, done.failed, done.computed) == (9, 0, 9)
    rows = lines(tmp_path / "out.jsonl")
    assert [row["row"] for row in rows] == list(range(9))
    paths = [row["path"] for row in rows]
    assert paths == sorted(paths)
    expected = [text for start in (0, 4, 8) for text in host.generate_batch(paths[start : start + 4], 4, **WORDS)]
    assert [row["text"] for row in rows] == expected
    assert {row["prompt"] for row in rows} == {host.default_prompt}
    assert told == [(4, 9), (8, 9), (9, 9)]
    assert sorted(os.listdir(tmp_path)) == ["out.jsonl", "out.jsonl.plan.json"]


def test_reading_here_and_in_processes_is_the_same_byte_for_byte(small, host, tmp_path):
    for readers in (0, 2):
        lp.batch("caption", small / "things", host=host, output=tmp_path / f"{readers}.jsonl", readers=readers, **WORDS)
    assert (tmp_path / "0.jsonl").read_bytes() == (tmp_path / "2.jsonl").read_bytes()


def test_a_failing_row_has_its_reason_and_changes_no_other(small, host, tmp_path):
    (tmp_path / "bad.ply").write_bytes(b"ply\nnothing")
    good = [str(small / "things" / f"cloud{number}.npy") for number in range(3)]
    rows = [{"path": good[0]}, {"path": str(tmp_path / "bad.ply")}, {"path": good[1], "options": {"max_new_token": 3}},
            {"path": good[2]}, {"path": None}, {"path": "nowhere.png"}]  # fmt: skip
    done = lp.batch("caption", rows, host=host, output=tmp_path / "out.jsonl", readers=0, **WORDS)
    assert (done.rows, done.failed) == (6, 4)
    found = lines(tmp_path / "out.jsonl")
    assert [row["error"] is None for row in found] == [True, False, False, True, False, False]
    assert "bad.ply" in found[1]["error"]
    assert "max_new_token" in found[2]["error"]
    assert [found[0]["text"], found[3]["text"]] == host.generate_batch([good[0], good[2]], **WORDS)


def test_vectors_in_parquet(small, host, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    lp.batch("embed", small / "things", host=host, output=tmp_path / "out.parquet", batch_size=4, readers=0)
    table = parquet.read_table(tmp_path / "out.parquet")
    assert str(table.schema.field("vector").type).startswith("fixed_size_list")
    paths, vectors = table.column("path").to_pylist(), np.array(table.column("vector").to_pylist(), np.float32)
    expected = np.concatenate([host.embed(paths[start : start + 4]).numpy() for start in (0, 4, 8)])
    assert np.array_equal(vectors, expected)
    assert table.column("error").null_count == 9


def test_a_folder_of_parquet_parts(small, host, tmp_path, monkeypatch):
    dataset = pytest.importorskip("pyarrow.dataset")
    monkeypatch.setattr(parts_module, "_ROWS", 4)
    for _ in range(2):  # the second has nothing to do
        done = lp.batch("embed", small / "things", host=host, output=tmp_path / "out", batch_size=4, readers=0)
        assert (done.rows, done.failed) == (9, 0)
    assert done.computed == 0
    table = dataset.dataset(tmp_path / "out").to_table()
    assert table.column("row").to_pylist() == list(range(9))


def test_labels_in_csv_with_columns_handed_through(small, host, tmp_path):
    names = [f"things/{name}" for name in ("picture0.png", "in side/sound 1.wav", "cloud2.npy")]
    table = small / "table.csv"
    table.write_bytes(
        b"\xef\xbb\xbfid,path,label,note\r\n" + b"".join(
            f'00{n},{name},mine,"two\nlines, quoted"\r\n'.encode() for n, name in enumerate(names))
    )  # fmt: skip
    lp.batch("classify", table, host=host, labels=["piano", "photo"], output=tmp_path / "out.csv", readers=0)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = host.classify([str(small / name) for name in names], ["piano", "photo"])
    assert [row["label"] for row in rows] == [answer[0]["label"] for answer in expected]
    assert [row["id"] for row in rows] == ["000", "001", "002"]
    assert {row["input_label"] for row in rows} == {"mine"}
    assert {row["note"] for row in rows} == {"two\nlines, quoted"}
    assert [row["modality"] for row in rows] == ["image", "audio", "point_cloud"]


def test_a_seed_is_of_the_row_alone(small, host, tmp_path):
    file = str(small / "things" / "cloud0.npy")
    options = {"do_sample": True, "temperature": 3.0, "max_new_tokens": 8}
    lp.batch("caption", [file] * 4, host=host, output=tmp_path / "a.jsonl", batch_size=2, readers=0, seed=5, **options)
    lp.batch("caption", [file] * 4, host=host, output=tmp_path / "b.jsonl", batch_size=4, readers=0, seed=5, **options)
    first, second = ([row["text"] for row in lines(tmp_path / name)] for name in ("a.jsonl", "b.jsonl"))
    assert first == second
    assert len(set(first)) > 1


def test_what_is_there_is_refused_unless_it_is_of_this_plan(small, host, tmp_path):
    things, out = small / "things", tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(InputError, match="there already"):
        lp.batch("caption", things, host=host, output=out, readers=0, **WORDS)
    assert out.read_text() == "mine"
    lp.batch("caption", things, host=host, output=out, readers=0, overwrite=True, **WORDS)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=r"begun otherwise \(prompt: None there, 'What\?' now\)"):
        lp.batch("caption", things, host=host, output=out, readers=0, prompt="What?", **WORDS)
    with pytest.raises(ConfigError, match=r"inputs: 9 rows there, 3 now, the first other one from row 0 on"):
        lp.batch("caption", things / "in side", host=host, output=out, readers=0, **WORDS)
    assert out.read_bytes() == before


def test_refused_before_anything_is_read(small, host, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("file,id\na.png,1\n")
    (tmp_path / "twice.csv").write_text("path,id,id\na.png,1,2\n")
    out = tmp_path / "out.jsonl"
    cases = [
        (InputError, "gives 0 rows", "caption", tmp_path / "empty", {}),
        (InputError, "no column path; rename 'file'", "caption", tmp_path / "table.csv", {}),
        (InputError, "2 columns 'id'", "caption", tmp_path / "twice.csv", {}),
        (InputError, "There is no question", "ask", small / "things", {}),
        (ConfigError, "classify has 1 labels", "classify", small / "things", {"labels": ["a"]}),
        (Unsupported, "cannot make a picture", "imagine", small / "things", {}),
        (ConfigError, "task is 'capt'", "capt", small / "things", {}),
    ]
    for error, sentence, task, inputs, options in cases:
        with pytest.raises(error, match=sentence):
            lp.batch(task, inputs, host=host, output=out, readers=0, **options)
    assert not out.exists()


def test_ctrl_c_keeps_what_was_done(small, host, tmp_path):
    out = tmp_path / "out.jsonl"

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="4 of 9 rows are kept"):
        lp.batch("caption", small / "things", host=host, output=out, batch_size=2, readers=1, note=stop, **WORDS)
    done = lp.batch("caption", small / "things", host=host, output=out, batch_size=2, readers=1, **WORDS)
    assert done.computed == 5
    lp.batch("caption", small / "things", host=host, output=tmp_path / "whole.jsonl", batch_size=2, readers=0, **WORDS)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(small, host, tmp_path, monkeypatch):
    out, write, calls = tmp_path / "out.jsonl", parts_module._write_bytes, []
    monkeypatch.setattr(parts_module, "_ROWS", 2)

    def full(path, data):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(parts_module, "_write_bytes", full)
    with pytest.raises(InputError, match="No space left on device"):
        lp.batch("caption", small / "things", host=host, output=out, batch_size=2, readers=0, **WORDS)
    done = lp.batch("caption", small / "things", host=host, output=out, batch_size=2, readers=0, **WORDS)
    assert done.computed == 5
    assert [row["row"] for row in lines(out)] == list(range(9))


KILLED = """
import sys
import lens_plugins as lp
from lens_plugins.batches import parts
parts._ROWS = 2
lp.batch("caption", {things!r}, host={host!r}, lenses={lenses!r}, output={out!r}, batch_size=2, readers=1,
         max_new_tokens=4, note=lambda done, total: print(done, flush=True))
print("end", flush=True)
"""


def killed(small, lenses, out, times, chance):
    """Run until the end, killed at random moments on the way."""
    script = KILLED.format(things=str(small / "things"), host=str(small / "host"), lenses=lenses, out=str(out))
    for attempt in range(times + 1):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as run:
            if attempt < times:
                run.stdout.readline()  # the first rows, or nothing more to do
                time.sleep(chance.uniform(0, 0.12))
                run.send_signal(signal.SIGKILL)
            else:
                assert run.stdout.read().rstrip().endswith("end")
                assert run.wait() == 0


def check_killed(small, lenses, tmp_path, times, chance):
    out = tmp_path / "out.jsonl"
    killed(small, lenses, out, times, chance)
    lp.batch(
        "caption", small / "things", host=str(small / "host"), lenses=lenses, output=tmp_path / "whole.jsonl",
        batch_size=2, readers=0, **WORDS,
    )  # fmt: skip
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    left = sorted(name for name in os.listdir(tmp_path) if name.startswith(("out", ".out")))
    assert left == ["out.jsonl", "out.jsonl.plan.json"]


def test_killed_at_random_moments(small, lenses, tmp_path):
    check_killed(small, lenses, tmp_path, 2, random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_many_times(small, lenses, tmp_path, seed):
    check_killed(small, lenses, tmp_path, 8, random.Random(seed + 1))


def test_pictures_lie_beside_the_table(small, tmp_path):
    artist = lp.load_host(write_seed_host(tmp_path / "artist"))
    file = str(small / "things" / "picture0.png")
    done = lp.batch("imagine", [file, file], host=artist, output=tmp_path / "out.jsonl", readers=0, seed=7)
    assert (done.rows, done.failed) == (2, 0)
    rows = lines(tmp_path / "out.jsonl")
    expected = artist.imagine([file], count=2, seed=7)
    assert [row["codes"] for row in rows] == [reply.codes[0].tolist() for reply in expected]
    for row, reply in zip(rows, expected):
        with Image.open(tmp_path / row["picture"]) as opened:
            assert np.array_equal(opened, reply.images[0].convert("RGB"))


def test_a_reader_that_is_killed_costs_no_row(small, host):
    worker = Worker(Plan("caption", host.name), host)
    rows = [Row(number, (str(small / "things" / f"picture{number}.png"),), "") for number in range(3)]
    with Readers(1, worker.settings, host.name, started=(started := start_readers(1))) as reading:
        units = reading.units(rows, 1)
        assert next(units)[0].error is None
        started[0]._process.kill()
        assert [one.error for unit in units for one in unit] == [None, None]


def test_several_answers_a_row_are_refused(small, host, tmp_path):
    with pytest.raises(ConfigError, match="num_return_sequences is 3; a row of a batch has one answer"):
        lp.batch("caption", small / "things", host=host, output=tmp_path / "a.jsonl", num_return_sequences=3)
