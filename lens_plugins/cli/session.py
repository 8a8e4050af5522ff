"""A host for one command: inputs are read first, the host is loaded when it is first needed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import LENSES, find_host, find_modality, folders, modalities
from ..errors import InputError, Unsupported
from .options import HostOptions, InputOptions, pairs
from .output import complain, note, progress

if TYPE_CHECKING:
    from .._config import FrozenConfig
    from ..hosts.base import Host
    from ..inputs import ModalityInput
    from ..lens.lens import Lens

__all__ = ["Session", "file_names", "lens_sources"]

_MOST_SHOWN = 64  # inputs that --show draws


class Session:
    """One host, the lenses that the inputs need, and the inputs.

    A lens is loaded with the first input of its modality and the host after the first inputs have been read, so that
    a broken file is reported at once and not after minutes.

    Args:
        options: which host and lenses.
        reading: what files do not say of themselves; what is not given is as the lens was trained.
    """

    def __init__(self, options: HostOptions, reading: InputOptions | None = None) -> None:
        self._options = options
        self._reading = reading or InputOptions()
        self._loading = options.loading()
        self._sources = lens_sources(options)
        self._lenses: dict[str, Lens] = {}
        self._host: Host | None = None
        self._shown: list[ModalityInput] = []
        self._unused = set(self._reading.by_modality())  # modalities that --set names and no file has been
        if self._reading.show is not None:
            from ..hosts.seed_llama.images import check_target

            check_target(self._reading.show)

    @property
    def name(self) -> str:
        """The host as it was asked for."""
        return self._options.host

    @property
    def host(self) -> Host:
        """The host, with the lenses plugged that have been needed so far."""
        if self._host is None:
            from .. import load_host

            with progress(f"loading {self.name}"):
                self._host = load_host(self.name, **self._loading)
            settings = self._host.image_settings
            # Pictures have no lens whose settings could be changed; how they are read is the host's.
            self._host.image_settings = settings.from_dict({**settings.to_dict(), **self._reading.settings("image")})
        for modality, lens in self._lenses.items():
            if self._host.lenses.get(modality) is not lens:  # a lens that was given comes before the host's own
                self._host.plug(lens.to(self._host.vit.device))
        return self._host

    @property
    def modalities(self) -> list[str]:
        """What can be read: pictures, and the modalities of the lenses."""
        own = {name for name, row in modalities().items() if row.embedding is None}
        return sorted(own | self._sources.keys() | self._coming.keys())

    def plug(self, modality: str) -> None:
        """Load the lens of a modality before anything is read; pictures, and what the host brings itself, need none.

        Raises:
            CheckpointError: it does not load.
        """
        self._unused.discard(modality)
        if modality in self._sources or (self._reading.settings(modality) and modality in self._coming):
            self._lens(modality)

    def check_host(self) -> None:
        """Refuse a host that is nowhere, before anything else is read or loaded.

        Raises:
            CheckpointError: no such folder, no shipped host and no hub id.
        """
        from ..hosts.source import find_source

        find_source(self.name)

    def read(self, file: str) -> ModalityInput:
        """Read a file as the lens of its modality wants it, or as the host wants pictures; `source` is as given.

        Raises:
            InputError: it cannot be read.
            Unsupported: there is no lens for its modality.
        """
        from ..files.opening import check_file
        from ..inputs.base import read_as
        from ..inputs.names import parse_source

        check_file(parse_source(file)[1])  # before a lens is loaded for it
        return replace(read_as(file, None, self._settings), source=file)

    def _settings(self, modality: str) -> FrozenConfig | None:
        self._unused.discard(modality)
        if find_modality(modality).embedding is None and modality not in self._sources:
            return self.host.image_settings  # through its own patch embedding
        return self._lens(modality).config.input

    def read_all(self, files: Iterable[str]) -> list[ModalityInput]:
        """Read every file, or none.

        Raises:
            InputError: one of them cannot be read.
            Unsupported: there is no lens for the modality of one.
        """
        inputs = [self.read(file) for file in files]
        if inputs:
            self.tell_unused()
        self._show(inputs)
        return inputs

    def read_each(self, files: Iterable[str]) -> tuple[list[ModalityInput], int]:
        """Read what can be read and complain about the rest; returns the inputs and the exit code so far.

        Only what is wrong with a file is passed over: a host or lens that cannot be loaded ends the command.
        """
        inputs, code = [], 0
        for file in files:
            try:
                inputs.append(self.read(file))
            except (InputError, Unsupported) as error:
                complain(error)
                code = error.exit_code
        if inputs:
            self.tell_unused()
        self._show(inputs)
        return inputs, code

    def show(self, files: Iterable[str]) -> None:
        """Draw files for ``--show`` that are read elsewhere; what cannot be read is told there."""
        if self._reading.show is not None:
            readable: list[ModalityInput] = []
            for file in files:
                with suppress(InputError, Unsupported):
                    readable.append(self.read(file))
                if len(readable) == _MOST_SHOWN:
                    break
            self._show(readable)

    def tell_unused(self) -> None:
        """Say once which ``--set`` was for nothing: a depth map without ``depth:`` in front is read as a picture."""
        for modality in sorted(self._unused):
            note(
                f"--set {modality}... changes nothing: none of the files is {find_modality(modality).noun}, "
                f"unless {modality}: stands in front of its name."
            )
        self._unused = set()

    def _show(self, inputs: Sequence[ModalityInput]) -> None:
        """Draw what has been read so far, where ``--show`` asks for it."""
        if self._reading.show is None or not inputs or len(self._shown) >= _MOST_SHOWN:
            return
        from ..hosts.seed_llama.images import save_pictures
        from ..inputs.preview import preview_sheet

        self._shown += inputs[: _MOST_SHOWN - len(self._shown)]
        names = {"inputs": [each.source for each in self._shown]}
        save_pictures({Path(self._reading.show): (preview_sheet(self._shown), names)})

    @property
    def _coming(self) -> dict[str, Lens]:
        """The lenses that come with the host; it is loaded to see them, where its kind has any."""
        from ..hosts.source import brings_lenses

        return self.host.lenses if brings_lenses(self.name) else {}

    def _lens(self, modality: str) -> Lens:
        if modality not in self._lenses:
            if modality in self._sources:
                from .. import load_lens

                with progress(f"loading the {modality} lens"):
                    lens = load_lens(self._sources[modality], modality, dtype=self._options.dtype)
            elif modality in self._coming:
                lens = self._coming[modality]
            else:
                raise Unsupported(self._no_lens(modality))
            lens.config = lens.config.reading(self._reading.settings(modality))
            self._lenses[modality] = lens
        return self._lenses[modality]

    def _no_lens(self, modality: str) -> str:
        have = ", ".join(sorted(self._sources.keys() | self._coming.keys())) or "none"
        return (
            f"{self._options.host} has no lens for {find_modality(modality).noun}; lenses: {have}. "
            f"Give one with --lens {modality}=PATH."
        )


def lens_sources(options: HostOptions) -> dict[str, str]:
    """Where the lens of each modality is: as given, and for a shipped host the shipped ones.

    Raises:
        ConfigError: ``--lens`` without a modality, or with an unknown one.
    """
    given = pairs(options.lens, "--lens")
    for modality in given:
        find_modality(modality)
    shipped = {row.modality: row.id for row in LENSES if row.family == "pocket"} if _ships(options.host) else {}
    return {**shipped, **given}


def file_names(files: Sequence[str]) -> list[str]:
    """The files meant: ``-`` stands for those that stdin names, one a line.

    Raises:
        InputError: there are none.
    """
    names = [name for file in files for name in (_stdin() if file == "-" else [file])]
    if not names:
        raise InputError("stdin names 0 files; at least 1 is needed.")
    return names


def _stdin() -> list[str]:
    return [name for line in sys.stdin if (name := line.strip())]


def _ships(host: str) -> bool:
    row = find_host(host)
    return row is not None and row.source in folders()
