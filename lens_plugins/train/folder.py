"""The folder of a run: which files lie in it, whether it may be written, and that one training alone writes it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import IO, Any

import psutil

from ..errors import CheckpointError, ConfigError
from ..files.folders import CONFIG_FILE, WEIGHTS_FILE
from ..files.opening import local_path

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["RunFolder"]

_held: set[str] = set()  # by this process: the system's locks do not tell two runs of one process apart


class RunFolder:
    """Where a run writes.

    Args:
        path: made when the run begins.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = local_path(path)
        self.checkpoint = self.path / "checkpoint.pt"
        self.metrics = self.path / "metrics.jsonl"
        self.request = self.path / "train.json"
        self.text_head = self.path / "text_head.safetensors"
        self.anchors = self.path / "anchors"
        self._lock = self.path / ".training.lock"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Refuse what would lose an earlier training, and a resumption of none.

        Raises:
            ConfigError: there is a lens or an unfinished run, and neither is asked for; or both are.
            CheckpointError: there is nothing to resume, or the path is no folder.
        """
        if resume and overwrite:
            raise ConfigError("resume and overwrite exclude each other: one goes on, the other begins anew.")
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"{self.path} is a file; give a folder for the lens.")
        if resume and not self.checkpoint.is_file():
            raise CheckpointError(f"There is no {self.checkpoint} to resume from; start the run without resume.")
        if resume or overwrite:
            return
        lens = (self.path / WEIGHTS_FILE).exists() or (self.path / CONFIG_FILE).exists()
        if lens or self.checkpoint.exists():
            what = "a lens" if lens else "the state of an unfinished run"
            raise ConfigError(
                f"{self.path} already holds {what}. Give another folder, go on with --resume, or replace it with "
                "--overwrite (in Python resume=True or overwrite=True)."
            )

    def clear(self, keep: str | os.PathLike[str] | None = None) -> None:
        """Remove the state of an earlier run, so that nothing of it is taken for this one's.

        Its lens stays until the new one is whole, and picture anchors stay for good.

        Args:
            keep: a text head that the new run has been given.

        Raises:
            CheckpointError: a file may not be removed.
        """
        kept = None if keep is None else local_path(keep).resolve()
        for path in (self.checkpoint, self.metrics, self.request, self.text_head):
            if path.resolve() == kept:
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise CheckpointError(f"{path} cannot be replaced: {error.strerror or error}.") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out while the block runs. The lock of a process that is gone is taken over.

        Raises:
            ConfigError: another training writes here; names its process and machine.
            CheckpointError: the folder cannot be written.
        """
        name = str(self.path.resolve())
        if name in _held:
            raise self._taken({"pid": os.getpid(), "host": platform.node()})
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = self._open_lock()
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        _held.add(name)
        try:
            yield
        finally:
            _held.discard(name)
            with suppress(OSError):
                self._lock.unlink()
            file.close()

    def _open_lock(self) -> IO[str]:
        """The lock file, locked for this process and with its name in it."""
        while True:
            file = os.fdopen(os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")
            try:
                self._claim(file)
                file.seek(0)
                file.truncate()
                json.dump(_this_process(), file)
                file.flush()
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(self._lock)):
                        return file
                # The owner before removed the file between our opening and locking it: nobody else would see it.
            except BaseException:
                file.close()
                raise
            file.close()

    def _claim(self, file: IO[str]) -> None:
        file.seek(0)
        owner = _parsed(file.read())
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it when the process ends
                return
            except (BlockingIOError, PermissionError):
                raise self._taken(owner) from None
            except OSError:  # a disk without locks: what is written in the file must do
                pass
        if _is_running(owner):
            raise self._taken(owner)

    def _taken(self, owner: dict[str, Any]) -> ConfigError:
        return ConfigError(
            f"Another training writes into {self.path}: process {owner.get('pid', 'unknown')} on "
            f"{owner.get('host', 'an unknown machine')}. Wait for it, end it, or give another folder."
        )


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": platform.node(), "began": psutil.Process().create_time()}


def _parsed(text: str) -> dict[str, Any]:
    """Who wrote a lock file; {} where it is empty or torn."""
    with suppress(ValueError):
        owner = json.loads(text)
        if isinstance(owner, dict):
            return owner
    return {}


def _is_running(owner: dict[str, Any]) -> bool:
    """Whether the process lives. One of another machine cannot be asked, and is taken to live."""
    if not owner:
        return False
    if owner.get("host") != platform.node():
        return True
    try:  # another process may have the number by now
        return abs(psutil.Process(int(owner["pid"])).create_time() - float(owner["began"])) < 1
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
