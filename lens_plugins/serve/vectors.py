"""`POST /v1/embeddings` and `POST /v1/classify`: texts and files of any modality in one space."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from ..hosts.messages import Text
from .calls import Call
from .completions import reading_of
from .fields import Link, check_known, choice, content_parts, texts
from .refusals import BadRequest, TooLarge
from .uploads import Upload

__all__ = ["classify", "embed"]

_MOST_LABELS = 1000


async def embed(call: Call) -> Any:
    """Unit vectors of texts and of files, in one space for every modality.

    `input` is a text, a list of texts, or a list in which parts as in a message stand too.
    """
    given = await call.json()
    known = ("model", "input", "encoding_format", "dimensions", "user", "space", "clips", "settings", "deadline")
    check_known(given, known)
    name, host = call.host(given)
    coding = choice(given, "encoding_format", ("float", "base64")) or "float"
    parts = _inputs(given, call.server.settings.max_parts)
    space, reading = choice(given, "space", ("vision", "text")), reading_of(given)
    call.set_deadline(given)
    inputs = await call.read(parts, name, clips=reading["clips"], settings=reading["settings"])
    ticket = call.server.engine.embed(inputs, name, space=space, slot=call.slot)
    vectors = await call.wait(ticket)
    wanted = given.get("dimensions")
    if wanted is not None and wanted != vectors.shape[1]:
        raise BadRequest(f"dimensions is {wanted!r}; {name} makes {vectors.shape[1]}.", "dimensions")
    data = [
        {"object": "embedding", "index": place, "embedding": _coded(vector) if coding == "base64" else vector.tolist()}
        for place, vector in enumerate(vectors)
    ]
    count = sum(len(part.text.split()) if isinstance(part, Text) else host.vit.num_patches for part in parts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return JSONResponse({"object": "list", "data": data, "model": name, "usage": usage}, headers=call.headers(ticket))


async def classify(call: Call) -> Any:
    """Which of some labels each input is, without training."""
    given = await call.json()
    check_known(given, ("model", "input", "labels", "template", "clips", "settings", "deadline"))
    name, _ = call.host(given)
    labels = texts(given, "labels", _MOST_LABELS)
    template = texts(given, "template", 100)
    parts = _inputs(given, call.server.settings.max_parts)
    reading = reading_of(given)
    call.set_deadline(given)
    inputs = await call.read(parts, name, clips=reading["clips"], settings=reading["settings"])
    ticket = call.server.engine.classify(inputs, labels, name, template=template or None, slot=call.slot)
    found = await call.wait(ticket)
    data = [{"object": "classification", "index": place, "labels": one} for place, one in enumerate(found)]
    return JSONResponse({"object": "list", "data": data, "model": name}, headers=call.headers(ticket))


def _inputs(given: Mapping[str, Any], most: int) -> list[Text | Upload | Link]:
    """Texts and files of `input`.

    Raises:
        BadRequest: there is none, or what stands there is neither a text nor a part.
        TooLarge: too many of them.
    """
    value = given.get("input")
    value = [value] if isinstance(value, (str, dict)) else value
    if not isinstance(value, list) or not value:
        raise BadRequest("input must be a text, a part such as an image_url, or a list of such.", "input")
    if any(isinstance(one, (int, list)) for one in value):
        raise BadRequest("input holds numbers of tokens; send the text itself.", "input")
    files = sum(isinstance(one, dict) for one in value)
    if files > most or len(value) > 16 * most:
        raise TooLarge(f"input has {files} files and {len(value) - files} texts; at most {most} and {16 * most}.")
    parts: list[Text | Upload | Link] = []
    for place, one in enumerate(value):
        (part,) = content_parts([{"type": "text", "text": one} if isinstance(one, str) else one], f"input[{place}]")
        parts.append(part if isinstance(part, (Upload, Link)) else Text(part))
    return parts


def _coded(vector: Any) -> str:
    """Little-endian float32 as base64, as OpenAI has it."""
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode("ascii")
