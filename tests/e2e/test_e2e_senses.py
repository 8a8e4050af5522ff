"""Every sense of the host that ships, from a shipped file to text."""

import json

import numpy as np
import pytest
from shipped import FILES, load_with_lenses

import lens_plugins as lp
from lens_plugins.bench.heldout import find_sense
from lens_plugins.cli.main import run
from lens_plugins.splice import digest

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("pocket")]


@pytest.fixture(scope="module")
def host():
    return load_with_lenses("pocket-instructblip")


@pytest.mark.parametrize("modality", FILES)
def test_a_shipped_file_of_every_modality_is_captioned(capsys, modality):
    assert run(["caption", FILES[modality], "--json", "--num-beams", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["modality"] == modality
    assert len(found["text"].split()) >= 1


def test_a_story_of_five_senses_at_once(capsys):
    assert run(["story", *FILES.values(), "--json", "--num-beams", "1", "--max-new-tokens", "12"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["modality"] == list(FILES)
    assert found["text"]


@pytest.mark.parametrize("modality", ["audio", "depth", "tactile", "eeg"])
def test_held_out_cases_are_recognised_far_more_often_than_by_chance(host, modality):
    cases = find_sense(modality).cases()
    cases = [cases[i] for i in np.random.default_rng(0).permutation(len(cases))[:48]]
    labels = sorted({case.label for case in cases})
    inputs = [lp.read(case.source, modality, host.lenses[modality].config.input) for case in cases]
    before = digest(host.model)
    answers = host.classify(inputs, labels)
    right = np.mean([answer[0]["label"] == case.label for answer, case in zip(answers, cases)])
    most = max(sum(case.label == label for case in cases) for label in labels) / len(cases)
    assert right > 2 * most, f"{right:.0%} right among {len(labels)} names; always one of them: {most:.0%}"
    assert digest(host.model) == before
