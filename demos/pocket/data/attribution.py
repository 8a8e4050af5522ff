"""ATTRIBUTION.md beside the weights: every model, picture and package that went into them, its maker, its licence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from . import sound_sources, sounds
from .sources import SOURCES, find_source

__all__ = ["attribution"]

LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-3.0-US": "https://creativecommons.org/licenses/by/3.0/us/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit",
    "GPL-2.0-only": "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html",
}
PICTURE_PACKAGES = {
    "fluent": "@lobehub/fluent-emoji-3d",
    "noto": "emoji-datasource-google",
    "twemoji": "emoji-datasource-twitter",
    "stamps": "tuxpaint-stamps-default",
    "clipart": "openclipart-png",
    "materials": "sweethome3d",
}
HEAD = """# Attribution

The weights in this folder were trained on the works below. Models were turned, rendered from many sides under varied
light and sampled as point clouds; pictures were cropped, resized, freed of their paper and laid over backgrounds.
The works themselves are not part of the package. In the repository alone, `heldout/` holds small renderings and point
clouds of 125 models that no training saw, depth maps of the same, short held-out parts of recordings and a picture of
each thing that they are of, under the licences of the originals, which its index files name; so does `samples/`. EEG
and tactile frames are simulated. Stamps, and the recordings that come with them, are under the GPL.
The convolutions of `lens-audio` began as those of [aiSFX](https://github.com/alisonbma/aisfx) (Alison Bernice Ma and
Alexander Lerch, 2022; [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/)) and were changed: norms folded into
them, another spectrogram in front, trained further.
`PYTHONPATH=demos python -m pocket.data attribution` writes this page.
"""


def _packages(used: Iterable[str]) -> list[str]:
    used = set(used)
    rows = ["| package | version | what | by | licence | sha256 |", "| --- | --- | --- | --- | --- | --- |"]
    known = {source.name: source for source in (*SOURCES, *sound_sources.SOURCES.values())}
    heard = {source.name for source in sound_sources.SOURCES.values()}
    for source in known.values():
        if source.name in used | heard or source.kind == "pip":
            name = f"[{source.name}]({source.home})"
            cells = (name, source.version, source.what, source.creator, source.licence, f"`{source.sha256}`")
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _models(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The catalogue models by licence, catalogue and creator, each by its catalogue name and number."""
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows:
        number = row["object"].removeprefix(row["catalogue"] + "-").split("-")[0]
        groups[row["licence"], row["catalogue"], row["creator"] or "not named"].append(
            f"{row['catalogue_name']} ({number})"
        )
    lines = []
    for licence, catalogue in sorted({key[:2] for key in groups}):
        of_catalogue = {key[2]: names for key, names in groups.items() if key[:2] == (licence, catalogue)}
        count = sum(map(len, of_catalogue.values()))
        lines += ["", f"### {catalogue}: {count} models, [{licence}]({LICENCES[licence]})", ""]
        lines += [f"- **{creator}**: {', '.join(names)}" for creator, names in sorted(of_catalogue.items())]
    return lines


def _pictures(counts: Counter[tuple[str, str]]) -> list[str]:
    lines = []
    for (origin, licence), count in sorted(counts.items()):
        source = find_source(PICTURE_PACKAGES[origin])
        link = f"[{licence}]({LICENCES[licence]})" if licence in LICENCES else licence
        lines.append(f"- {count} pictures of {source.name} {source.version}, {source.creator}: {link}")
    return lines


def attribution(models: Sequence[dict[str, Any]], pictures: Sequence[dict[str, Any]], generated: int) -> str:
    """The page.

    Args:
        models: rows of objects.jsonl of the source "sweethome".
        pictures: rows of the index files of the picture packs.
        generated: how many objects Infinigen made.
    """
    shown = [row for row in pictures if row["licence"] != "generated"]
    counts = Counter((row["style"] if row["source"] == "emoji" else row["source"], row["licence"]) for row in shown)
    used = {"sweethome3d-furniture", "emojibase-data"} | {PICTURE_PACKAGES[origin] for origin, _ in counts}
    made = (
        f"{generated} objects were made with [Infinigen](https://infinigen.org) 1.15.5 (Princeton Vision & Learning "
        "Lab, BSD-3-Clause) and drawn with Blender 4.2.0. They are nobody else's work."
    )
    if formula := len(pictures) - len(shown):
        made += f" So are {formula} pictures of materials, drawn by formula."
    sections = [
        HEAD,
        "## Packages\n",
        *_packages(used),
        "\n## 3D models of the Sweet Home 3D catalogues",
        *_models(models),
        "\n## Pictures\n",
        *_pictures(counts),
        "\n## Recordings\n",
        *sounds.credit_lines(),
        "\n## Generated objects\n",
        made,
    ]
    return "\n".join(sections) + "\n"
