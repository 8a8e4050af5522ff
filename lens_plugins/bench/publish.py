"""Put what the benches printed into pages: `python -m lens_plugins.bench.publish PAGE... < OUTPUT`.

    lens-plugins bench pocket --all | python -m lens_plugins.bench.publish --tree COMMIT lens-audio/MODEL_CARD.md

A table of a page whose head is that of a printed one gets the printed rows, a line that names objects and machine the
printed line, and words "on tree COMMIT" the commit. Everything else of a page stays as it is; nothing is copied by
hand, and a page that shows a figure shows the last one.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError, LensPluginsError

__all__ = ["main", "published", "tables_of"]

_RULE = re.compile(r"\|( --- \|)+")
_TREE = re.compile(r"\bon tree [\w-]+")
_MEASURED = re.compile(r"\d+ (held-out objects of \d+ classes[^;]*); .*torch \S+")


def tables_of(text: str) -> dict[str, list[str]]:
    """The rows of each Markdown table by its head line. A table ends where a line does not begin with a bar."""
    lines, found = text.splitlines(), {}
    for start, line in enumerate(lines[1:], 1):
        if _RULE.fullmatch(line):
            rows = lines[start + 1 :]
            end = next((i for i, row in enumerate(rows) if not row.startswith("|")), len(rows))
            found[lines[start - 1]] = rows[:end]
    return found


def published(
    page: str, tables: Mapping[str, Sequence[str]], measured: Mapping[str, str], tree: str | None = None
) -> tuple[str, int]:
    """The page with new rows and new lines, and how many of its tables are among the printed ones.

    Args:
        page: Markdown.
        tables: of `tables_of`.
        measured: whole lines by what they are about ("held-out objects of 45 classes").
        tree: the commit on which they were printed; None: the page's own words stay.
    """
    lines, put, known = page.splitlines(), [], 0
    while lines:
        line = lines.pop(0)
        about = _MEASURED.fullmatch(line)
        put.append(measured.get(about[1], line) if about else line)
        if line in tables and lines and _RULE.fullmatch(lines[0]):
            known += 1
            put += [lines.pop(0), *tables[line]]
            while lines and lines[0].startswith("|"):
                lines.pop(0)
    text = "\n".join(put) + "\n"
    return text if tree is None else _TREE.sub(f"on tree {tree}", text), known


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or that of the error, which is printed; pages are written only when each of them has a table."""
    made = argparse.ArgumentParser("python -m lens_plugins.bench.publish", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--tree", help="the commit on which the tables were printed")
    made.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    given = made.parse_args(arguments)
    printed = sys.stdin.read()
    try:
        done = {page: _filled(page, printed, given.tree) for page in given.pages}
    except LensPluginsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    for page, (text, count) in done.items():
        page.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{page}: {count} tables\n")
    return 0


def _filled(page: Path, printed: str, tree: str | None) -> tuple[str, int]:
    tables = tables_of(printed)
    if not tables:
        raise InputError("There is no table on the standard input; give it what `lens-plugins bench pocket` prints.")
    try:
        text = page.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{page} cannot be read: {error.strerror}.") from error
    measured = {m[1]: m[0] for line in printed.splitlines() if (m := _MEASURED.fullmatch(line))}
    filled, count = published(text, tables, measured, tree)
    if not count:
        heads = "; ".join(tables)
        raise InputError(f"{page} has none of the tables on the standard input, whose heads are: {heads}")
    return filled, count


if __name__ == "__main__":
    sys.exit(main())
