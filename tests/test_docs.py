"""What the documentation says can be done is done.

A fenced block after a line `<!-- run -->` is run: a python block from top to bottom, in a shell block every line that
starts with `lens-plugins`. Blocks of one page share their names and the folder, which is the repository's. Commands
that are not marked must at least exist, with their options.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command

from lens_plugins.cli.main import app, run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for name in ("lens_plugins", "patches", "demos") for page in (ROOT / name).rglob("*.md")),
    ]
)
BLOCK = re.compile(r"(<!-- run -->\n+)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash", "shell", "console")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    marked: bool
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(bool(mark), language, text) for mark, language, text in BLOCK.findall(page.read_text("utf-8"))]


def commands(text: str) -> list[list[str]]:
    """The words of every `lens-plugins` line, continued lines joined, comments and what follows a pipe left out."""
    lines = text.replace("\\\n", " ").splitlines()
    lines = [line.removeprefix("$ ").strip() for line in lines]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("lens-plugins ")]
    ends = [next((i for i, word in enumerate(line) if word in ("|", ">", "&&", ";")), len(line)) for line in words]
    return [line[1:end] for line, end in zip(words, ends)]


def inline_commands(page: Path) -> list[list[str]]:
    """Commands in running text: `lens-plugins lens inspect FILE`."""
    found = re.findall(r"`(lens-plugins [^`\n]+)`", page.read_text("utf-8"))
    return [words for text in found for words in commands(text)]


def unknown(words: list[str]) -> str:
    """The first word that names no command or option; empty where all do. `a|b` is either, `...` anything."""
    command = get_command(app)
    rest = [word for word in words if not word.startswith("[")]
    while getattr(command, "commands", None) and rest:
        names = rest[0].split("|")
        missing = [name for name in names if name not in command.commands]
        if missing:
            return missing[0]
        command, rest = command.commands[names[0]], rest[1:]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
    options = [word.split("=")[0].strip("[]") for word in rest if word.startswith("-") and len(word) > 1]
    return next((option for option in options if option not in known), "")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page):
    shell = [words for block in blocks(page) if block.language in SHELL for words in commands(block.text)]
    wrong = [f"{unknown(words)!r} in {' '.join(words)!r}" for words in shell + inline_commands(page) if unknown(words)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`|\n)make ([a-z-]+)", page.read_text("utf-8"))
    assert set(named) - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.e2e
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_marked_blocks_run(page, monkeypatch, capsys, request):
    marked = [block for block in blocks(page) if block.marked]
    if any("pocket-" in block.text or block.language in SHELL for block in marked):
        request.getfixturevalue("pocket")
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {"__name__": "docs"}
    for block in marked:
        if block.language == "python":
            exec(compile(block.text, page.name, "exec"), names)
        for words in commands(block.text) if block.language in SHELL else ():
            assert run(words) == 0, f"{' '.join(words)}: {capsys.readouterr().err}"


def test_the_reader_of_this_page_reads(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run -->\n```python\nx = 1\n```\n\n```sh\n$ lens-plugins caption a.ply | jq .\nls\n"
        'lens-plugins ask a.ply \\\n  "what?"  # a question\n```\nsee `lens-plugins lens inspect|convert`\n'
    )
    assert blocks(page)[0] == Block(True, "python", "x = 1\n")
    assert not blocks(page)[1].marked
    assert commands(blocks(page)[1].text) == [["caption", "a.ply"], ["ask", "a.ply", "what?"]]
    assert inline_commands(page) == [["lens", "inspect|convert"]]
    assert unknown(["lens", "inspect|convert"]) == ""
    assert unknown(["lens", "inspekt"]) == "inspekt"
    assert unknown(["caption", "a.ply", "--jason"]) == "--jason"
