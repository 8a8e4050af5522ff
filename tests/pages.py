"""The pages of the documentation as data: blocks, commands, links, and what is generated.

`python tests/pages.py [PAGE...]` runs every marked block and writes what it printed and drew where the page shows it,
and writes the tree of CONTRIBUTING.md. `test_docs.py` checks that all is as this would write it.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

import lens_plugins as lp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lens_plugins"
DRAWN = ROOT / "docs" / "drawn"
FOLDERS = ("docs", "lens_plugins", "patches", "demos")
PAGES = sorted([*ROOT.glob("*.md"), *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))])
SHELL = ("sh", "bash", "shell", "console")
SHOWN = "# → "  # in a marked python block: the line it prints there
BLOCK = re.compile(r"(<!-- run -->\n+)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TREE = re.compile(r"(<!-- tree -->\n+```text\n)(.*?)(```\n)", re.DOTALL)
ROOMS = (
    "files", "inputs", "lens", "splice", "hosts", "train", "scene", "evaluate", "index", "batch", "serve", "compat",
    "pocket", "testing", "bench", "cli",
)  # fmt: skip

_CAME_WITH: WeakKeyDictionary[lp.Host, dict[str, lp.Lens]] = WeakKeyDictionary()  # lenses of a host as it was loaded


@dataclass(frozen=True)
class Block:
    """A fenced block; `marked` where the line before it is `<!-- run -->`."""

    marked: bool
    language: str
    text: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    return [Block(bool(mark), language, body) for mark, language, body in BLOCK.findall(text)]


def commands(text: str) -> list[list[str]]:
    """The words of every `lens-plugins` line, continued lines joined, comments and what follows a pipe left out."""
    lines = text.replace("\\\n", " ").splitlines()
    lines = [line.removeprefix("$ ").strip() for line in lines]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("lens-plugins ")]
    ends = [next((i for i, word in enumerate(line) if word in ("|", ">", "&&", ";")), len(line)) for line in words]
    return [line[1:end] for line, end in zip(words, ends)]


def inline_commands(text: str) -> list[list[str]]:
    """Commands in running text: `lens-plugins lens inspect FILE`."""
    return [words for found in re.findall(r"`(lens-plugins [^`\n]+)`", text) for words in commands(found)]


def headings(text: str) -> set[str]:
    """Anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


# Running


@contextmanager
def workplace(folder: Path) -> Iterator[None]:
    """A folder that looks like a checkout and takes what the blocks write; the current one inside."""
    for name in FOLDERS:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def loaded_once(hosts: dict[str, lp.Host]) -> Iterator[None]:
    """Inside, `lens_plugins.load_host` loads each host that is named once and gives it with the lenses it came with."""
    load_host = lp.load_host

    def load(source: Any, **options: Any) -> lp.Host:
        if not isinstance(source, str) or any(value is not None for value in options.values()):
            return load_host(source, **options)
        if source not in hosts:
            hosts[source] = load_host(source)
            _CAME_WITH[hosts[source]] = hosts[source].lenses
        host = hosts[source]
        for modality in host.lenses:
            host.unplug(modality)
        for lens in _CAME_WITH[host].values():
            host.plug(lens)
        return host

    lp.load_host = load
    try:
        yield
    finally:
        del lp.load_host  # the name loads from its own module again


def run_page(text: str, command: Callable[[list[str]], int]) -> str:
    """Run the marked blocks from top to bottom; return the page with what they printed now.

    Python blocks share their names. `command` runs the words behind `lens-plugins`.
    """
    names: dict[str, Any] = {"__name__": "docs"}

    def renewed(match: re.Match[str]) -> str:
        mark, language, body = match.groups()
        if not mark:
            return match.group()
        run = _console if language == "console" else _shell if language in SHELL else _python
        return match.group().replace(body, run(body, names, command), 1)

    return BLOCK.sub(renewed, text)


def _python(body: str, names: dict[str, Any], command: Callable[[list[str]], int]) -> str:
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(body, "<documentation>", "exec"), names)
    printed = iter(out.getvalue().splitlines())
    shown = re.compile(rf"{re.escape(SHOWN)}.*")
    return shown.sub(lambda match: SHOWN + next(printed, "nothing"), body)


def _shell(body: str, names: dict[str, Any], command: Callable[[list[str]], int]) -> str:
    for words in commands(body):
        _printed(words, command)
    return body


def _console(body: str, names: dict[str, Any], command: Callable[[list[str]], int]) -> str:
    """Lines with `$ ` are commands, the others what they print."""
    asked = re.findall(r"^\$ (?:.*\\\n)*.*\n", body, re.MULTILINE)
    return "".join(line + "".join(_printed(words, command) for words in commands(line)) for line in asked)


def _printed(words: list[str], command: Callable[[list[str]], int]) -> str:
    out = StringIO()
    with redirect_stdout(out):
        code = command(words)
    if code:
        raise AssertionError(f"lens-plugins {' '.join(words)} ended with exit code {code}")
    return out.getvalue()


def alike(old: str, new: str) -> bool:
    """Whether two pages are the same but for small differences between numbers, as other processors make them."""
    number = re.compile(r"(\d+\.\d+)")
    one, other = number.split(old), number.split(new)
    if len(one) != len(other) or one[::2] != other[::2]:
        return False
    return all(abs(float(a) - float(b)) <= 0.02 * max(1.0, float(a)) for a, b in zip(one[1::2], other[1::2]))


def drawn(text: str, folder: Path) -> list[tuple[Path, Path]]:
    """Pictures that a page shows from `docs/drawn` and its blocks have just written: (new, shown)."""
    names = sorted(set(re.findall(r"drawn/([\w-]+\.png)\)", text)))
    return [(folder / name, DRAWN / name) for name in names if (folder / name).is_file()]


def look_alike(new: Path, shown: Path) -> bool:
    """Whether two pictures have one size and differ by less than two of 255 steps on average."""
    if not shown.is_file():
        return False
    one, other = (np.asarray(Image.open(path).convert("RGB"), np.float32) for path in (new, shown))
    return one.shape == other.shape and float(np.abs(one - other).mean()) < 2


# The tree


def tree() -> str:
    """One line for each module of the package: its name and the first sentence of its docstring."""
    lines: list[str] = []
    _branch(PACKAGE, 0, lines)
    return "".join(f"{line}\n" for line in lines)


def _branch(folder: Path, depth: int, lines: list[str]) -> None:
    lines.append(_line(f"{folder.name}/", folder / "__init__.py", depth))
    lines += [_line(path.name, path, depth + 1) for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    for inner in sorted(folder.iterdir(), key=_order):
        if (inner / "__init__.py").is_file():
            _branch(inner, depth + 1, lines)


def _order(folder: Path) -> tuple[int, str]:
    return (ROOMS.index(folder.name) if folder.name in ROOMS else len(ROOMS)), folder.name


def _line(name: str, path: Path, depth: int) -> str:
    said = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n\n")[0]
    sentence = re.split(r"(?<!et al)\. (?=[A-Z`])", " ".join(said.split()), maxsplit=1)[0].rstrip(".")
    return f"{'  ' * depth + name:28} {sentence}".rstrip()


def with_tree(text: str) -> str:
    return TREE.sub(lambda match: match.group(1) + tree() + match.group(3), text)


def main(names: list[str]) -> None:
    """Write what is generated into the pages named, or into all."""
    from tempfile import TemporaryDirectory

    from lens_plugins.cli.main import run

    hosts: dict[str, lp.Host] = {}
    for page in [Path(name).resolve() for name in names] or PAGES:
        old = page.read_text("utf-8")
        with TemporaryDirectory() as folder, workplace(Path(folder)), loaded_once(hosts):
            new = with_tree(run_page(old, run))
            for made, shown in drawn(new, Path(folder)):
                if not look_alike(made, shown):
                    shown.write_bytes(made.read_bytes())
        if not alike(old, new):
            page.write_text(new, "utf-8")
            print(f"written: {name_of(page)}")


if __name__ == "__main__":
    main(sys.argv[1:])
