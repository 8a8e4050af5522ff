import warnings

import numpy as np
import pytest
import torch
from pocket.data import eeg_simulator as simulator
from pocket.data.eeg_simulator import AROUND, LABELS, SEEN, Trial, montage, parts, prepare, simulate
from pocket.data.pack import read_lines, write_lines
from pocket.senses import eeg
from pocket.vit import vit_config
from test_pocket_packs import write_pack

from lens_plugins.bench.heldout import open_trials
from lens_plugins.inputs import read
from lens_plugins.inputs.eeg import EegSettings
from lens_plugins.splice import vit_from_tower
from lens_plugins.train import lens_config_for
from lens_plugins.train.manifest import read_manifest

TRIALS = [Trial(subject, label, 0) for subject in range(6) for label in LABELS]


@pytest.fixture(scope="module")
def recorded():
    return [parts(trial, simulator.SINGLE_TRIAL_DB) for trial in TRIALS]


def band(values):
    return simulator.band(values)[:, SEEN]


def test_montage_covers_the_head_above_the_face():
    places = montage()
    assert places.shape == (128, 3)
    assert np.linalg.norm(places, axis=1) == pytest.approx(np.ones(128))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(128)
    assert apart.min() > 0.1
    assert places[:, 2].min() > -0.35


def test_trials_are_repeatable_and_all_different():
    trial = Trial(3, "car", 5)
    assert np.array_equal(simulate(trial, -5), simulate(trial, -5))
    for other in (Trial(4, "car", 5), Trial(3, "bed", 5), Trial(3, "car", 6)):
        assert not np.allclose(simulate(trial, -5), simulate(other, -5))


def test_ratio_is_as_asked(recorded):
    evoked = np.mean([(band(found.evoked) ** 2).mean() for found in recorded])
    ongoing = np.mean([(band(found.ongoing) ** 2).mean() for found in recorded])
    assert 10 * np.log10(evoked / ongoing) == pytest.approx(simulator.SINGLE_TRIAL_DB, abs=1.5)
    louder = parts(TRIALS[0], simulator.SINGLE_TRIAL_DB + 10)  # an average of ten trials
    assert np.array_equal(louder.evoked, recorded[0].evoked)
    assert louder.ongoing == pytest.approx(recorded[0].ongoing / np.sqrt(10), rel=1e-4, abs=1e-4)


def test_sizes_are_those_of_a_scalp(recorded):
    peaks = np.median([np.abs(found.evoked).max() for found in recorded])
    ongoing = np.median([found.ongoing.std() for found in recorded])
    assert 4 < peaks < 15  # microvolts
    assert 10 < ongoing < 20


def test_noise_is_shared_by_neighbours_and_falls_with_frequency(recorded):
    ongoing = recorded[0].ongoing - recorded[0].ongoing.mean(axis=0)
    apart = np.linalg.norm(montage()[:, None] - montage()[None], axis=-1)
    alike = np.corrcoef(ongoing)
    assert alike[(apart > 0) & (apart < 0.25)].mean() > np.abs(alike[apart > 1.2]).mean() + 0.3
    power = np.mean([np.abs(np.fft.rfft(found.ongoing, axis=1)) ** 2 for found in recorded], axis=(0, 1))
    hz = np.fft.rfftfreq(simulator.LENGTH, 1 / simulator.RATE)
    bands = [power[(hz >= low) & (hz < high)].mean() for low, high in ((2, 5), (15, 25), (60, 90))]
    assert bands[0] > 3 * bands[1] > 9 * bands[2]
    alpha = power[(hz >= 8.5) & (hz < 11.5)].mean()
    assert alpha > 1.2 * power[(hz >= 5) & (hz < 7.5)].mean()


def test_artefacts_are_blinks_in_front_and_line_noise(recorded):
    at_50 = [np.abs(np.fft.rfft(found.artefacts[:, :1200], axis=1))[:, 60] / 600 for found in recorded]  # 50 Hz
    assert 0.2 < np.median(at_50) < 3
    blinks = [found.artefacts for found in recorded if np.abs(found.artefacts).max() > 60]
    assert 0.1 < len(blinks) / len(recorded) < 0.5
    front, back = montage()[:, 1] > 0.8, montage()[:, 1] < -0.5
    assert np.mean([np.ptp(b[front], axis=1).mean() / np.ptp(b[back], axis=1).mean() for b in blinks]) > 2


def test_people_answer_alike_but_not_the_same(recorded):
    alike = np.corrcoef([band(found.evoked)[:, ::4].ravel() for found in recorded])
    person, label = (np.array([getattr(trial, name) for trial in TRIALS]) for name in ("subject", "label"))
    others = person[:, None] != person[None]
    same = alike[others & (label[:, None] == label[None])]
    assert same.mean() > alike[others & (label[:, None] != label[None])].mean() + 0.2
    assert same.max() < 0.98


def test_prepared_trials_are_what_the_reader_would_make_of_raw_ones():
    raw = simulate(Trial(0, "chair", 0), -5)
    mine = prepare(raw)
    assert mine.shape == (128, 460)
    assert mine.mean(axis=1) == pytest.approx(np.zeros(128), abs=1e-5)
    assert mine.std(axis=1) == pytest.approx(np.ones(128), abs=1e-4)
    shown = EegSettings(start=AROUND + 20, stop=AROUND + 460, bandpass=True, zscore=True)
    theirs = read(raw, "eeg", shown).tensor.numpy()
    ours = read(mine, "eeg", EegSettings()).tensor.numpy()
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(theirs, ours)]
    assert np.median(alike) > 0.95


def test_classes_can_be_told_by_a_linear_rule():
    """Ridge regression on coarse time bins, other people in training and test, far below what is trained with."""

    def table(people):
        trials = [Trial(person, label, 0) for person in people for label in LABELS]
        rows = [prepare(simulate(t, 0.0))[:, 20:].reshape(128, 22, 20).mean(-1).ravel() for t in trials]
        return np.array(rows), np.array([LABELS.index(t.label) for t in trials])

    (known, kinds), (new, truth) = table(range(14)), table(range(100, 104))
    centre = known.mean(axis=0)
    known, new = known - centre, new - centre
    gram = known @ known.T
    answer = np.linalg.solve(gram + 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram)), np.eye(12)[kinds] - 1 / 12)
    assert ((new @ known.T @ answer).argmax(axis=1) == truth).mean() > 0.6


@pytest.fixture
def work(tmp_path):
    (tmp_path / "pack").mkdir()
    for name in ("sweethome", "generated"):
        kinds = [(label, split) for label in LABELS for split in ("train", "test")]
        rows = [
            {"object": f"{name}-{label}-{split}", "class": label, "split": split, "view": view}
            for label, split in kinds
            for view in range(4)
        ]
        shade = [10 if row["split"] == "train" else 200 for row in rows]
        pictures = np.broadcast_to(np.array(shade, np.uint8)[:, None, None, None], (len(rows), 128, 128, 4)).copy()
        pictures[..., 3] = 255
        write_pack(tmp_path / "pack" / name, pictures, rows)
    return tmp_path


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(eeg, "TRAIN_PEOPLE", range(2))
    monkeypatch.setattr(eeg, "TRAIN_TRIALS", 1)
    monkeypatch.setattr(eeg, "VAL_PEOPLE", range(60, 61))
    monkeypatch.setattr(eeg, "VAL_TRIALS", 1)


def test_pairs_are_read_without_a_warning(work, few):
    pairs = read_manifest(eeg.SENSE.pairs(work), "eeg")
    assert [sum(pair.split == split for pair in pairs) for split in ("train", "val")] == [24, 12]
    assert all(len(pair.images) == 8 and pair.texts[0] in LABELS for pair in pairs)
    assert len({pair.images for pair in pairs}) == 12  # one set a class
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(pairs[0].path, "eeg").tensor.shape == (128, 512)


def test_pictures_show_training_objects_only(work, few):
    pairs = read_manifest(eeg.SENSE.pairs(work), "eeg")
    shades = {read(path, "image").tensor.mean().item() for pair in pairs for path in pair.images}
    assert max(shades) < 0  # the dark ones


def test_held_out_trials_were_never_trained_on():
    trained = {
        Trial(person, label, number)
        for people, count in ((eeg.TRAIN_PEOPLE, eeg.TRAIN_TRIALS), (eeg.VAL_PEOPLE, eeg.VAL_TRIALS))
        for person in people
        for label in LABELS
        for number in range(count)
    }
    new, known = eeg.held_out_trials(10), eeg.held_out_trials(60, known=True)
    assert len(set(new)) == 120
    assert len(set(known)) == 720
    assert not trained & {*new, *known}
    assert {t.subject for t in new}.isdisjoint({t.subject for t in trained})
    assert {t.subject for t in known} <= {t.subject for t in trained}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Held-out trials as they ship, beside an object of every class."""
    root = tmp_path_factory.mktemp("heldout")
    (root / "objects").mkdir()
    rows = [{"class": label, "words": [], "strip": "x.webp"} for label in LABELS]
    write_lines(root / "objects" / "index.jsonl", rows)
    assert eeg.SENSE.write_heldout(root, root / "eeg") == 120
    return root / "eeg"


@pytest.mark.parametrize("ratio", [-20.0, -5.0, 5.0])
def test_held_out_trials_come_back_at_any_ratio(kept, ratio):
    found = open_trials(ratio, per_class=2, folder=kept)
    assert [case.label for case in found] == [label for label in LABELS for _ in range(2)]
    for place in (0, 7, 23):
        label = LABELS[place // 2]
        simulated = prepare(simulate(Trial(eeg.NEW_PEOPLE[place % 2], label, 0), ratio))
        assert found[place].source == pytest.approx(simulated, abs=0.1)  # z-scores; kept as whole numbers
        assert np.abs(found[place].source - simulated).std() < 0.03


def test_the_stated_ratio_is_that_of_the_index(kept):
    assert {row["snr_db"] for row in read_lines(kept / "index.jsonl")} == {eeg.STATED_DB}
    stated, same = open_trials(folder=kept), open_trials(eeg.STATED_DB, folder=kept)
    assert all(np.array_equal(one.source, other.source) for one, other in zip(stated, same))
    assert len(read_lines(kept / "pictures.jsonl")) == 4 * len(LABELS)


def test_the_lens_reads_them(kept):
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    from lens_plugins.lens.lens import Lens

    config = lens_config_for("eeg", vit_from_tower(InstructBlipVisionModel(vit_config()), "x"), eeg.SENSE.lens)
    case = open_trials(folder=kept)[0]
    found = read(case.source, "eeg", config.input)
    assert Lens(config)(found.tensor[None]).shape == (1, 64, 256)
    assert torch.isfinite(found.tensor).all()
