"""Every error a user can meet, each with the exit code that the command line returns for it."""

from __future__ import annotations

__all__ = [
    "LensPluginsError",
    "InputError",
    "ConfigError",
    "CheckpointError",
    "DoesNotFit",
    "MissingDependency",
    "Unsupported",
    "Interrupted",
    "InternalError",
]


class LensPluginsError(Exception):
    """Base of all errors raised on purpose: a sentence that names the input, what is wrong and what would be right."""

    exit_code = 2

    def __str__(self) -> str:
        """The sentence, with what a terminal would obey or cannot show (from a file's name or content) spelt out."""
        text = super().__str__()
        return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


class InputError(LensPluginsError):
    """A file or array that cannot be read as the modality asked for."""


class ConfigError(LensPluginsError):
    """A configuration with an unknown field, a wrong value or a format from a newer version."""


class CheckpointError(LensPluginsError):
    """A weight file with missing, unexpected or misshapen tensors, or one that is not a weight file."""


class DoesNotFit(LensPluginsError):
    """A lens and a host whose numbers do not match."""


class MissingDependency(LensPluginsError):
    """An optional package that the call needs and that is not importable."""


class Unsupported(LensPluginsError):
    """Something that this host, lens or modality cannot do."""


class Interrupted(LensPluginsError):
    """Work that a signal ended; the sentence says what of it is kept, and where."""

    exit_code = 130  # as a shell gives it for Ctrl-C


class InternalError(LensPluginsError):
    """Our fault: a state that no input should lead to."""

    exit_code = 1
