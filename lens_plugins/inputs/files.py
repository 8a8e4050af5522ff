"""The former place of `lens_plugins.files.opening`; goes when nothing names it any more."""

from ..files.opening import MAX_FILE_BYTES, check_file, parsing, read_bytes

__all__ = ["MAX_FILE_BYTES", "check_file", "parsing", "read_bytes"]
