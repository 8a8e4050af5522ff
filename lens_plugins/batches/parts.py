"""The result of a run: parts of whole units while it goes on, one file at its end; a killed run goes on from its parts.

A part is written under another name and moved to its own, which says its first row and how many it has: the name is
the record, so that a row is in no part or in one.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

from .. import __version__
from .._optional import require
from ..errors import CheckpointError, ConfigError, InputError
from ..files.jsons import read_json_object
from ..files.opening import brief, local_path, reason_of
from ..files.writing import replacing
from .columns import Kind, as_arrow, as_json, schema_of, text_of
from .plan import Plan
from .rows import BLOCK, Listing

__all__ = ["FORMAT", "FORMATS", "PART", "Finished", "Parts", "check_output", "format_of", "other_inputs"]

FORMATS = (".jsonl", ".csv", ".parquet")
_ROWS, _SECONDS = 1024, 60.0  # after which a part is written
_GROUP = 8192  # rows of a row group in Parquet
PART = re.compile(r"part-(\d{12})-(\d{6})\.\w+")
FORMAT = 1


@dataclass(frozen=True)
class Finished:
    """What a run that has come to its end has written."""

    rows: int
    failed: int


def format_of(output: str | os.PathLike[str]) -> str:
    """".jsonl", ".csv" or ".parquet"; a name without an ending is a folder of Parquet parts.

    Raises:
        ConfigError: another ending.
    """
    path = Path(output)
    if not path.suffix:
        return ".parquet"
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{path} ends in {path.suffix!r}; a result is a file {', '.join(FORMATS)}, or a folder of Parquet parts, "
            "whose name has no ending."
        )
    return path.suffix.lower()


def check_output(output: str | os.PathLike[str]) -> None:
    """Refuse a place for a result before anything is loaded.

    Raises:
        ConfigError: an ending that is no format.
        InputError: the folder it would be in is absent.
        MissingDependency: Parquet without pyarrow.
    """
    kind, path = format_of(output), local_path(output)
    if kind == ".parquet":
        _arrow()
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.suffix and path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder.")
    if not path.suffix and path.exists() and not path.is_dir():
        raise InputError(f"{path} cannot be a folder of parts: it is a file; give it an ending of {', '.join(FORMATS)}.")


class Parts:
    """Parts of one run, and the file that they become.

    Args:
        output: a file of `FORMATS`, or a folder, which keeps its parts.
        plan: what the run does.
        listing: of its inputs.
        overwrite: begin afresh, whatever is there.

    Raises:
        InputError: something else is at this place, another run is writing there, or the disk refuses.
        ConfigError: what is there was begun with another plan or other inputs; names what differs.
    """

    def __init__(self, output: str | os.PathLike[str], plan: Plan, listing: Listing, *, overwrite: bool = False) -> None:
        self.output = local_path(output)
        self.kind = format_of(output)
        self.plan, self.listing = plan, listing
        self.is_folder = not self.output.suffix
        self.folder = self.output if self.is_folder else self.output.with_name(f"{self.output.name}.parts")
        self.notes = self.output / "_plan.json" if self.is_folder else self.output.with_name(f"{self.output.name}.plan.json")
        self.pictures = self.output.with_name(f"{self.output.name}.pictures")
        self.columns: Mapping[str, Kind] = {}
        self._rows: list[dict[str, Any]] = []
        self._since = monotonic()
        self._lock: Any = None
        self.finished: Finished | None = None
        with _told(self.output):
            self._open(overwrite)

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the place back to other runs."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            with suppress(OSError):
                self._lock_file.unlink()

    @property
    def done(self) -> list[tuple[int, int]]:
        """First row and number of rows of every part, in order.

        Raises:
            CheckpointError: two parts hold the same row, or one is cut otherwise than into units.
        """
        found = []
        if self.folder.is_dir():
            named = (PART.fullmatch(name) for name in os.listdir(self.folder))
            found = sorted((int(name[1]), int(name[2])) for name in named if name)
        end = 0
        for first, count in found:
            whole = first % self.plan.batch_size == 0 and (
                count % self.plan.batch_size == 0 or first + count == self.listing.count
            )
            if first < end or first + count > self.listing.count or not whole or not count:
                raise CheckpointError(
                    f"{self._part(first, count)} does not go with the other parts; delete it and run again."
                )
            end = first + count
        return found

    def missing(self) -> Iterator[range]:
        """Row numbers that are in no part."""
        end = 0
        for first, count in self.done:
            if first > end:
                yield range(end, first)
            end = first + count
        if end < self.listing.count:
            yield range(end, self.listing.count)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take the lines of a unit; after some units, or some time, they are written as a part.

        Raises:
            InputError: the disk refuses.
        """
        if self._rows and rows and rows[0]["row"] != self._rows[-1]["row"] + 1:
            self.flush()
        self._rows += [self._with_picture(row) for row in rows]
        if len(self._rows) >= _ROWS or monotonic() - self._since >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has been taken."""
        self._since = monotonic()
        if not self._rows:
            return
        with _told(self.output):
            self._write(self._part(self._rows[0]["row"], len(self._rows)), self._rows)
        self._rows = []

    def finish(self) -> Finished:
        """Make the result of all parts; the parts go.

        Raises:
            CheckpointError: a row is in no part, or a part holds other rows than its name says.
        """
        self.flush()
        absent = next(self.missing(), None)
        if absent is not None:
            raise CheckpointError(f"{self.output} lacks the rows {absent.start} to {absent.stop - 1}; run again.")
        with _told(self.output):
            failed = self._check_folder() if self.is_folder else self._assemble()
            self.finished = Finished(self.listing.count, failed)
            self._note()
            if not self.is_folder:
                self._forget_parts()
        return self.finished

    # Opening

    def _open(self, overwrite: bool) -> None:
        new = not self.notes.exists()
        if overwrite and not new:
            self.folder.mkdir(exist_ok=True)
            self._take_lock()
            self.notes.unlink()
            self._forget_parts()
            self._forget_pictures()
        elif new and not overwrite:
            self._check_free()
        self.folder.mkdir(exist_ok=True)
        if self._lock is None:
            self._take_lock()
        if not new and not overwrite:
            self._resume()
        elif overwrite:
            self._forget_parts(keep_folder=True)
        for name in os.listdir(self.folder):
            if name.startswith(".part-"):  # of a run that was killed while it wrote
                (self.folder / name).unlink()
        if self.finished is None:
            self._note()
        elif not self.is_folder:
            self._forget_parts()

    def _check_free(self) -> None:
        """Refuse to put parts where something is that no run of ours has noted."""
        there = self.output if self.output.exists() and not self.is_folder else self.folder
        if there.exists() and (there.is_file() or any(os.scandir(there))):
            cure = "give another name, or overwrite it" if not self.is_folder else "give an empty folder or another name"
            raise InputError(f"{brief(there)} is there already and is no result that this run began; {cure}.")

    def _take_lock(self) -> None:
        self._lock_file = self.folder / "_lock"
        self._lock = open(self._lock_file, "w", encoding="ascii")
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            raise InputError(f"Another run is writing {brief(self.output)}; wait for its end, or stop it.") from error

    def _resume(self) -> None:
        """Go on with what is there, if it is of this plan and these inputs."""
        noted = read_json_object(self.notes)
        if noted.get("format") != FORMAT:
            raise CheckpointError(f"{self.notes} has format {noted.get('format')!r}; this version reads {FORMAT}.")
        differs = [*self.plan.differences(noted["plan"]), *other_inputs(self.listing, noted["inputs"])]
        if differs:
            raise ConfigError(
                f"{brief(self.output)} was begun otherwise ({'; '.join(differs)}). Run it as it was begun, give another "
                "name, or overwrite it."
            )
        if noted["finished"] is not None and (self.is_folder or self.output.exists()):
            self.finished = Finished(**noted["finished"])

    def _note(self) -> None:
        """Write what this run is."""
        finished = None if self.finished is None else vars(self.finished)
        inputs = {"rows": self.listing.count, "digest": self.listing.digest, "blocks": self.listing.blocks}
        told = {"format": FORMAT, "software": f"lens-plugins {__version__}", "finished": finished}
        with replacing(self.notes, error=InputError) as temporary:
            text = json.dumps({**told, "plan": self.plan.to_dict(), "inputs": inputs}, indent=1, ensure_ascii=False)
            _write_bytes(temporary, text.encode())

    def _forget_parts(self, *, keep_folder: bool = False) -> None:
        if not self.folder.is_dir():
            return
        for name in os.listdir(self.folder):
            if PART.fullmatch(name) or name.startswith(".part-"):
                (self.folder / name).unlink()
        if not keep_folder and not self.is_folder:
            self.close()
            with suppress(OSError):  # something of the user's is in it
                self.folder.rmdir()

    def _forget_pictures(self) -> None:
        for name in os.listdir(self.pictures) if self.pictures.is_dir() else ():
            if re.fullmatch(r"\d{9}\.png", name):
                (self.pictures / name).unlink()

    # Writing

    def _part(self, first: int, count: int) -> Path:
        return self.folder / f"part-{first:012d}-{count:06d}{self.kind}"

    def _with_picture(self, row: dict[str, Any]) -> dict[str, Any]:
        """The line with the name of its picture in place of the picture."""
        if not isinstance(row.get("picture"), bytes):
            return row
        place = self.pictures / f"{row['row']:09d}.png"
        with replacing(place, error=InputError) as temporary:
            _write_bytes(temporary, row["picture"])
        return {**row, "picture": f"{self.pictures.name}/{place.name}"}

    def _write(self, part: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        with replacing(part, error=InputError) as temporary:
            if self.kind == ".parquet":
                _arrow("parquet").write_table(as_arrow(rows, self.columns, _arrow()), temporary)
                _write_bytes(temporary, None)
            elif self.kind == ".csv":
                text = io.StringIO(newline="")
                csv.writer(text).writerows([text_of(row.get(name)) for name in self.columns] for row in rows)
                _write_bytes(temporary, text.getvalue().encode())
            else:
                lines = [json.dumps({name: as_json(row.get(name)) for name in self.columns}, ensure_ascii=False) for row in rows]
                _write_bytes(temporary, "".join(line + "\n" for line in lines).encode())

    def _assemble(self) -> int:
        """All parts as one file; returns how many rows have failed."""
        if self.kind == ".parquet":
            return self._assemble_parquet()
        failed = 0
        with replacing(self.output, error=InputError) as temporary, open(temporary, "wb") as file:
            if self.kind == ".csv":
                text = io.StringIO(newline="")
                csv.writer(text).writerow(self.columns)
                file.write(text.getvalue().encode())
            for first, count in self.done:
                part = self._part(first, count)
                data = part.read_bytes()
                rows = list(_numbers(data, self.kind))
                self._check(part, [number for number, _ in rows], first, count)
                failed += sum(error for _, error in rows)
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return failed

    def _assemble_parquet(self) -> int:
        pa, parquet = _arrow(), _arrow("parquet")
        failed, held = 0, []
        with replacing(self.output, error=InputError) as temporary:
            with parquet.ParquetWriter(temporary, schema_of(self.columns, pa)) as writer:
                for first, count in self.done:
                    table = self._table(first, count)
                    failed += table.column("error").length() - table.column("error").null_count
                    held.append(table)
                    if sum(map(len, held)) >= _GROUP:
                        writer.write_table(pa.concat_tables(held))
                        held = []
                if held:
                    writer.write_table(pa.concat_tables(held))
            _write_bytes(temporary, None)
        return failed

    def _check_folder(self) -> int:
        tables = (self._table(first, count, ["row", "error"]) for first, count in self.done)
        return sum(len(table) - table.column("error").null_count for table in tables)

    def _table(self, first: int, count: int, columns: list[str] | None = None) -> Any:
        part = self._part(first, count)
        try:
            # A partitioned folder would give its names as columns.
            table = _arrow("parquet").ParquetFile(part).read(columns=columns)
        except (_arrow().ArrowException, OSError) as error:
            raise CheckpointError(f"{part} cannot be read ({reason_of(error)}); delete it and run again.") from error
        self._check(part, table.column("row").to_pylist(), first, count)
        return table

    def _check(self, part: Path, numbers: Sequence[int], first: int, count: int) -> None:
        if list(numbers) != list(range(first, first + count)):
            raise CheckpointError(
                f"{part} holds {len(numbers)} rows, others than its name says; delete it and run again."
            )


def other_inputs(listing: Listing, noted: Mapping[str, Any]) -> list[str]:
    """What a list of inputs has otherwise than the one that a run noted; nothing where they are the same."""
    if noted["digest"] == listing.digest:
        return []
    pairs = zip(listing.blocks, noted["blocks"])
    same = next((number for number, (mine, theirs) in enumerate(pairs) if mine != theirs), None)
    place = "" if same is None else f", the first other one from row {same * BLOCK} on"
    return [f"inputs: {noted['rows']} rows there, {listing.count} now{place}"]


def _numbers(data: bytes, kind: str) -> Iterator[tuple[int, bool]]:
    """Number of each row of a part, and whether it has failed; numbers of damaged lines are -1."""
    try:
        if kind == ".csv":
            for cells in csv.reader(io.StringIO(data.decode(), newline="")):
                yield int(cells[0]), bool(cells[-1])
        else:
            for line in data.splitlines():
                row = json.loads(line)
                yield row["row"], row["error"] is not None
    except (ValueError, KeyError, IndexError, TypeError, csv.Error):
        yield -1, False


def _write_bytes(path: Path, data: bytes | None) -> None:
    """Write a file, or leave it as it is, and wait until the disk has it."""
    with open(path, "wb" if data is not None else "r+b") as file:
        if data is not None:
            file.write(data)
            file.flush()
        os.fsync(file.fileno())


def _arrow(module: str = "") -> ModuleType:
    return require(f"pyarrow.{module}".rstrip("."), extra="batch", purpose="A Parquet table")


@contextmanager
def _told(output: Path) -> Iterator[None]:
    """What a disk refuses, as one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{brief(output)} cannot be written: {error.strerror or error}. What was written before is kept; free the "
            "disk and run again."
        ) from error
