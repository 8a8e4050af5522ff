"""One page to look at: each input, its pictures, and what every system said of it. A single HTML file."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.writing import replacing
from ..inputs import read
from ..inputs.preview import preview
from .caption_metrics import names_it

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..hosts.base import Host
    from .captions import CaptionResult

__all__ = ["write_page"]

_SIDE = 168  # pixels of a drawing
_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{border-top:1px solid #ccc;padding:.5em;text-align:left;"
    "vertical-align:top}img{height:168px;display:block}.right{background:#e4f4e4}.none{color:#999}"
    "pre{background:#f6f6f6;padding:1em;overflow:auto}"
)


def write_page(result: CaptionResult, host: Host, file: Path, *, title: str = "What each system says") -> None:
    """Write the page; a cell is green where the text names the thing's class.

    Raises:
        LensPluginsError: the file cannot be written.
    """
    systems = list(result.said)
    pictures = any(thing.picture is not None for thing in result.things)
    head = ["input", *(["picture"] if pictures else []), "references", *systems]
    rows = [_row(result, host, number, systems, pictures) for number in range(len(result.things))]
    page = (
        f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><pre>{escape(result.text())}</pre>"
        f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>\n{''.join(rows)}</table>\n"
    )
    with replacing(file) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _row(result: CaptionResult, host: Host, number: int, systems: list[str], pictures: bool) -> str:
    thing = result.things[number]
    cells = [f"<td>{_drawn(preview(host.read(thing.source, thing.modality)))}{escape(thing.id)}</td>"]
    if pictures:
        seen = "" if thing.picture is None else _drawn(preview(read(thing.picture, "image")))
        cells.append(f"<td>{seen}</td>")
    told = "<br>".join(map(escape, thing.references)) or escape(thing.label or "")
    cells.append(f"<td>{told}</td>")
    for system in systems:
        text = result.said[system][number]
        kind = ' class="right"' if thing.label is not None and names_it(text, thing) else ""
        cells.append(f"<td{kind}>{escape(text) or '<span class=none>nothing</span>'}</td>")
    return f"<tr>{''.join(cells)}</tr>\n"


def _drawn(picture: Image) -> str:
    """A picture as part of the page, small."""
    small = picture.convert("RGB").resize((_SIDE * picture.width // picture.height, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
