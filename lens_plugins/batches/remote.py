"""A folder of parts at any address, which many machines write; names and notes are those of `Parts`."""

from __future__ import annotations

import io
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import __version__
from .._optional import require
from ..errors import CheckpointError, ConfigError, InputError, InternalError, Unsupported
from ..files.opening import brief, local_path, reason_of
from .columns import Kind, as_arrow, schema_of
from .parts import FORMAT, PART, Finished, other_inputs
from .plan import Plan
from .rows import Listing

__all__ = ["BUSY", "RemoteParts", "Written", "check_address", "part_name"]

_WHOLE = ("s3", "gcs", "gs", "abfs", "abfss", "az", "adl", "oss")  # stores that show a file when it is complete
_PICTURE = re.compile(r"\d{9}\.png")
BUSY = "_busy"
"""A column of answered rows that is not written: the seconds that a host took."""
_NOTES, _LOCK, _UNFINISHED = "_plan.json", "_lock", ".part-"


@dataclass(frozen=True)
class Written:
    """A part that has been written.

    Attributes:
        first: its first row.
        count: how many it has.
        failed: how many of them have failed.
        busy: seconds that a host took to answer them.
    """

    first: int
    count: int
    failed: int
    busy: float = 0.0


def part_name(first: int, count: int) -> str:
    """Of a part, without its folder."""
    return f"part-{first:012d}-{count:06d}.parquet"


def check_address(output: str | os.PathLike[str]) -> None:
    """Refuse a place that cannot be a folder of parts, before anything is started.

    Raises:
        ConfigError: a file, or memory that each process has for itself.
        MissingDependency: pyarrow is absent.
    """
    name = os.fspath(output)
    protocol, colon, rest = name.partition("://")
    path = rest if colon else name
    _arrow()
    if os.path.splitext(path.rstrip("/"))[1]:
        raise ConfigError(
            f"{name} has an ending; Ray writes a folder of Parquet parts, whose name has none, as out or s3://bucket/out."
        )
    if colon and protocol == "memory":
        raise ConfigError(f"{name} is memory that each process has for itself; give a folder or an object store.")
    if not path.strip("/"):
        raise ConfigError(f"{name} names no folder; give one, as s3://bucket/out.")


class RemoteParts:
    """Parts of one run, and who may write them. It travels to other processes without its lock.

    A part is written whole: under another name that is then changed, or to a store that shows only complete files. Its
    name says its rows, so that a part which is written twice is there once.

    Args:
        output: a folder, or an address of pyarrow or fsspec: ``s3://bucket/out``.
        plan: what the run does.
        listing: of its inputs.
        overwrite: begin afresh, whatever is there.

    Raises:
        InputError: something else is at this place, or it cannot be reached.
        ConfigError: what is there was begun with another plan or other inputs; names what differs.
    """

    def __init__(
        self, output: str | os.PathLike[str], plan: Plan, listing: Listing, *, overwrite: bool = False
    ) -> None:
        check_address(output)
        self.output = os.fspath(output)
        self.plan, self.listing = plan, listing
        self.columns: Mapping[str, Kind] = {}
        self.finished: Finished | None = None
        self._lock: Any = None
        with self._told():
            self.files, self.folder = _place(self.output)
            self.files.create_dir(self.folder, recursive=True)
            self._take_lock()
            self._open(overwrite)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lock": None}

    def close(self) -> None:
        """Give the place back to other runs."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            with self._told():
                self.files.delete_file(f"{self.folder}/{_LOCK}")

    def done(self) -> list[tuple[int, int]]:
        """First row and number of rows of every part, in order.

        Raises:
            CheckpointError: two parts hold the same row, or one is cut otherwise than into units.
        """
        named = (PART.fullmatch(name) for name in self._names())
        found = sorted((int(name[1]), int(name[2])) for name in named if name)
        end, size, rows = 0, self.plan.batch_size, self.listing.count
        for first, count in found:
            whole = first % size == 0 and (count % size == 0 or first + count == rows)
            if first < end or first + count > rows or not whole or not count:
                place = f"{self.output}/{part_name(first, count)}"
                raise CheckpointError(f"{place} does not go with the other parts; delete it and run again.")
            end = first + count
        return found

    def write(self, blocks: Iterable[Any]) -> list[Written]:
        """Write tables of whole units; each run of consecutive rows is a part.

        Raises:
            InternalError: a unit is cut.
            InputError: the place refuses.
        """
        tables = [table for table in map(_table, blocks) if len(table)]
        return [self._write_part(_arrow().concat_tables(run)) for run in _runs(tables)]

    def with_picture(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A line with the name of its picture in place of the picture, which is written beside the parts' folder."""
        if not isinstance(row.get("picture"), bytes):
            return dict(row)
        name = f"{row['row']:09d}.png"
        pictures = f"{self.folder}.pictures"
        with self._told():
            self.files.create_dir(pictures, recursive=True)
            self._put(f"{pictures}/{name}", row["picture"])
        return {**row, "picture": f"{os.path.basename(pictures)}/{name}"}

    def finish(self, written: Sequence[Written]) -> Finished:
        """Note that all rows are there.

        Args:
            written: the parts of this run; those of earlier ones are looked at.

        Raises:
            CheckpointError: a row is in no part, or a part holds other rows than its name says.
        """
        end, failed, new = 0, 0, {(part.first, part.count): part.failed for part in written}
        with self._told():
            for first, count in self.done():
                if first > end:
                    raise CheckpointError(f"{self.output} lacks the rows {end} to {first - 1}; run again.")
                end = first + count
                failed += new[first, count] if (first, count) in new else self._failed(first, count)
            if end < self.listing.count:
                raise CheckpointError(f"{self.output} lacks the rows {end} to {self.listing.count - 1}; run again.")
            self.finished = Finished(self.listing.count, failed)
            self._note()
        return self.finished

    # Opening

    def _open(self, overwrite: bool) -> None:
        noted = self._read_notes()
        names = [name for name in self._names() if name != _LOCK]
        if overwrite:
            if noted is not None:
                self.files.delete_file(f"{self.folder}/{_NOTES}")
            self._delete(name for name in names if PART.fullmatch(name))
            pictures = f"{self.folder}.pictures"
            self._delete((name for name in self._names(pictures) if _PICTURE.fullmatch(name)), pictures)
        elif noted is not None:
            self._resume(noted)
        elif names:
            raise InputError(
                f"{brief(self.output)} is there already and is no result that this run began; give an empty folder or "
                "another name."
            )
        self._delete(name for name in names if name.startswith(_UNFINISHED))  # of a run that was killed
        if self.finished is None:
            self._note()

    def _resume(self, noted: Mapping[str, Any]) -> None:
        if noted.get("format") != FORMAT:
            raise CheckpointError(
                f"{self.output}/{_NOTES} has format {noted.get('format')!r}; this version reads {FORMAT}."
            )
        differs = [*self.plan.differences(noted["plan"]), *other_inputs(self.listing, noted["inputs"])]
        if differs:
            raise ConfigError(
                f"{brief(self.output)} was begun otherwise ({'; '.join(differs)}). Run it as it was begun, give "
                "another name, or overwrite it."
            )
        if noted["finished"] is not None:
            self.finished = Finished(**noted["finished"])

    def _take_lock(self) -> None:
        """One run at a time on a disk that can say so; an object store cannot."""
        if self.files.type_name != "local":
            return
        try:
            import fcntl
        except ImportError:  # Windows
            return
        self._lock = open(f"{self.folder}/{_LOCK}", "w", encoding="ascii")  # noqa: SIM115 - held by the run
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            self._lock = None
            raise InputError(f"Another run is writing {brief(self.output)}; wait for its end, or stop it.") from error

    def _read_notes(self) -> dict[str, Any] | None:
        place = f"{self.folder}/{_NOTES}"
        if not self.files.get_file_info(place).is_file:
            return None
        try:
            with self.files.open_input_stream(place) as file:
                noted = json.loads(file.read())
            noted["plan"], noted["inputs"]["rows"], noted["finished"]  # a file of ours has them
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.output}/{_NOTES} is no note of a run of lens-plugins; give another name."
            ) from error
        return dict(noted)

    def _note(self) -> None:
        finished = None if self.finished is None else vars(self.finished)
        inputs = {"rows": self.listing.count, "digest": self.listing.digest, "blocks": self.listing.blocks}
        told = {"format": FORMAT, "software": f"lens-plugins {__version__}", "finished": finished}
        text = json.dumps({**told, "plan": self.plan.to_dict(), "inputs": inputs}, indent=1, ensure_ascii=False)
        self._put(f"{self.folder}/{_NOTES}", text.encode())

    # Files

    def _names(self, folder: str | None = None) -> list[str]:
        from pyarrow import fs

        found = self.files.get_file_info(fs.FileSelector(folder or self.folder, allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file)

    def _delete(self, names: Iterable[str], folder: str | None = None) -> None:
        for name in names:
            self.files.delete_file(f"{folder or self.folder}/{name}")

    def _put(self, place: str, data: bytes) -> None:
        """Write a file whole, over the one that may be there."""
        protocol = self.output.partition("://")[0] if "://" in self.output else ""
        if protocol in _WHOLE:
            with self.files.open_output_stream(place) as file:
                file.write(data)
            return
        folder, _, name = place.rpartition("/")
        beside = f"{folder}/{_UNFINISHED}{name}-{uuid.uuid4().hex}"
        with self.files.open_output_stream(beside) as file:
            file.write(data)
        self.files.move(beside, place)

    def _write_part(self, table: Any) -> Written:
        rows = table.column("row")
        first, count = rows[0].as_py(), len(table)
        size = self.plan.batch_size
        if first % size or (count % size and first + count != self.listing.count):
            raise InternalError(f"A part of {count} rows from row {first} on cuts a unit of {size}.")
        parquet = require("pyarrow.parquet", extra="ray", purpose="A run on Ray")
        data, schema = io.BytesIO(), schema_of(self.columns, _arrow())
        parquet.write_table(table.select(schema.names).cast(schema), data)
        with self._told():
            self._put(f"{self.folder}/{part_name(first, count)}", data.getvalue())
        busy = sum(table.column(BUSY).to_pylist()) if BUSY in table.column_names else 0.0
        return Written(first, count, count - table.column("error").null_count, busy)

    def _failed(self, first: int, count: int) -> int:
        """How many rows of a part have failed, if it holds those that its name says."""
        pa, parquet = _arrow(), require("pyarrow.parquet", extra="ray", purpose="A run on Ray")
        place = f"{self.output}/{part_name(first, count)}"
        try:
            with self.files.open_input_file(f"{self.folder}/{part_name(first, count)}") as file:
                table = parquet.ParquetFile(file).read(columns=["row", "error"])
        except (pa.ArrowException, OSError) as error:
            raise CheckpointError(f"{place} cannot be read ({reason_of(error)}); delete it and run again.") from error
        if table.column("row").to_pylist() != list(range(first, first + count)):
            raise CheckpointError(
                f"{place} holds {len(table)} rows, others than its name says; delete it and run again."
            )
        return count - table.column("error").null_count

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What a disk or store refuses, as one sentence."""
        try:
            yield
        except (OSError, _arrow().ArrowException) as error:
            raise InputError(
                f"{brief(self.output)} cannot be written or read: {reason_of(error)}. What was written before is kept; "
                "run again."
            ) from error


def _runs(tables: Sequence[Any]) -> Iterator[list[Any]]:
    """Tables in groups of consecutive rows."""
    run: list[Any] = []
    for table in tables:
        if run and table.column("row")[0].as_py() != run[-1].column("row")[-1].as_py() + 1:
            yield run
            run = []
        run.append(table)
    if run:
        yield run


def _table(block: Any) -> Any:
    from ray.data.block import BlockAccessor

    return BlockAccessor.for_block(block).to_arrow()


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]) -> Any:
    """Lines of the result as a table of pyarrow."""
    return as_arrow(rows, columns, _arrow())


def _place(output: str) -> tuple[Any, str]:
    """A file system of pyarrow and the folder in it; what pyarrow does not know is asked of fsspec.

    Raises:
        Unsupported: neither knows it.
    """
    from pyarrow import fs

    if "://" not in output:
        return fs.LocalFileSystem(), os.path.abspath(local_path(output))
    try:
        files, path = fs.FileSystem.from_uri(output)
    except (ValueError, TypeError, NotImplementedError):
        fsspec = require("fsspec", extra="ray", purpose=f"The address {output}")
        try:
            found, path = fsspec.core.url_to_fs(output)
        except (ValueError, ImportError) as error:
            raise Unsupported(f"The address {output} cannot be opened: {reason_of(error)}.") from error
        files = fs.PyFileSystem(fs.FSSpecHandler(found))
    return files, path.rstrip("/")


def _arrow() -> Any:
    return require("pyarrow", extra="ray", purpose="A run on Ray")
