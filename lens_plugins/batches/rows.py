"""Inputs to rows: files, folders, patterns and tables, one row at a time and always in the same order."""

from __future__ import annotations

import codecs
import csv
import glob
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from .._optional import require
from ..catalog import find_modality, modalities, modality_of_suffix
from ..errors import InputError
from ..files.opening import check_file, local_path, open_regular, reason_of
from ..splice.fusion import PLACES
from .columns import Kind, kind_of, merged

__all__ = ["BLOCK", "COLUMNS", "Given", "Inputs", "Listing", "Row", "TABLES", "Rolling"]

COLUMNS = ("path", "modality", "prompt", "fuse", "options")
"""Columns of a table that say what to do; all others are handed through."""
TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_TEXT = "text"  # prefix of an input that is a text itself
BLOCK = 1024
_MOST_IN_ROW = 64  # inputs that are fused in one row

Given: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"


@dataclass(frozen=True)
class Row:
    """One line of the result.

    Args:
        number: from 0, over all inputs.
        inputs: absolute paths, each with its modality in front where it is named; or "text:...".
        given: the path column as it was given.
        prompt: None: that of the plan.
        fuse: None: that of the plan.
        options: of generation, over those of the plan.
        more: the columns that are handed through.
        problem: what is wrong with the row itself; None: nothing.
    """

    number: int
    inputs: tuple[str, ...]
    given: str | tuple[str, ...]
    prompt: str | None = None
    fuse: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def modality(self) -> str | None:
        """What its inputs are by prefix or ending, joined by "+"; None where one does not say it."""
        named = [_modality(one) for one in self.inputs]
        return "+".join(filter(None, named)) if named and all(named) else None


@dataclass(frozen=True)
class Listing:
    """What one look at all inputs tells.

    Attributes:
        count: rows.
        digest: of every row, in order; another list has another one.
        blocks: digests of each `BLOCK` rows, by which a difference is found.
        columns: that are handed through, with the kind of their values.
        modalities: of the inputs, as far as prefixes and endings tell.
        several: whether a row has several inputs.
        prompted: rows with a prompt of their own.
        left_out: files of folders and patterns whose ending names no modality, by ending.
        hints: column names that look like a misspelt one of ours.
    """

    count: int
    digest: str
    blocks: tuple[str, ...]
    columns: Mapping[str, Kind]
    modalities: frozenset[str]
    several: bool
    prompted: int
    left_out: Mapping[str, int]
    hints: tuple[str, ...]


class Rolling:
    """The digest of rows, as they come."""

    def __init__(self) -> None:
        self._all, self._block = hashlib.sha256(), hashlib.sha256()
        self._blocks: list[str] = []
        self.count = 0

    def add(self, row: Row) -> None:
        """Take in the next row."""
        told = [row.inputs, row.prompt, row.fuse, row.options, row.more, row.problem]
        line = json.dumps(told, default=str).encode() + b"\n"
        self._all.update(line)
        self._block.update(line)
        self.count += 1
        if self.count % BLOCK == 0:
            self._blocks.append(self._block.hexdigest()[:16])
            self._block = hashlib.sha256()

    @property
    def digest(self) -> str:
        """Of all rows so far."""
        return self._all.hexdigest()

    @property
    def blocks(self) -> tuple[str, ...]:
        """Of each `BLOCK` rows, the last of which may be fewer."""
        rest = [self._block.hexdigest()[:16]] if self.count % BLOCK else []
        return (*self._blocks, *rest)


class Inputs:
    """Files, folders, patterns, tables and rows given as mappings, to go through as often as needed.

    A folder and a pattern stand for the files whose ending names a modality, folders inside included, sorted. Tables
    are JSON lines, CSV and Parquet; paths in them are relative to the table's folder.

    Args:
        given: one or several; "depth:FOLDER" says what all files of a folder are.

    Raises:
        InputError: nothing is given, or something that is no input.
    """

    def __init__(self, given: Given | Iterable[Given]) -> None:
        one = isinstance(given, (str, os.PathLike, Mapping))
        self._given: list[Given] = [given] if one else list(given)  # type: ignore[arg-type,list-item]  # narrowed by `one`
        if not self._given:
            raise InputError("There are 0 inputs; give files, folders, patterns or tables.")
        for item in self._given:
            if not isinstance(item, (str, os.PathLike, Mapping)):
                raise InputError(f"A {type(item).__name__} is no input of a batch; give a path, or a mapping with path.")
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Row]:
        self.left_out = Counter()
        number = 0
        for item in self._given:
            for values, folder, where in self._values(item):
                yield _row(number, values, folder, where)
                number += 1

    def listing(self) -> Listing:
        """Go through all inputs once; no input file is opened, but every table is.

        Raises:
            InputError: a table that cannot be read, with the line; an input that is not there; no row at all.
        """
        rolling, columns, named, hints = Rolling(), dict[str, Kind](), set[str](), dict[str, None]()
        prompted = 0
        several = False
        for row in self:
            rolling.add(row)
            named.update(name for one in row.inputs if (name := _modality(one)))
            several |= not isinstance(row.given, str)
            prompted += row.prompt is not None
            for name, value in row.more.items():
                columns[name] = merged(columns.get(name), self._types.get(name) or kind_of(value))
        for name in columns:
            near = get_close_matches(name.lower(), COLUMNS, n=1, cutoff=0.85)
            hints.update(dict.fromkeys([f"{name!r} is handed through; did you mean {near[0]!r}?"] if near else []))
        if not rolling.count:
            raise InputError(f"{self._told()} gives 0 rows{self._why()}.")
        return Listing(
            rolling.count, rolling.digest, rolling.blocks, columns, frozenset(named), several, prompted,
            dict(self.left_out), tuple(hints),
        )  # fmt: skip

    def _told(self) -> str:
        first = self._given[0]
        name = "A mapping" if isinstance(first, Mapping) else os.fspath(first)
        return name if len(self._given) == 1 else f"{name} and {len(self._given) - 1} more inputs together"

    def _why(self) -> str:
        if not self.left_out:
            return "; an example is a folder of .ply files, or a table with a path column"
        endings = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in self.left_out.most_common(5))
        return f": the endings of its files name no modality ({endings}); say which, as depth:FOLDER"

    # each: the columns of a row, the folder of its paths, where it stands

    def _values(self, item: Given) -> Iterator[tuple[Mapping[str, Any], Path, str]]:
        self._types: Mapping[str, Kind] = {}
        if isinstance(item, Mapping):
            yield _checked(item), Path(), "A row"
            return
        name = os.fspath(item)
        modality, place = _split(name)
        if modality == _TEXT or os.path.isfile(local_path(name)) and modality is None:
            place = name
        path = local_path(place)
        if modality == _TEXT:
            yield {"path": name}, Path(), name
        elif path.is_dir():
            yield from self._folder(path, place, modality)
        elif not os.path.lexists(path) and glob.has_magic(place):
            for found in sorted(glob.iglob(os.fspath(path), recursive=True)):
                yield from self._found(found, modality)
        elif modality is None and path.suffix.lower() in TABLES:
            yield from self._table(path)
        elif not os.path.lexists(path) and not path.suffix:
            raise InputError(f"There is no file or folder {name}; check its name.")
        else:
            yield {"path": name}, Path(), name

    def _found(self, found: str, modality: str | None) -> Iterator[tuple[Mapping[str, Any], Path, str]]:
        """What a pattern has found: a folder, a table, or a file if its ending names a modality."""
        path = Path(found)
        if path.is_dir():
            yield from self._folder(path, found, modality)
        elif modality is None and path.suffix.lower() in TABLES:
            yield from self._table(path)
        elif self._takes(found, modality):
            yield {"path": f"{modality}:{found}" if modality else _plain(found)}, Path(), found

    def _folder(
        self, folder: Path, given: str, modality: str | None
    ) -> Iterator[tuple[Mapping[str, Any], Path, str]]:
        for inner in _walk(folder):
            if self._takes(inner, modality):
                name = os.path.join(given, inner)
                yield {"path": f"{modality}:{name}" if modality else _plain(name)}, Path(), name

    def _takes(self, name: str, modality: str | None) -> bool:
        suffix = os.path.splitext(name)[1].lower()
        if modality is None:
            taken = modality_of_suffix(suffix) is not None
        else:
            row = find_modality(modality)
            taken = suffix in (*row.suffixes, *row.also)
        if not taken:
            self.left_out[suffix] += 1
        return taken

    def _table(self, path: Path) -> Iterator[tuple[Mapping[str, Any], Path, str]]:
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            self._types, lines = _parquet(path)
        elif suffix in (".csv", ".tsv"):
            self._types, lines = {}, _csv(path, "\t" if suffix == ".tsv" else ",")
        else:
            self._types, lines = {}, _json_lines(path)
        for line, values in lines:
            yield values, path.parent, f"{path}, line {line}" if suffix != ".parquet" else f"{path}, row {line}"


def _row(number: int, values: Mapping[str, Any], folder: Path, where: str) -> Row:
    """A row of its columns; what is wrong with one of them is the row's problem, not the table's."""
    more = {name: value for name, value in values.items() if name not in COLUMNS}
    given = values.get("path")
    shown = given if isinstance(given, str) else tuple(map(str, given)) if isinstance(given, (list, tuple)) else ""
    try:
        paths, listed = _paths(given)
        shown = tuple(paths) if listed else paths[0]
        names = _names(values.get("modality"), len(paths))
        inputs = tuple(_place(path, name, folder) for path, name in zip(paths, names))
        prompt, fuse = _text(values, "prompt"), _text(values, "fuse")
        if fuse is not None and fuse not in PLACES:
            raise InputError(f"fuse is {fuse!r}; it must be {', '.join(PLACES)}.")
        return Row(number, inputs, shown, prompt, fuse, _options(values.get("options")), more)
    except InputError as error:
        return Row(number, (), _printable(shown), more=more, problem=f"{where}: {error}")


def _paths(given: Any) -> tuple[list[str], bool]:
    """The paths of a row, and whether they are a list."""
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if isinstance(given, str) and given.startswith('["'):  # a list in a CSV table
        try:
            given = json.loads(given)
        except ValueError:
            pass
    several = isinstance(given, (list, tuple))
    paths = list(given) if several else [given]
    if not paths or not all(isinstance(path, str) and path.strip() for path in paths):
        raise InputError(f"path is {given!r}; it must be the name of a file, or a list of such.")
    if len(paths) > _MOST_IN_ROW:
        raise InputError(f"path has {len(paths)} names; at most {_MOST_IN_ROW} are fused.")
    return paths, several


def _names(given: Any, count: int) -> list[str | None]:
    """The modality of each path of a row."""
    if isinstance(given, str) and given.startswith('["'):
        try:
            given = json.loads(given)
        except ValueError:
            pass
    names = [given] * count if given is None or isinstance(given, str) else list(given)
    names = [name or None for name in names]
    for name in filter(None, names):
        if name not in (*modalities(), _TEXT):
            near = get_close_matches(str(name), modalities(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(modalities())}."
            raise InputError(f"modality is {name!r}; {hint}")
    if len(names) != count:
        raise InputError(f"modality has {len(names)} names for {count} paths; give one for each, or one for all.")
    return names


def _place(path: str, modality: str | None, folder: Path) -> str:
    """An absolute path with the modality in front where it is named."""
    named, rest = _split(path)
    if _TEXT in (named, modality) and (named in (None, _TEXT)):
        return path if named else f"{_TEXT}:{path}"
    if named and modality and named != modality:
        raise InputError(f"{path} is named {named!r} by its prefix and {modality!r} by its column; give one of them.")
    if "://" in path:
        raise InputError(f"{path} is a web address, which is not fetched; download it and give the file.")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path!r} is no name in UTF-8; rename the file.") from error
    place = os.path.abspath(folder / local_path(rest))
    return f"{named or modality}:{place}" if named or modality else place


def _split(name: str) -> tuple[str | None, str]:
    """"depth:room.png" as ("depth", "room.png"); without a prefix that is a modality the first is None."""
    prefix, colon, rest = name.partition(":")
    return (prefix, rest) if colon and rest and prefix in (*modalities(), _TEXT) else (None, name)


def _plain(name: str) -> str:
    """A name from a folder, of which no beginning is to be taken for a modality."""
    return name if _split(name)[0] is None else os.path.join(".", name)


def _modality(name: str) -> str | None:
    named, rest = _split(name)
    return named or modality_of_suffix(os.path.splitext(rest)[1].lower())


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InputError(f"{name} is {value!r}, a {type(value).__name__}; it must be a text.")
    return value


def _options(given: Any) -> Mapping[str, Any]:
    """Options of a row: an object, or one as JSON in a text."""
    if isinstance(given, str) and given.strip():
        try:
            given = json.loads(given)
        except ValueError as error:
            raise InputError(f"options is {given!r}, which is no JSON object ({error}).") from error
    if given is None or given == "":
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f'options is {given!r}; it must be an object such as {{"num_beams": 5}}.')
    # A Parquet table has every field in every row, null where a row does not give it.
    return {str(name): value for name, value in given.items() if value is not None}


def _printable(given: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Names as UTF-8 can hold them."""
    if isinstance(given, tuple):
        return tuple(one.encode("utf-8", "backslashreplace").decode() for one in given)
    return given.encode("utf-8", "backslashreplace").decode()


def _walk(folder: Path, inside: str = "") -> Iterator[str]:
    """Files of a folder and the folders in it, by name; hidden ones and links to folders are left out."""
    try:
        with os.scandir(folder / inside) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise InputError(f"{folder / inside} cannot be listed: {error.strerror or error}.") from error
    for name, is_folder in found:
        if name.startswith("."):
            continue
        if is_folder:
            yield from _walk(folder, os.path.join(inside, name))
        elif os.path.isfile(folder / inside / name):
            yield os.path.join(inside, name)


# Tables


def _checked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    if "path" not in values:
        raise InputError(f"A row has no path; it has {', '.join(map(str, values)) or 'nothing'}.")
    return {str(name): value for name, value in values.items()}


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a table without a path column, or with two columns of one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path} has {names.count(twice[0])} columns {twice[0]!r}; give each a name of its own.")
    if "path" not in names:
        near = [name for name in names if name.strip().lower() in ("path", "paths", "file", "filename", "file_name")]
        hint = f"; rename {near[0]!r}" if near else ""
        raise InputError(f"{path} has no column path{hint}. Its columns are {', '.join(map(repr, names[:20]))}.")


def _csv(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_regular(path, None) as data, io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            names = next(lines, [])
            _check_columns(path, names)
            for cells in lines:
                if not cells:  # an empty line
                    continue
                if len(cells) != len(names):
                    raise InputError(
                        f"{path}, line {lines.line_num}: {len(cells)} cells; the header has {len(names)} columns."
                    )
                yield lines.line_num, dict(zip(names, cells))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
        except csv.Error as error:
            raise InputError(f"{path}, line {lines.line_num}: no line of a table ({error}).") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_regular(path, None) as file:
        try:
            first = True
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if not text.strip():
                    continue
                values = _object(f"{path}, line {number}", text)
                if first:
                    _check_columns(path, list(values))
                first = False
                yield number, values
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _object(where: str, line: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            name = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise InputError(f"{where}: the field {name!r} stands there twice; give each a name of its own.")
        return values

    try:
        values = json.loads(line.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start + 1} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise InputError(f"{where}: no JSON object ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{where}: no JSON object, but a {type(values).__name__}.")
    return values


def _parquet(path: Path) -> tuple[dict[str, Kind], Iterator[tuple[int, dict[str, Any]]]]:
    """The types of a table's columns, and its rows."""
    pa = require("pyarrow", extra="batch", purpose="Reading Parquet")
    parquet = require("pyarrow.parquet", extra="batch", purpose="Reading Parquet")
    check_file(path, None)
    try:
        table = parquet.ParquetFile(path)
        schema = table.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no whole Parquet table ({reason_of(error)}); write it again.") from error
    _check_columns(path, schema.names)

    def lines() -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        with table:
            try:
                for batch in table.iter_batches(batch_size=1024):
                    for number, values in enumerate(batch.to_pylist(), start=number + 1):
                        yield number, values
            except (pa.ArrowException, OSError) as error:
                told = f"{path} cannot be read behind row {number} ({reason_of(error)})"
                raise InputError(f"{told}; write it again.") from error

    return {field.name: field.type for field in schema}, lines()
