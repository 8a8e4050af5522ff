"""Rules of the house, read from the source with ast: nothing is imported."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lens_plugins"
MODULES = sorted(PACKAGE.rglob("*.py"))
GROUND = {"errors", "catalog", "keymap", "_optional", "_config", "files"}
FLOORS = ({"inputs"}, {"lens"}, {"splice"}, {"hosts"}, {"train"}, {"pocket"}, {"testing", "bench", "serve"}, {"cli"})
FLOOR = {**dict.fromkeys(GROUND, 0), **{room: n for n, rooms in enumerate(FLOORS, start=1) for room in rooms}}
TOP_LEVEL = {
    "pyproject.toml", "lens_plugins", "patches", "demos", "tests", "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
    "CONTRIBUTING.md",
}  # fmt: skip
MADE_BY_TOOLS = {"build", "dist", "work", "runs"}  # ignored by git
LONGEST, MEDIAN = 50, 20  # lines of a function's body


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(parts: tuple[str, ...]) -> str:
    """`("lens", "embeddings", "patch")` -> "lens"; the package's own `__init__` and `__main__` have none."""
    return parts[0] if parts and parts[0] in FLOOR else ""


def imports_of(path: Path) -> set[tuple[str, ...]]:
    """What a module imports of this package, as parts below `lens_plugins`; inside functions and for types too."""
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    package = inside[:-1]
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {tuple(a.name.split(".")[1:]) for a in node.names if a.name.split(".")[0] == "lens_plugins"}
        elif isinstance(node, ast.ImportFrom):
            named = tuple(node.module.split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + named
            elif named[:1] == ("lens_plugins",):
                base = named[1:]
            else:
                continue
            found |= {base} if room_of(base) else {(*base, alias.name) for alias in node.names}
    return found


def upward(path: Path) -> list[str]:
    own = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
    if not own:
        return []
    above = {room for room in FLOOR if FLOOR[room] < FLOOR[own]} | (GROUND if own in GROUND else {own})
    rooms = {room_of(parts) for parts in imports_of(path)} - {""}
    return [f"{name_of(path)} imports {room}" for room in sorted(rooms - above)]


def functions() -> list[tuple[int, str]]:
    """Lines of the body, docstring left out, and name of every function, the longest first."""
    found = []
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                found.append((lines, f"{name_of(path)}:{node.lineno} {node.name}"))
    return sorted(found, reverse=True)


def test_rooms_import_from_above_only():
    assert [sentence for path in MODULES for sentence in upward(path)] == []


def test_import_rule_sees_what_it_forbids(tmp_path, monkeypatch):
    wrong = tmp_path / "lens" / "x.py"
    wrong.parent.mkdir()
    lines = ["from ..hosts.base import Host", "import lens_plugins.cli.main", "from .. import inputs", "import json"]
    wrong.write_text("def f():\n" + "".join(f"    {line}\n" for line in lines))
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert upward(wrong) == ["lens/x.py imports cli", "lens/x.py imports hosts"]


def test_every_folder_of_the_package_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - FLOOR.keys() == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module(path):
    """`__all__`, and no print, assert or NotImplementedError in what others import."""
    tree = tree_of(path)
    assert "__all__" in assigned(tree) or not tree.body[1:], "no __all__, though there is more than a docstring"
    contracts = path.is_relative_to(PACKAGE / "testing")  # whose assertions are what they are for
    assert [f"line {line}: {what}" for line, what in forbidden(tree) if not (contracts and what == "assert")] == []


def assigned(tree):
    nodes = [node for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign))]
    targets = [target for node in nodes for target in getattr(node, "targets", None) or [node.target]]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def forbidden(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno, "print"
        elif isinstance(node, ast.Assert):
            yield node.lineno, "assert"
        elif isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.dump(node.exc):
            yield node.lineno, "NotImplementedError"


def test_functions_are_short(record_property):
    lengths = functions()
    median = statistics.median(length for length, _ in lengths)
    record_property("functions", len(lengths))
    record_property("median_lines", median)
    record_property("longest", [f"{length} lines: {name}" for length, name in lengths[:20]])
    assert median <= MEDIAN
    assert [f"{length} lines: {name}" for length, name in lengths if length > LONGEST] == []


def committed() -> list[Path]:
    """Text files of the repository, as far as they are not made by tools."""
    found = [path for name in sorted(TOP_LEVEL) for path in [ROOT / name, *(ROOT / name).rglob("*")]]
    found += [path for path in ROOT.glob(".*") if path.is_file() and path.name != ".git"] + list(
        (ROOT / ".ci").glob("*")
    )
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".ipynb", ".diff", ".jsonl", ".csv", ""}
    return [path for path in found if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts]


FOREIGN = re.compile(
    r"/(?:work/(?:main|shared)|root/|home/\w+/|Users/\w+/|opt/(?:wheels|pypi))"  # one machine's folders
    r"|(?:pypi\.org(?!/project/)|files\.pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|deb\.debian\.org"
    r"|download\.pytorch\.org)"
)


def test_no_machine_paths_or_registry_hosts():
    own = Path(__file__).resolve()
    found = [
        f"{name_of(path)}:{number}: {match.group()}"
        for path in committed()
        if path != own
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        for match in FOREIGN.finditer(line)
    ]
    assert found == []


def test_top_level_is_fixed():
    here = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert here - TOP_LEVEL - MADE_BY_TOOLS == set()


def test_test_files_have_unique_names():
    """Tests have no packages, so pytest tells their modules apart by file name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
    assert not list((ROOT / "tests").rglob("__init__.py"))
