"""Reproducible measurements: each module has `run`, which returns a printable table; ``python -m`` prints it."""

__all__: list[str] = []
