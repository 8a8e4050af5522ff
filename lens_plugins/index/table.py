"""An index: one row for each file, one table for each space, in a folder or bucket of LanceDB. N rows, E width."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from .._optional import require
from ..catalog import find_modality
from ..errors import CheckpointError, ConfigError, DoesNotFit, InputError, LensPluginsError, Unsupported
from ..files.opening import reason_of
from ..hosts.vectors import HostDigests, content_digest, embed_each, settings_of, text_digest
from ..inputs.base import several
from ..inputs.names import modality_of, parse_source

if TYPE_CHECKING:
    import pyarrow as pa

    from ..hosts.base import Host
    from ..hosts.messages import Text
    from ..inputs.base import Source
    from ..inputs.settings import InputSettings
    from ..lens.lens import Lens

__all__ = ["EXACT_ROWS", "Added", "Index", "Stats"]

EXACT_ROWS = 20_000
"""Up to so many rows are compared one by one; above, an approximate index (IVF-PQ) finds the nearest."""
_FORMAT = 1
_KEY = b"lens_plugins"  # of our notes in the metadata of a table's schema
_WORDS = ("file", "modality", "content", "lens")
_AT_ONCE = 1024  # files whose rows are written in one commit
_ROWS_AT_ONCE = 65_536  # the same where vectors are there
_PROBES, _REFINE = 20, 40  # partitions searched, and how many candidates each wanted row is chosen from
_PARTITION = 4096  # rows of a partition of the approximate index
_PART_WIDTH = 8  # numbers of a vector that are one byte in it
_GROWN = 4  # times as many rows as the approximate index was trained on: it is made anew
_TRAINED = "vector_of_"  # name of the approximate index, before how many rows it was trained on
_OLD = timedelta(seconds=1)  # former versions of the table go then; readers always ask the newest one
_TEXTS = b"lens_plugins_texts"  # note of the vectors' column: digest of the text tower that texts are asked with
_Note = Callable[[int], Any]


@dataclass(frozen=True)
class Added:
    """What became of the files that were given.

    Attributes:
        added: embedded, and new in the index or in place of an older content.
        known: of a content that was there already, under this name or another, by the same lens.
        removed: rows of files that are gone.
        failed: files that cannot be read, and why.
    """

    added: int = 0
    known: int = 0
    removed: int = 0
    failed: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Stats:
    """What an index holds.

    Attributes:
        rows: all of them.
        modalities: rows of each.
        space: "text" or "vision".
        width: E.
        host: name and the beginning of the digest of its weights.
        lenses: of each modality the lenses that made its vectors, by name and digest.
        exact: whether every row is compared, or an approximate index is used.
        bytes: on the disk; None where it is not on this one.
    """

    rows: int
    modalities: Mapping[str, int]
    space: str
    width: int
    host: str
    lenses: Mapping[str, Sequence[str]]
    exact: bool
    bytes: int | None


@dataclass(frozen=True)
class _Notes:
    """What a table says of itself."""

    space: str
    host: str
    digest: str
    format: int = _FORMAT


@dataclass(frozen=True)
class _File:
    path: str  # absolute
    modality: str
    content: str  # sha256 of its bytes

    @property
    def source(self) -> str:
        return f"{self.modality}:{self.path}"


@dataclass
class _Chunk:
    """Files of one commit: those to embed, rows that are made without, and files that cannot be opened."""

    new: list[_File] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    known: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


class Index:
    """Vectors of files that last: add files, find those nearest to anything the host reads.

    Rows are written whole or not at all, in commits of about a thousand files, so an index that is killed while it
    grows opens with what was committed, and adding again goes on from there. Vectors of another host or lens are
    refused.

    Args:
        path: a folder, or what LanceDB takes: ``s3://bucket/things.lance``.
        host: what embeds; None: the index is looked at, searched by vectors, and rows are removed.
        space: as in `Host.embed`; None: "text" where the host has a text tower.

    Raises:
        MissingDependency: LanceDB is absent.
        CheckpointError: there is something else at this place.
        DoesNotFit: it holds vectors of another host.
    """

    def __init__(self, path: str | os.PathLike[str], host: Host | None = None, *, space: str | None = None) -> None:
        self._lancedb = require("lancedb", extra="index", purpose="An index")
        self.path = os.fspath(path)
        self.host = host
        if host is not None:
            space = space or ("vision" if host.text_tower is None else "text")
        self._place = self.path if "://" in self.path else os.path.expanduser(self.path)
        tables: list[str] = []
        if "://" in self._place or os.path.lexists(self._place):  # connecting makes a folder
            with self._told():
                tables = list(self._connect().list_tables().tables)
        if space is None and len(tables) == 1:
            space = tables[0]
        if space is None:
            there = f"tables {', '.join(tables)}; give space=" if tables else "no table; build it first"
            raise InputError(f"The index {self.path} has {there}.")
        self.space = space
        self._table: Any = None
        self._used: dict[str, tuple[Lens | None, InputSettings]] = {}
        self._lenses: dict[str, str] = {}  # of each modality, as rows name them
        self._checked: set[tuple[str, int]] = set()  # lenses that made all rows of their modality, at a version
        self._texts_checked = False
        if space in tables:
            with self._told():
                self._table = self._connect().open_table(space)
            self._check_host(self._notes())

    def __len__(self) -> int:
        with self._told():
            return 0 if self._table is None else int(self._table.count_rows())

    # Changing

    def add(self, files: Iterable[str | os.PathLike[str]], *, batch_size: int = 16, note: _Note | None = None) -> Added:
        """Put files into the index; those whose content is there already cost no more than reading them.

        Args:
            files: paths; "depth:room.png" names the modality in front.
            batch_size: inputs that go through the host together.
            note: told how many files are done, after each commit.

        Raises:
            ConfigError: the index was opened without a host.
            DoesNotFit: the index holds vectors of another lens of a modality.
        """
        if isinstance(files, (str, os.PathLike)):
            raise ConfigError(f"{os.fspath(files)!r} is one file; give a list of them.")
        host = self._need_host("files are added")
        coming, done = iter(files), Added()
        while names := list(islice(coming, _AT_ONCE)):
            chunk = self._sorted(names)
            rows, failed = list(chunk.rows), list(chunk.failed)
            vectors = embed_each(host, [one.source for one in chunk.new], space=self.space, batch_size=batch_size)
            for one, vector in zip(chunk.new, vectors):
                if isinstance(vector, Tensor):
                    rows.append(self._row(one, vector.numpy()))
                else:
                    failed.append((one.path, str(vector)))
                    self._delete(
                        f"file = {_quoted(one.path)} AND modality = {_quoted(one.modality)}"
                    )  # its old content
            if rows:
                self._write(self._table_of(rows))
            made = len(rows) - len(chunk.rows)
            done = Added(done.added + made, done.known + chunk.known, 0, [*done.failed, *failed])
            if note:
                note(done.added + done.known + len(done.failed))
        self._tidy()
        return done

    def add_rows(self, rows: pa.Table) -> int:
        """Take over rows of another index of the same host, as its ``to_arrow(vectors=True)`` gives them.

        So indices that were built apart become one. Rows of files that are there are replaced.

        Raises:
            DoesNotFit: they are of another host, space or width.
        """
        raw = (rows.schema.metadata or {}).get(_KEY)
        mine = self._schema(1).metadata[_KEY] if self._table is None else self._table.schema.metadata[_KEY]
        width = None if self._table is None else self._table.schema.field("vector").type
        if (
            raw != mine
            or rows.column_names != [*_WORDS, "vector"]
            or width not in (None, rows.schema.field("vector").type)
        ):
            raise DoesNotFit(
                f"The rows are no rows of an index like {self.path}: they need its columns and to_arrow's metadata, "
                "with the same host, space and width."
            )
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            self._write(rows.slice(start, _ROWS_AT_ONCE))
        self._tidy()
        return len(rows)

    def as_rows(
        self, files: Sequence[str], vectors: np.ndarray | Tensor, modality: str, *, content: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows for `add_rows` of vectors that this host made elsewhere.

        Args:
            files: absolute paths, or whatever else names the things.
            vectors: (N, E), of unit length.
            modality: of all.
            content: sha256 of each file's bytes, so that `add` knows it again; None: it does not.
        """
        if not len(files) == len(vectors) == len(content or files) > 0:
            raise ConfigError(
                f"There are {len(files)} files and {len(vectors)} vectors; give one for each, at least 1."
            )
        lens, empty = self._lens(find_modality(modality).name), [""] * len(files)
        rows = zip(files, content or empty, np.asarray(vectors, np.float32))
        return self._table_of([
            {"file": file, "modality": modality, "content": digest, "lens": lens, "vector": vector}
            for file, digest, vector in rows
        ])  # fmt: skip

    def remove(self, *places: str | os.PathLike[str]) -> int:
        """Forget files, folders and what a pattern matches ("sounds/*.wav"); returns how many rows went."""
        return sum(self._delete(_places(place)) for place in places)

    def remove_gone(self, folder: str | os.PathLike[str]) -> int:
        """Forget the files of a folder that are no longer there; returns how many rows went."""
        rows = self.to_arrow(path=folder).column("file").to_pylist()
        gone = [file for file in dict.fromkeys(rows) if not os.path.exists(file)]
        return sum(
            self._delete(f"file IN ({', '.join(map(_quoted, gone[at : at + _AT_ONCE]))})")
            for at in range(0, len(gone), _AT_ONCE)
        )

    # Asking

    def search(
        self,
        query: Source | Text | Sequence[Source | Text] | Tensor,
        top: int = 10,
        *,
        modality: str | Sequence[str] | None = None,
        path: str | os.PathLike[str] | None = None,
        query_modality: str | Sequence[str | None] | None = None,
    ) -> pa.Table:
        """The files nearest to a query of any modality, best first.

        Args:
            query: as in `Host.search`, or a vector (E,) that `Host.embed` made.
            top: how many.
            modality: of the files that take part; None: all.
            path: folder, file or pattern of those that take part; None: all.
            query_modality: of the query, as in `Host.embed`.

        Returns:
            Columns file, modality and score, the cosine.

        Raises:
            DoesNotFit: the vector has another width, or the query's lens is not the one that the index knows.
            InputError: the index is empty.
        """
        if top < 1:
            raise ConfigError(f"top is {top}; it must be at least 1.")
        if self._table is None:
            raise InputError(f"The index {self.path} has 0 rows; build it first.")
        vector = (
            query if isinstance(query, Tensor) and query_modality is None else self._embedded(query, query_modality)
        )
        width = self._table.schema.field("vector").type.list_size
        if vector.shape != (width,):
            raise DoesNotFit(f"The query has the shape {tuple(vector.shape)}; vectors of {self.path} have ({width},).")
        where = _where(modality, path)
        with self._told():
            try:
                found = self._nearest(vector, top, where)
            except (RuntimeError, OSError):  # its files went in between, since somebody adds
                self._table.checkout_latest()
                found = self._nearest(vector, top, where)
        return _scored(found)

    def to_arrow(
        self, *, modality: str | Sequence[str] | None = None, path: str | os.PathLike[str] | None = None,
        vectors: bool = False,
    ) -> pa.Table:  # fmt: skip
        """Rows as Arrow: file, modality, content (sha256), lens, and (N, E) vectors where asked for."""
        columns = [*_WORDS, *(["vector"] if vectors else [])]
        if self._table is None:
            return _pyarrow().table({name: [] for name in columns})
        with self._told():
            found = self._rows(_where(modality, path), columns)
        return found.replace_schema_metadata(self._table.schema.metadata)

    def stats(self) -> Stats:
        """What the index holds.

        Raises:
            InputError: nothing.
        """
        if self._table is None:
            raise InputError(f"The index {self.path} has 0 rows; build it first.")
        notes = self._notes()
        with self._told():
            counts = self.to_arrow().group_by(["modality", "lens"]).aggregate([("file", "count")]).to_pylist()
        modalities: dict[str, int] = {}
        lenses: dict[str, list[str]] = {}
        for row in sorted(counts, key=lambda row: (row["modality"], row["lens"])):
            modalities[row["modality"]] = modalities.get(row["modality"], 0) + row["file_count"]
            lenses.setdefault(row["modality"], []).append(row["lens"])
        folder = Path(os.path.expanduser(self.path))
        held = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) if "://" not in self.path else None
        return Stats(
            sum(modalities.values()), modalities, self.space, self._table.schema.field("vector").type.list_size,
            f"{notes.host} ({notes.digest[:12]})", lenses, not self._approximate(), held,
        )  # fmt: skip

    def _nearest(self, vector: Tensor, top: int, where: str) -> pa.Table:  # (E,) -> at most `top` rows
        asked = self._table.search(vector.numpy(), vector_column_name="vector").distance_type("cosine").limit(top)
        if self._approximate():
            asked = asked.nprobes(_PROBES).refine_factor(_REFINE)
        if where:
            asked = asked.where(where, prefilter=True)
        return asked.select(["file", "modality", "_distance"]).to_arrow()

    def _connect(self) -> Any:
        # An interval of 0: each question is of the newest version, so that older ones can be deleted.
        return self._lancedb.connect(self._place, read_consistency_interval=timedelta(0))

    # Hosts and lenses

    @cached_property
    def _digests(self) -> HostDigests:
        return HostDigests(self._need_host("vectors are made"))

    @property
    def _host_digest(self) -> str:
        return self._digests.of()

    def _need_host(self, what: str) -> Host:
        if self.host is None:
            raise ConfigError(
                f"The index {self.path} was opened without a host, and {what} by one; give Index(path, host)."
            )
        return self.host

    def _notes(self) -> _Notes:
        try:
            raw = json.loads((self._table.schema.metadata or {})[_KEY])
            notes = _Notes(**raw)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.path} is a table of LanceDB, but no index of lens-plugins.") from error
        if notes.format > _FORMAT:
            raise CheckpointError(f"{self.path} has format {notes.format}; this version reads {_FORMAT}: update.")
        return notes

    def _check_host(self, notes: _Notes) -> None:
        if self.host is not None and notes.digest != self._host_digest:
            raise DoesNotFit(
                f"{self.path} holds vectors of {notes.host} ({notes.digest[:12]}); this host is {self.host.name} "
                f"({self._host_digest[:12]}). Give that host, or build another index."
            )

    def _lens(self, modality: str) -> str:
        """The lens of a modality by name and digest of weights and settings; it may not change within an index."""
        host = self._need_host("inputs are embedded")
        used = host.lenses.get(modality), settings_of(host, modality)
        if self._used.get(modality) != used:  # none so far, or another lens has been plugged
            lens, settings = self._used[modality] = used
            told = json.dumps(settings.to_dict(), sort_keys=True)
            digest = hashlib.sha256(f"{self._digests.of(modality)} {told}".encode()).hexdigest()
            name = "the host's own" if lens is None else lens.source.name if lens.source else "a lens"
            self._lenses[modality] = f"{name} ({digest[:12]})"
        return self._lenses[modality]

    def _check_lens(self, modality: str) -> None:
        """Refuse a lens other than the one that made the rows of a modality."""
        mine = self._lens(modality)
        if self._table is None or (mine, self._table.version) in self._checked:
            return
        others = self._rows(f"modality = {_quoted(modality)} AND lens != {_quoted(mine)}", ["lens"], limit=1)
        if len(others):
            raise DoesNotFit(
                f"{self.path} holds {modality} vectors of {others.column('lens')[0].as_py()}; the one in use is "
                f"{mine}. Use that lens, or remove those rows first."
            )
        self._checked.add((mine, self._table.version))

    def _check_texts(self, host: Host) -> None:
        """Refuse texts by another tower than the first ones that were asked, whose digest the table keeps."""
        if self._texts_checked or (mine := text_digest(host)) is None:
            return
        field = self._table.schema.field("vector")
        first = (field.metadata or {}).get(_TEXTS, b"").decode()
        if first and first != mine:
            raise DoesNotFit(
                f"{self.path} was asked texts by the text tower ({first[:12]}); this host has another one "
                f"({mine[:12]}), of which texts mean something else. Give that text tower, or build another index."
            )
        if not first:
            with suppress(RuntimeError, OSError, AttributeError):  # not to be written, or a LanceDB before 0.33
                self._table.update_field_metadata({"path": "vector", "metadata": {_TEXTS.decode(): mine}})
        self._texts_checked = True

    # Rows

    def _embedded(self, query: Any, modality: str | Sequence[str | None] | None) -> Tensor:  # (E,)
        from ..hosts.messages import Text

        host = self._need_host("queries are embedded")
        told = [modality] if isinstance(modality, str) else list(modality or ())
        paths = [one for one in several(query) if isinstance(one, (str, os.PathLike)) and Text.of(one) is None]
        for name in {*filter(None, told), *(_modality(os.fspath(path)) for path in paths if not told)}:
            self._check_lens(name)
        if any(Text.of(one) is not None for one in several(query)):
            self._check_texts(host)
        return normalize(host.embed(query, self.space, modality=modality).mean(dim=0), dim=-1)

    def _sorted(self, names: Sequence[str | os.PathLike[str]]) -> _Chunk:
        """Which files are to be embedded, and the rows of those whose content is known under another name."""
        files: dict[tuple[str, str], _File] = {}
        chunk = _Chunk()
        for name in names:
            try:
                os.fspath(name).encode()
                modality = _modality(os.fspath(name))
                path = os.path.abspath(parse_source(os.fspath(name))[1])
                files[path, modality] = _File(path, modality, content_digest(Path(path)))
                self._check_lens(modality)
            except (InputError, Unsupported) as error:
                chunk.failed.append((os.fspath(name), str(error)))
            except UnicodeEncodeError:
                told = repr(os.fspath(name))
                chunk.failed.append((told, f"{told} is no name in UTF-8, which an index needs; rename it."))
        rows = self._held([one.content for one in files.values()])
        held = {(row["content"], row["modality"]): row for row in rows}
        same = {(row["file"], row["content"], row["modality"]) for row in rows}
        for one in files.values():
            key = (one.content, one.modality)
            chunk.known += key in held
            if key not in held:
                chunk.new.append(one)
            elif (one.path, *key) not in same:
                chunk.rows.append({**held[key], "file": one.path})
        return chunk

    def _held(self, contents: Sequence[str]) -> list[dict[str, Any]]:
        if self._table is None or not contents:
            return []
        with self._told():
            return self._rows(f"content IN ({', '.join(map(_quoted, contents))})").to_pylist()

    def _row(self, one: _File, vector: np.ndarray) -> dict[str, Any]:
        return {
            "file": one.path, "modality": one.modality, "content": one.content, "lens": self._lens(one.modality),
            "vector": vector,
        }  # fmt: skip

    def _table_of(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        pa = _pyarrow()
        vectors = np.stack([np.asarray(row["vector"], np.float32) for row in rows])  # (N, E)
        words = [pa.array([row[name] for row in rows], pa.string()) for name in _WORDS]
        columns = [*words, pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])]
        return pa.Table.from_arrays(columns, schema=self._schema(vectors.shape[1]))

    def _write(self, rows: pa.Table) -> None:
        """One commit: rows of files that are there are replaced."""
        with self._told():
            if self._table is None:
                self._table = self._connect().create_table(self.space, schema=rows.schema)
            merging = self._table.merge_insert(["file", "modality"])
            merging.when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def _schema(self, width: int) -> pa.Schema:
        pa = _pyarrow()
        notes = _Notes(self.space, self._need_host("rows are made").name, self._host_digest)
        columns = [*((name, pa.string()) for name in _WORDS), ("vector", pa.list_(pa.float32(), width))]
        return pa.schema(columns, metadata={_KEY: json.dumps(asdict(notes)).encode()})

    def _tidy(self) -> None:
        """Join small files of the table, bring its indices up to date where it is large, and let old versions go."""
        if self._table is None:
            return
        with self._told():
            rows = len(self)
            if rows >= max(EXACT_ROWS, _GROWN * self._trained_on()):
                self._make_approximate(rows)
            self._table.optimize(cleanup_older_than=_OLD)

    def _make_approximate(self, rows: int) -> None:
        from lancedb.index import BTree, IvfPq

        old, width = self._vector_indices(), self._table.schema.field("vector").type.list_size
        self._table.create_index(
            "vector",
            config=IvfPq(
                distance_type="cosine",
                num_partitions=max(1, rows // _PARTITION),
                num_sub_vectors=width // _PART_WIDTH if width % _PART_WIDTH == 0 else None,
            ),
            name=f"{_TRAINED}{rows}",
        )
        for name in old:
            self._table.drop_index(name)
        if not old:
            self._table.create_index("content", config=BTree())

    def _vector_indices(self) -> list[str]:
        return [index.name for index in self._table.list_indices() if "vector" in index.columns]

    def _trained_on(self) -> int:
        """Rows that the approximate index was trained on; 0: there is none."""
        counts = (name.removeprefix(_TRAINED) for name in self._vector_indices())
        return max((int(count) if count.isdecimal() else EXACT_ROWS for count in counts), default=0)

    def _approximate(self) -> bool:
        return bool(self._vector_indices())

    def _rows(self, where: str, columns: Sequence[str] | None = None, limit: int | None = None) -> pa.Table:
        asked = self._table.search()
        asked = asked.where(where) if where else asked
        asked = asked.select(list(columns)) if columns else asked
        return asked.limit(limit or max(len(self), 1)).to_arrow()

    def _delete(self, where: str) -> int:
        if self._table is None:
            return 0
        with self._told():
            return int(self._table.delete(where).num_deleted_rows)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of LanceDB as one sentence."""
        try:
            yield
        except LensPluginsError:
            raise
        except Exception as error:  # lance raises OSError, RuntimeError and ValueError of any kind
            raise CheckpointError(f"The index {self.path} cannot be used: {reason_of(error)}") from error


def _pyarrow() -> Any:
    return require("pyarrow", extra="index", purpose="An index")


def _modality(name: str) -> str:
    modality = modality_of(name)
    if modality is None:
        path = parse_source(name)[1]
        raise InputError(
            f"{path} does not say by its ending what it is; put the modality in front, as depth:{path.name}."
        )
    return modality


def _scored(found: pa.Table) -> pa.Table:
    pa = _pyarrow()
    scores = [1 - distance for distance in found.column("_distance").to_pylist()]
    return found.drop_columns("_distance").append_column("score", pa.array(scores, pa.float32()))


def _where(modality: str | Sequence[str] | None, path: str | os.PathLike[str] | None) -> str:
    """A condition of LanceDB; "" for all rows."""
    parts = []
    if modality is not None:
        names = [find_modality(name).name for name in ([modality] if isinstance(modality, str) else modality)]
        if not names:
            raise ConfigError("There are 0 modalities to search in; give at least 1, or None for all.")
        parts.append(f"modality IN ({', '.join(map(_quoted, names))})")
    if path is not None:
        parts.append(f"({_places(path)})")
    return " AND ".join(parts)


def _places(place: str | os.PathLike[str]) -> str:
    """The condition of a file, of all files in a folder, or of those that a pattern with * and ? matches."""
    path = os.path.abspath(os.path.expanduser(os.fspath(place)))
    if ("*" in path or "?" in path) and not os.path.lexists(path):  # a name may hold them, too
        return f"file LIKE {_quoted(_like(path, '%', '_'))}"
    return f"file = {_quoted(path)} OR file LIKE {_quoted(_like(path) + '/%')}"


def _like(path: str, star: str = "*", mark: str = "?") -> str:
    for letter in "\\%_":
        path = path.replace(letter, f"\\{letter}")
    return path.replace("*", star).replace("?", mark)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"
