"""What the documentation says can be done is done.

A fenced block after a line `<!-- run -->` is run: a python block from top to bottom, in a shell block every line that
starts with `lens-plugins`. Blocks of one page share their names and a folder that looks like a checkout. In a console
block the lines without `$` are what the commands print; in a python block a comment `# → text` is what it prints there.
Commands and Python that are not marked must at least exist. `python tests/pages.py` writes what is generated.
"""

import ast
import re
from dataclasses import fields
from importlib import import_module

import pages
import pytest
from pages import PACKAGE, PAGES, ROOT, SHELL, Block, alike, blocks, commands, headings, inline_commands, name_of
from typer.main import get_command

import lens_plugins as lp
from lens_plugins.catalog import modalities, resolve
from lens_plugins.cli.main import command_line, run

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def hosts():
    """Hosts loaded so far; each is loaded once."""
    return {}


def unknown(words: list[str]) -> str:
    """The first word that names no command or option; empty where all do. `a|b` is either, `...` anything."""
    command = get_command(command_line())
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


def absent_names(text: str) -> list[str]:
    """What a python block takes from this package and the package does not have."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lens_plugins":
            module = import_module(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lp":
            found += [] if node.attr in lp.__all__ else [f"lp.{node.attr}"]
    return found


@each_page
def test_commands_exist(page):
    text = page.read_text("utf-8")
    shell = [words for block in blocks(text) if block.language in SHELL for words in commands(block.text)]
    wrong = [f"{unknown(words)!r} in {' '.join(words)!r}" for words in shell + inline_commands(text) if unknown(words)]
    assert wrong == []


@each_page
def test_python_names_exist(page):
    python = [block.text for block in blocks(page.read_text("utf-8")) if block.language == "python"]
    assert [name for text in python for name in absent_names(text)] == []


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`|\n)make ([a-z-]+)", page.read_text("utf-8"))
    assert set(named) - targets == set()


@each_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)", page.read_text("utf-8"))
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in headings(target.read_text("utf-8"))):
            broken.append(link)
    assert broken == []


@each_page
def test_files_named_exist(page):
    """`hosts/base.py` in running text is a file of the package or of the repository."""
    text = pages.BLOCK.sub("", page.read_text("utf-8"))
    named = {name for name in re.findall(r"`([\w./-]+/[\w.-]+\.py)`", text) if not name.startswith("lavis/")}
    assert [name for name in sorted(named) if not any((root / name).exists() for root in (ROOT, PACKAGE))] == []


@pytest.mark.e2e
@each_page
def test_marked_blocks_run(page, hosts, tmp_path, request):
    text = page.read_text("utf-8")
    marked = [block for block in blocks(text) if block.marked]
    if any("pocket-" in block.text or block.language in SHELL for block in marked):
        request.getfixturevalue("pocket")
    with pages.workplace(tmp_path), pages.loaded_once(hosts):
        now = pages.run_page(text, run)
    if not alike(text, now):
        assert text == now, "python tests/pages.py writes what is printed now"
    assert [shown.name for made, shown in pages.drawn(text, tmp_path) if not pages.look_alike(made, shown)] == []


def test_readme_is_short_and_names_the_versions():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for pattern in (r'^requires-python = "(.+)"', r'^    "torch(.+?)"', r'^    "transformers(.+?)"'):
        spec = re.findall(pattern, project, re.MULTILINE)[0]  # the first: extras may ask for more
        for number in re.findall(r"\d+(?:\.\d+)*", spec):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", text), f"README does not say {spec}"


def test_tree_of_contributing_is_that_of_the_package():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert pages.TREE.search(text)
    assert text == pages.with_tree(text), "python tests/pages.py writes the tree"


def test_index_links_every_page():
    links = set(re.findall(r"\]\(([\w-]+\.md)", (DOCS / "README.md").read_text("utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} == links


def test_formats_lists_every_ending_and_setting():
    text = (DOCS / "formats.md").read_text("utf-8")
    sections = dict(re.findall(r"^## [^\n]*\(`(\w+)`\)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    for row in modalities().values():
        section = sections[row.name]
        assert [ending for ending in (*row.suffixes, *row.also) if f"`{ending}`" not in section] == [], row.name
        named = [field.name for field in fields(resolve(row.settings))]
        assert [name for name in named if f"`{name}`" not in section] == [], row.name


def test_python_page_lists_every_public_name():
    text = (DOCS / "python.md").read_text("utf-8")
    assert [name for name in lp.__all__ if f"{name}" not in text] == []


def test_commands_page_lists_every_command():
    text = (DOCS / "commands.md").read_text("utf-8")
    names = [
        f"{name} {inner}".strip()
        for name, command in get_command(command_line()).commands.items()
        for inner in getattr(command, "commands", [""])
    ]
    assert [name for name in names if f"`lens-plugins {name}" not in text] == []


def test_the_reader_of_pages_reads():
    text = (
        "# A page: of `one`\n<!-- run -->\n```python\nx = 1\n```\n\n```sh\n$ lens-plugins caption a.ply | jq .\nls\n"
        'lens-plugins ask a.ply \\\n  "what?"  # a question\n```\nsee `lens-plugins lens inspect|convert`\n'
    )
    assert blocks(text)[0] == Block(True, "python", "x = 1\n")
    assert not blocks(text)[1].marked
    assert commands(blocks(text)[1].text) == [["caption", "a.ply"], ["ask", "a.ply", "what?"]]
    assert inline_commands(text) == [["lens", "inspect|convert"]]
    assert headings(text) == {"a-page-of-one"}
    assert unknown(["lens", "inspect|convert"]) == ""
    assert unknown(["lens", "inspekt"]) == "inspekt"
    assert unknown(["caption", "a.ply", "--jason"]) == "--jason"
    assert absent_names("from lens_plugins.inputs import red, read\nlp.read, lp.reed") == [
        "lens_plugins.inputs.red",
        "lp.reed",
    ]


def test_what_blocks_print_is_compared():
    """Commands are told by `$`, printed lines replace those shown, numbers may differ a little, words may not."""

    def command(words):
        print("0.28", words[-1])
        return 0

    page = "<!-- run -->\n```console\n$ lens-plugins caption a.ply\n0.27 a.ply\n```\n"
    assert alike(page, pages.run_page(page, command))
    wrong = page.replace("0.27 a.ply", "0.27 b.ply")
    assert not alike(wrong, pages.run_page(wrong, command))
    assert not alike(page, page.replace("0.27", "0.31"))
    python = "<!-- run -->\n```python\nprint(1 + 1)  # → 3\n```\n"
    assert pages.run_page(python, command) == python.replace("3", "2")
    with pytest.raises(AssertionError, match="exit code 2"):
        pages.run_page(page, lambda words: 2)
