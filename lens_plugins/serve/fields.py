"""Fields of a request: what OpenAI's clients send, what this server adds, and what is refused and why."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ..catalog import find_modality, modalities
from ..errors import ConfigError
from .refusals import BadRequest, TooLarge
from .uploads import Upload

__all__ = [
    "GENERATION",
    "Link",
    "check_count",
    "check_known",
    "choice",
    "content_parts",
    "from_base64",
    "number",
    "read_json",
    "texts",
    "upload_of",
    "whole",
]

GENERATION = ("num_beams", "top_k", "repetition_penalty", "length_penalty", "min_new_tokens", "no_repeat_ngram_size")
"""Options of transformers' `generate` that a request may set."""
_ENDINGS = {
    "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/wave": ".wav", "audio/vnd.wave": ".wav", "audio/flac": ".flac",
    "audio/mpeg": ".mp3", "audio/mp3": ".mp3", "audio/ogg": ".ogg", "image/jpeg": ".jpg", "image/tiff": ".tif",
    "image/x-exr": ".exr", "image/aces": ".exr", "model/gltf-binary": ".glb", "model/gltf+json": ".gltf",
    "model/obj": ".obj", "model/stl": ".stl", "model/ply": ".ply", "application/x-npy": ".npy",
}  # fmt: skip
_DATA = re.compile(r"data:(?P<mime>[\w.+-]*/[\w.+-]*)?(?P<rest>(?:;[^,;]*)*),", re.ASCII)
_LONGEST_URL = 4096


class Link(str):
    """A web address that a request names; fetched where the server allows its domain.

    Args:
        name: of the file.
        modality: what it is.
    """

    name: str = ""
    modality: str | None = None


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        BadRequest: it is none.
    """

    def refuse(word: str) -> Any:
        raise BadRequest(f"The body holds {word}, which is no number of JSON.")

    try:
        found = json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise BadRequest(f"The body is no JSON ({why}); send an object.") from error
    if not isinstance(found, dict):
        raise BadRequest(f"The body is a JSON {type(found).__name__}; it must be an object.")
    return found


def check_known(given: Mapping[str, Any], known: Sequence[str], refused: Mapping[str, tuple[Any, ...]] = {}) -> None:
    """Refuse fields that nobody knows, and those that would change the answer and are not supported.

    Args:
        given: the request.
        known: its fields.
        refused: fields that are taken only with these values, which mean nothing.

    Raises:
        BadRequest: names the field.
    """
    for name, value in given.items():
        if name in refused:
            if value is not None and not any(type(value) is type(one) and value == one for one in refused[name]):
                raise BadRequest(f"{name} is not supported by this server; leave it out.", name)
        elif name not in known:
            near = get_close_matches(name, [*known, *refused], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise BadRequest(f"There is no field {name!r} in such a request{hint}", name)


def whole(given: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    """A whole number within bounds, or None where there is none.

    Raises:
        BadRequest: it is anything else.
    """
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name} is {_brief(value)}; it must be a whole number from {least} to {most}.", name)
    return value


def number(given: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    """A number within bounds, or None where there is none.

    Raises:
        BadRequest: it is anything else.
    """
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise BadRequest(f"{name} is {_brief(value)}; it must be a number from {least:g} to {most:g}.", name)
    return float(value)


def choice(given: Mapping[str, Any], name: str, known: Sequence[str]) -> str | None:
    """One of some words, or None where there is none.

    Raises:
        BadRequest: it is anything else.
    """
    value = given.get(name)
    if value is not None and not (isinstance(value, str) and value in known):
        raise BadRequest(f"{name} is {_brief(value)}; it must be {' or '.join(known)}.", name)
    return value


def texts(given: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    """A text or a list of texts.

    Raises:
        BadRequest: it is anything else, or too many.
    """
    value = given.get(name)
    found = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found) or len(found) > most:
        raise BadRequest(f"{name} is {_brief(value)}; it must be a text or a list of at most {most} texts.", name)
    return tuple(found)


def content_parts(content: Any, where: str) -> list[str | Upload | Link]:
    """The parts of a message or an input: texts, files and links, in order.

    Args:
        content: a text, or a list of parts as OpenAI has them.
        where: names the field.

    Raises:
        BadRequest: a part that is none, or of a type that is not known.
    """
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise BadRequest(f"{where} is {_brief(content)}; it must be a text or a list of parts.", where)
    return [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]


def _part(part: Any, where: str) -> str | Upload | Link:
    kinds = ("text", "file", "input_audio", *(f"{name}_url" for name in modalities()))
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in kinds:
        raise BadRequest(f"{where} has the type {_brief(kind)}; known types: {', '.join(kinds)}.", where)
    value = part.get(kind)
    if kind == "text":
        if not isinstance(value, str):
            raise BadRequest(f"{where} has {_brief(value)} in place of its text.", where)
        return value
    value = {"url": value} if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise BadRequest(f"{where} has {_brief(value)} in place of its {kind}; give an object.", where)
    modality = _text(part, "modality", where) or _text(value, "modality", where) or None
    if modality is not None:
        try:
            find_modality(modality)
        except ConfigError as error:
            raise BadRequest(f"{where}: {error}", where) from error
    if kind == "input_audio":
        name = f"recording.{_text(value, 'format', where) or 'wav'}"
        return Upload(from_base64(_text(value, "data", where), where), name, modality or "audio")
    if kind == "file":
        if value.get("file_id") is not None:
            raise BadRequest(f"{where} has a file_id; this server keeps no files: send file_data.", where)
        return upload_of(_text(value, "file_data", where), where, _text(value, "filename", where), modality)
    own = kind.removesuffix("_url")
    if modality not in (None, own):
        raise BadRequest(f"{where} is a {kind} and says modality={modality!r}; give one of them.", where)
    return upload_of(_text(value, "url", where), where, _text(value, "filename", where), own)


def upload_of(url: str, where: str, name: str = "", modality: str | None = None) -> Upload | Link:
    """What a data URI holds, or the link that another address is.

    Raises:
        BadRequest: it is no address of either kind.
    """
    found = _DATA.match(url)
    if found is None:
        if re.match(r"https?://", url[:8], re.IGNORECASE) and len(url) <= _LONGEST_URL:
            link = Link(url)
            link.name, link.modality = name, modality
            return link
        raise BadRequest(
            f"{where} is {_brief(url)}, which is no data URI; send the file itself, as data:image/png;base64,…", where
        )
    options = [word.strip() for word in found["rest"].split(";") if word.strip()]
    data = url[found.end() :]
    coded = any(word.lower() == "base64" for word in options)
    content = from_base64(data, where) if coded else unquote_to_bytes(data)
    mime = (found["mime"] or "").lower()
    told = next((word[5:] for word in options if word.lower().startswith("name=")), "")
    ending = _ENDINGS.get(mime) or (mimetypes.guess_extension(mime) if mime else None) or ""
    ending = "" if ending in (".bin", ".txt", ".json") else ending
    return Upload(content, name or told or (f"file{ending}" if ending else ""), modality)


def from_base64(data: str, where: str) -> bytes:
    """The bytes of base64, as browsers and clients write it.

    Raises:
        BadRequest: it is no base64.
    """
    try:
        return base64.b64decode("".join(data.split()) + "=" * (-len(data) % 4 if "=" not in data else 0), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{where} is no base64 ({error}); encode the bytes of the file.", where) from error


def check_count(parts: Sequence[Any], most: int, where: str) -> None:
    """Refuse more inputs than a request may have.

    Raises:
        TooLarge: with both numbers.
    """
    count = sum(not isinstance(part, str) or isinstance(part, Link) for part in parts)
    if count > most:
        raise TooLarge(f"{where} has {count} inputs; at most {most} go in one request.", where)


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise BadRequest(f"{where} has {_brief(found)} as its {name}; it must be a text.", where)
    return found


_SHOWN: Final = 60


def _brief(value: Any) -> str:
    """A value as a sentence shows it."""
    text = repr(value) if not isinstance(value, (dict, list)) else f"a {type(value).__name__} of {len(value)}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
