"""What benches print goes into pages, and nothing else of a page moves."""

import io

import pytest

from lens_plugins.bench import publish
from lens_plugins.bench.pocket import mixed_table, sense_table
from lens_plugins.pocket.shipped import WEIGHTS

SENSES = sense_table([]).splitlines()[0]
MIXED = mixed_table([]).splitlines()[0]
TWO = "| two things | both classes right |"
PRINTED = """\
125 held-out objects of 45 classes; AMD EPYC, 2 cores, load 0.1, torch 2.13.0+cpu

| asked about | names |
| --- | --- |
| pictures | 40% |
| clouds | 39% |

| edits | colour right |
| --- | --- |
| red | 100% |
"""
PAGE = """\
# Page

120 held-out objects of 45 classes; another machine, torch 2.12
Read it so.

| asked about | names |
| --- | --- |
| pictures | 30% |

| other | table |
| --- | --- |
| stays | 1% |
"""


@pytest.fixture
def given(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(PRINTED))


def test_tables_and_machine_are_replaced_and_the_rest_stays(tmp_path, given, capsys):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert publish.main([str(page)]) == 0
    wanted = PAGE.replace("| pictures | 30% |", "| pictures | 40% |\n| clouds | 39% |")
    wanted = wanted.replace("120 held-out objects of 45 classes; another machine, torch 2.12", PRINTED.splitlines()[0])
    assert page.read_text() == wanted
    assert "1 tables" in capsys.readouterr().out


def test_a_line_about_other_objects_stays():
    page = "12 held-out objects of 3 classes, one picture each; machine, torch 2.12\n"
    assert publish.published(page, {}, {"held-out objects of 45 classes": "new"}) == (page, 0)


def test_a_page_without_such_a_table_is_refused_and_no_page_is_written(tmp_path, given, capsys):
    right, wrong = tmp_path / "right.md", tmp_path / "wrong.md"
    right.write_text(PAGE)
    wrong.write_text("# No table\n")
    assert publish.main([str(right), str(wrong)]) == 2
    assert right.read_text() == PAGE
    assert "wrong.md has none of the tables" in capsys.readouterr().err


def test_output_without_a_table_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("nothing\n"))
    assert publish.main([str(tmp_path / "page.md")]) == 2
    assert "no table on the standard input" in capsys.readouterr().err


def test_a_missing_page_is_named(tmp_path, given, capsys):
    assert publish.main([str(tmp_path / "page.md")]) == 2
    assert "page.md cannot be read" in capsys.readouterr().err


def test_the_commit_is_written_where_a_page_names_one():
    page = "Printed by `x` on tree 45cdcf9.\nOn a tree.\n"
    assert publish.published(page, {}, {}, "abc-dirty")[0] == "Printed by `x` on tree abc-dirty.\nOn a tree.\n"
    assert publish.published(page, {}, {})[0] == page


@pytest.mark.parametrize(
    ("card", "heads"),
    [
        ("instructblip", ["| asked about | names the class | of the ceiling |", MIXED, SENSES]),
        ("seed-llama", ["| drawn | class right | class kept | SSIM | found again of 125 (among the first 5) |", TWO]),
        ("lens-point-cloud", ["| asked about | names the class | of the ceiling |"]),
        ("lens-audio", [SENSES, "| sounds | cases | nearest of the names |"]),
        ("lens-eeg", [SENSES, "| simulated EEG, signal to noise | named | nearest |"]),
        ("lens-depth", [SENSES]),
        ("lens-tactile", [SENSES]),
    ],
)
def test_model_cards_hold_the_tables_that_benches_print(card, heads):
    """A head that changes in a bench changes in the cards, or `make figures` would leave old rows there."""
    text = (WEIGHTS / card / "MODEL_CARD.md").read_text("utf-8")
    assert set(heads) <= publish.tables_of(text).keys()
    assert "on tree " in text
