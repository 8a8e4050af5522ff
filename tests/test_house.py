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
FLOORS = (
    {"inputs"}, {"lens"}, {"splice"}, {"hosts"}, {"train"}, {"scene"},
    {"evaluate", "index", "batches", "serve", "compat"}, {"pocket"}, {"testing", "bench"}, {"cli"},
)  # fmt: skip
IN_STRINGS = {"catalog": {"inputs", "lens", "hosts", "train"}}  # rooms that rows name, to be imported on first use
FLOOR = {**dict.fromkeys(GROUND, 0), **{room: n for n, rooms in enumerate(FLOORS, start=1) for room in rooms}}
TOP_LEVEL = {
    "pyproject.toml", "lens_plugins", "patches", "demos", "tests", "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
    "CONTRIBUTING.md", "docs", "Dockerfile",
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


DOTTED = re.compile(r"lens_plugins((?:\.\w+)+)(?::\w+)?")


def named_in_strings(path: Path) -> set[str]:
    """Rooms that a module names in strings which are dotted names as a whole: those are imported at run time."""
    texts = [node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)]
    found = [DOTTED.fullmatch(text) for text in texts if isinstance(text, str)]
    groups = {"modalities", "hosts", "folders"}  # of entry points, which are no modules
    named = [match.group(1).split(".")[1:] for match in found if match]
    return {room_of(tuple(parts)) for parts in named if len(parts) > 1 or parts[0] not in groups} - {""}


def upward(path: Path) -> list[str]:
    own = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
    if not own:
        return []
    above = {room for room in FLOOR if FLOOR[room] < FLOOR[own]} | (GROUND if own in GROUND else {own})
    rooms = {room_of(parts) for parts in imports_of(path)} - {""}
    strings = named_in_strings(path) - IN_STRINGS.get(own, set())
    return [
        *(f"{name_of(path)} imports {room}" for room in sorted(rooms - above)),
        *(f"{name_of(path)} names {room} in a string" for room in sorted(strings - above)),
    ]


def needs_of(path: Path) -> set[Path]:
    """Modules that must be there before this one: imports at its top level, those for types alone left out."""
    found = set()
    for node in tree_of(path).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            named = [base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)]
            found |= {each for each in named if each.is_file()}
    return found - {path}


def circles(modules: list[Path]) -> list[list[str]]:
    """Groups of modules that import each other, in one step or in several."""
    needs = {path: needs_of(path) for path in modules}
    reach = {path: set(found) for path, found in needs.items()}
    for _ in modules:
        longer = {path: found | {far for near in found for far in needs.get(near, ())} for path, found in reach.items()}
        if longer == reach:
            break
        reach = longer
    rings = {frozenset(o for o in reach[path] if path in reach.get(o, ())) for path in modules if path in reach[path]}
    return sorted(sorted(map(name_of, ring)) for ring in rings)


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


def test_strings_count_and_so_do_circles(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "lens").mkdir()
    one, other = tmp_path / "lens" / "a.py", tmp_path / "lens" / "b.py"
    one.write_text('from .b import x\nROW = "lens_plugins.cli.main:main"\n')
    other.write_text("from . import a\n")
    (tmp_path / "catalog.py").write_text('ROWS = "lens_plugins.hosts.base:Host", "lens_plugins.pocket.x:f"\n')
    assert upward(one) == ["lens/a.py names cli in a string"]
    assert upward(tmp_path / "catalog.py") == ["catalog.py names pocket in a string"]
    assert circles([one, other]) == [["lens/a.py", "lens/b.py"]]


def test_no_modules_import_each_other():
    assert circles([path for path in MODULES if path.name != "__init__.py"]) == []


def test_share_of_comments(record_property):
    """Told, not judged: own-line comments among the lines that are not blank, by room."""
    lines: dict[str, list[str]] = {}
    for path in MODULES:
        room = path.relative_to(PACKAGE).parts[0]
        lines.setdefault(room, []).extend(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
    for room, own in sorted(lines.items()):
        share = sum(line.startswith("#") for line in own) / max(1, len(own))
        record_property(f"comments_{room}", f"{share:.1%}")
        print(f"{room:15} {share:.1%} of {len(own)} lines are comments of their own")
    assert lines


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
