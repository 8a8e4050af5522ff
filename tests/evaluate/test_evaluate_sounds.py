"""Benchmarks of sounds on small folders in their real layouts."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from sklearn.metrics import average_precision_score
from stub_host import class_vectors, top_k, vector_of, write_json

from lens_plugins import read
from lens_plugins.errors import InputError
from lens_plugins.evaluate import evaluate, find_benchmark, lay_out
from lens_plugins.evaluate.sound import CLIPS
from lens_plugins.evaluate.templates import SOUND_AS_IMAGE_12
from lens_plugins.hosts.messages import Text
from lens_plugins.inputs import AudioSettings

SHOWS = [template for template in SOUND_AS_IMAGE_12 if template != "{c}."]


def sound(path, rng, seconds=0.4, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * rng.standard_normal((int(16000 * seconds), channels)).astype(np.float32).clip(-1, 1)
    soundfile.write(str(path), samples, 16000)
    return path


def vectors(host):
    return [vector_of(one) for one in host.seen]


def test_bare_name_weighs_three_of_twelve():
    assert len(SOUND_AS_IMAGE_12) == 12
    assert SOUND_AS_IMAGE_12.count("{c}.") == 3
    assert len(set(SHOWS)) == 9
    once = {name: vector_of(Text(f"{name}.")).astype(np.float64) for name in ("dog", "cat")}
    others = {
        name: np.sum([vector_of(Text(template.replace("{c}", name))) for template in SHOWS], axis=0, dtype=np.float64)
        for name in once
    }
    by_hand = np.stack([(3 * once[name] + others[name]) / 12 for name in once])
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(class_vectors(["dog", "cat"], SOUND_AS_IMAGE_12), by_hand, atol=1e-7)


def test_bare_name_weighs_three_in_what_is_computed(host):
    from lens_plugins.evaluate.features import embed_texts

    made = embed_texts(host, ["dog", "cat"], SOUND_AS_IMAGE_12)
    np.testing.assert_allclose(made, class_vectors(["dog", "cat"], SOUND_AS_IMAGE_12), atol=1e-6)
    unweighted = embed_texts(host, ["dog", "cat"], tuple(set(SOUND_AS_IMAGE_12)))
    assert (unweighted - made).abs().max() > 1e-3


@pytest.fixture
def esc(tmp_path, rng):
    """ViT-Lens's lists for five recordings of three classes."""
    names = {"0": ["dog"], "18": ["toilet flush"], "49": ["Hand saw", "saw"]}
    labels = [0, 18, 49, 18, 0]
    rows = []
    for number, label in enumerate(labels):
        name = f"esc50/audio/1-{number}-A-{label}.flac"
        sound(tmp_path / name, rng)
        rows.append({"uniq_id": number, "audio_path": name, "text": "", "duration": 5.0, "class_label": label})
    write_json(tmp_path / "esc50_fold-all.json", rows)
    write_json(tmp_path / "esc50_label.json", names)
    return tmp_path, [(0, 18, 49).index(label) for label in labels]


def test_esc50_of_vit_lens(host, esc):
    folder, right = esc
    result = evaluate(host, "esc50", folder)
    classes = class_vectors(["dog", "toilet flush", "hand saw"], SOUND_AS_IMAGE_12)
    assert result.figures["top1"] == pytest.approx(top_k(vectors(host), classes, right, 1))
    assert (result.used, result.expected) == (5, 2000)
    assert find_benchmark("esc50").published[0].figures == {"top1": 75.9}


def test_esc50_of_the_original_release(host, tmp_path, rng):
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for name, target, word in (("1-a.wav", 1, "toilet_flush"), ("1-b.wav", 0, "dog"), ("1-c.wav", 1, "toilet_flush")):
        sound(tmp_path / "audio" / name, rng)
        lines.append(f"{name},1,{target},{word},False,0,A")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(lines))
    result = evaluate(host, "esc50", tmp_path)
    classes = class_vectors(["dog", "toilet flush"], SOUND_AS_IMAGE_12)
    assert result.figures["top1"] == pytest.approx(top_k(vectors(host), classes, [1, 0, 1], 1))


def test_lists_are_found_in_a_checkout_of_vit_lens(host, esc, tmp_path_factory):
    folder, _ = esc
    checkout = tmp_path_factory.mktemp("ViT-Lens")
    below = checkout / "vitlens" / "src" / "open_clip" / "modal_audio" / "data"
    below.mkdir(parents=True)
    for name in ("esc50_fold-all.json", "esc50_label.json"):
        (folder / name).rename(below / name)
    with pytest.raises(InputError, match=r"no esc50_label\.json in .* --meta"):
        evaluate(host, "esc50", folder)
    assert evaluate(host, "esc50", folder, meta=checkout).used == 5
    assert evaluate(host, "esc50", folder, meta=below).used == 5


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (5.0, {"audioset": 3, "esc50": 2, "clotho": 6, "vggsound": 3, "audiocaps": 3}),
        (2.0, {"audioset": 6, "esc50": 3, "clotho": 10, "vggsound": 6, "audiocaps": 6}),
        (8.0, {"audioset": 2, "esc50": 2, "clotho": 6, "vggsound": 2, "audiocaps": 2}),
        (10.0, {"audioset": 2, "esc50": 2, "clotho": 5, "vggsound": 2, "audiocaps": 2}),
    ],
)
def test_clips_per_data_set(seconds, wanted):
    for name, clips in wanted.items():
        reading = find_benchmark(name).reading
        assert reading(AudioSettings(clip_seconds=seconds), {}) == {"channel": 0, "clips": clips}
    assert CLIPS[seconds] == wanted
    assert find_benchmark("esc50").reading(AudioSettings(clip_seconds=3.0), {}) == {"channel": 0}


def test_first_channel_alone_and_two_clips_are_read(host, tmp_path, rng):
    file = sound(tmp_path / "audio" / "a.wav", rng, seconds=7, channels=2)
    sound(tmp_path / "audio" / "b.wav", rng)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold,target,category\na.wav,1,0,dog\nb.wav,1,1,cat\n")
    evaluate(host, "esc50", tmp_path)
    wanted = read(file, "audio", AudioSettings(clips=2, channel=0)).tensor
    assert host.seen[0].tensor.shape == (2, 512, 128)
    np.testing.assert_array_equal(host.seen[0].tensor, wanted)
    host.seen.clear()
    evaluate(host, "esc50", tmp_path, settings={"clips": 1})  # what the user says counts
    assert host.seen[0].tensor.shape == (512, 128)


def test_a_lens_of_other_clips_keeps_its_own_number(host, esc):
    folder, _ = esc
    host.lenses["audio"].config = SimpleNamespace(input=AudioSettings(clip_seconds=1.0, frames=98, clips=4))
    evaluate(host, "esc50", folder)
    assert host.seen[0].tensor.shape == (4, 98, 128)


def test_audioset_is_the_unweighted_mean_of_average_precisions(host, tmp_path, rng):
    """Several classes a row, by number or by id; names of the CSV in lower case; classes that no row has are out."""
    (tmp_path / "audioset_class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n2,/m/0dog,Dog\n3,x,X\n'
    )
    labels = [[0], [0, 1], [2], ["/m/0dog", "/m/09x0r"], [1]]
    rows = [{"audio_path": f"audioset/{n}.flac", "class_labels": given} for n, given in enumerate(labels)]
    for row in rows:
        sound(tmp_path / row["audio_path"], rng)
    write_json(tmp_path / "audioset_val.json", rows)
    result = evaluate(host, "audioset", tmp_path)
    classes = class_vectors(["speech", "male speech, man speaking", "dog", "x"], SOUND_AS_IMAGE_12)
    scores = 1 / (1 + np.exp(-np.array(vectors(host), np.float64) @ classes.T))  # the original's sigmoid
    truth = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0]])
    each = [average_precision_score(truth[:, label], scores[:, label]) for label in range(3)]
    assert result.figures["mAP"] == pytest.approx(100 * np.mean(each))
    assert result.figures["classes"] == 3
    assert result.chance["mAP"] == pytest.approx(100 * np.mean(truth[:, :3].mean(axis=0)))
    assert any("3 of 4 classes occur" in said for said in result.remarks())


def test_a_recording_that_cannot_be_read_is_counted_and_not_replaced(host, esc):
    folder, right = esc
    (folder / "esc50/audio/1-1-A-18.flac").write_bytes(b"no sound")
    result = evaluate(host, "esc50", folder)
    assert (result.used, len(result.misses), result.misses[0].kind) == (4, 1, "unreadable")
    classes = class_vectors(["dog", "toilet flush", "hand saw"], SOUND_AS_IMAGE_12)
    kept = [label for number, label in enumerate(right) if number != 1]
    assert result.figures["top1"] == pytest.approx(top_k(vectors(host), classes, kept, 1))


def test_vggsound_takes_names_as_they_stand(host, tmp_path, rng):
    (tmp_path / "vggsound_stat.csv").write_text('people Whistling,5\n"dog barking, loud",7\nsea waves,3\n')
    right = [2, 0, 1]
    rows = [{"vid": n, "audio_path": f"vggsound/audio/test/{n}.flac", "class_labels": c} for n, c in enumerate(right)]
    for row in rows:
        sound(tmp_path / row["audio_path"], rng)
    write_json(tmp_path / "vggsound_audio-only_val.json", rows)
    result = evaluate(host, "vggsound", tmp_path)
    classes = class_vectors(["people Whistling", "dog barking, loud", "sea waves"], SOUND_AS_IMAGE_12)
    assert result.figures["top1"] == pytest.approx(top_k(vectors(host), classes, right, 1))


def captioned(folder, rng, table, texts, count=12):
    """A table of recordings with two captions each, one of which stands in quotes."""
    lines, captions = ["uniq_id\taudio\ttext\tduration"], {}
    for number in range(count):
        name = f"clotho/audio/evaluation/{number}.flac"
        sound(folder / name, rng)
        lines.append(f'id{number}\t{name}\t"a {number}\t5.0')
        captions[f"id{number}"] = [f'"A sound" of {number}.', f"noise {number}"]
    (folder / table).write_text("\n".join(lines))
    write_json(folder / texts, captions)
    return captions


@pytest.mark.parametrize(
    ("name", "table", "texts", "expected"),
    [
        ("clotho", "clotho_evaluation_new.tsv", "clotho_evaluation_texts.json", 1045),
        ("audiocaps", "audiocaps_test_ib.tsv", "audiocaps_test_ib_texts.json", 813),
        ("audiocaps-full", "audiocaps_test_new.tsv", "audiocaps_test_texts.json", 963),
    ],
)
def test_recall_both_ways(host, tmp_path, rng, name, table, texts, expected):
    captions = captioned(tmp_path, rng, table, texts)
    result = evaluate(host, name, tmp_path)
    sounds = np.array(vectors(host), np.float64)
    written = np.array([vector_of(Text(text)) for own in captions.values() for text in own], np.float64)
    scores = written @ sounds.T  # (24, 12)
    for k in (1, 5, 10):
        there = [number // 2 in np.argsort(-row)[:k] for number, row in enumerate(scores)]
        back = [bool({2 * n, 2 * n + 1} & set(np.argsort(-column)[:k])) for n, column in enumerate(scores.T)]
        assert result.figures[f"text to audio R@{k}"] == pytest.approx(100 * np.mean(there))
        assert result.figures[f"audio to text R@{k}"] == pytest.approx(100 * np.mean(back))
    assert result.chance["text to audio R@10"] == pytest.approx(100 * 10 / 12)
    assert result.expected == expected


def test_captions_are_unit_normalised(host):
    """The original leaves them as long as they come, which changes audio to text alone; both are as stated."""
    from lens_plugins.evaluate.features import embed_texts

    made = embed_texts(host, ["a long caption", "short"], ("{c}",))
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    assert any("unit length" in note for note in find_benchmark("clotho").notes)


def test_captions_of_a_recording_that_is_missing_are_left_out(host, tmp_path, rng):
    captions = captioned(tmp_path, rng, "clotho_evaluation_new.tsv", "clotho_evaluation_texts.json", count=4)
    (tmp_path / "clotho/audio/evaluation/2.flac").unlink()
    result = evaluate(host, "clotho", tmp_path)
    kept = [name for name in captions if name != "id2"]
    written = np.array([vector_of(Text(text)) for name in kept for text in captions[name]], np.float64)
    scores = written @ np.array(vectors(host), np.float64).T  # (6, 3)
    right = [number // 2 == row.argmax() for number, row in enumerate(scores)]
    assert result.figures["text to audio R@1"] == pytest.approx(100 * np.mean(right))
    assert result.used == 3


ESC_HEAD = "filename,fold,target,category,esc10,src_file,take\n"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (ESC_HEAD + "a.wav,1\n", r"esc50\.csv, line 2: no target and no category"),
        (ESC_HEAD + "a.wav,1,one,dog,,,\n", r"esc50\.csv, line 2: target is 'one'"),
        (ESC_HEAD + "a.wav,1,-1,dog,,,\n", r"esc50\.csv, line 2: target is '-1'"),
        (ESC_HEAD + "a.wav,1,0,dog,,,\nb.wav,1,0,cat,,,\n", r"esc50\.csv, line 3: 0 is 'cat' here and 'dog' above"),
        (ESC_HEAD + "a.wav,1,0,dog,,,\nb.wav,1,1,dog,,,\n", r"esc50\.csv: 'dog' has two numbers"),
        ("file,target,category\na.wav,0,dog\n", r"esc50\.csv, line 1: no column filename"),
        (ESC_HEAD + "a.wav,1,0,caf\udce9,,,\n", r"esc50\.csv, line 2: it is not UTF-8"),
    ],
)
def test_a_bad_line_of_esc50_is_named(host, tmp_path, lines, reason):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_bytes(lines.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=reason):
        evaluate(host, "esc50", tmp_path)


def test_tables_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "meta").mkdir()
    lines = ESC_HEAD + "a.wav,1,0,dog,,,\nb.wav,1,1,cat,,,\n"
    (tmp_path / "meta" / "esc50.csv").write_text(lines, encoding="utf-8-sig")
    assert [row.name for row in lay_out("esc50", tmp_path).rows] == ["a.wav", "b.wav"]
    (tmp_path / "clotho_evaluation_new.tsv").write_text("uniq_id\taudio\n7\ta.flac\n", encoding="utf-8-sig")
    write_json(tmp_path / "clotho_evaluation_texts.json", {"7": ["rain", 'a "dry" leaf']})
    assert lay_out("clotho", tmp_path).tasks[0].names == ["rain", 'a "dry" leaf']


@pytest.mark.parametrize("captions", [[1, 2], "rain falls", ["rain", " "], {"a": 1}, [["rain"]]])
def test_captions_that_are_no_texts_are_refused_with_their_file(tmp_path, captions):
    (tmp_path / "clotho_evaluation_new.tsv").write_text("uniq_id\taudio\n7\ta.flac\n")
    write_json(tmp_path / "clotho_evaluation_texts.json", {"7": captions})
    with pytest.raises(InputError, match=r"clotho_evaluation_texts\.json: the captions of 7 must be a list of texts"):
        lay_out("clotho", tmp_path)


@pytest.mark.parametrize("label", [-1, 2, 0.5, "dog", None])
def test_a_sound_of_no_class_is_refused(tmp_path, label):
    write_json(tmp_path / "vggsound_audio-only_val.json", [{"audio_path": "a.flac", "class_labels": label}])
    (tmp_path / "vggsound_stat.csv").write_text("dog,1\ncat,2\n", encoding="utf-8-sig")
    write_json(tmp_path / "esc50_fold-all.json", [{"audio_path": "a.flac", "class_label": label}])
    write_json(tmp_path / "esc50_label.json", {"0": "dog", "1": "cat"})
    reason = r"the class of a\.flac is|class_label of a\.flac is"
    for name in ("vggsound", "esc50"):
        with pytest.raises(InputError, match=reason):
            lay_out(name, tmp_path)
