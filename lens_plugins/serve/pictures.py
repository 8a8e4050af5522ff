"""`POST /v1/images/generations` and `/v1/images/edits`, for hosts that draw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..errors import Unsupported
from .calls import Call
from .completions import DRAWING, drawing_of, picture_of, reading_of
from .fields import Link, check_count, check_known, content_parts, whole
from .refusals import BadRequest, NotFound
from .uploads import Upload

__all__ = ["edit", "generate"]

_OURS = ("seed", "fuse", "clips", "settings", "deadline", *DRAWING)
_TAKEN = ("model", "prompt", "n", "size", "response_format", "user", "quality", "style", "moderation", *_OURS)
_REFUSED: dict[str, tuple[Any, ...]] = {
    "output_format": ("png",), "output_compression": (100,), "background": ("auto", "opaque"), "stream": (False,),
    "partial_images": (0,), "mask": (), "input_fidelity": ("low", "high"),
}  # fmt: skip
_WHOLE = ("n", "seed", "steps", "noise_level", "candidates", "clips", "output_compression", "partial_images")


async def generate(call: Call) -> Any:
    """Draw what a prompt says, or what files of any modality (`input`) show."""
    given = await call.json()
    check_known(given, (*_TAKEN, "input"), _REFUSED)
    value = given.get("input", [])
    parts = content_parts([value] if isinstance(value, dict) else value, "input")
    files = [part for part in parts if isinstance(part, (Upload, Link))]
    if len(files) < len(parts):
        raise BadRequest("input holds a text; what is to be drawn is said in prompt.", "input")
    return await _drawn(call, given, files)


async def edit(call: Call) -> Any:
    """Draw a change to one or several files of any modality; sent as a form, as OpenAI's client does."""
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise BadRequest(f"The body has the type {kind or 'unknown'!r}; send it as multipart/form-data.")
    given, files = await _form(call)
    check_known(given, _TAKEN, _REFUSED)
    if not files:
        raise BadRequest("There is no image to edit; send one as the field image.", "image")
    if not given.get("prompt"):
        raise BadRequest("There is no prompt; say what is to be changed.", "prompt")
    return await _drawn(call, given, files)


class _InMemory(MultiPartParser):
    """A form whose files stay in memory: the limit on the body bounds them."""

    spool_max_size = 2**40


async def _form(call: Call) -> tuple[dict[str, Any], list[Upload | Link]]:
    """Fields and files of a form."""
    most = call.server.settings.max_parts
    parser = _InMemory(call.request.headers, call.request.stream(), max_files=most, max_fields=64)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise BadRequest(f"The form cannot be read ({error.message}).") from error
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise BadRequest(f"The form cannot be read ({error}).") from error
    given: dict[str, Any] = {}
    files: list[Upload | Link] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in ("image", "image[]"):
                raise BadRequest(f"{name} is not supported by this server; send files as image.", name)
            files.append(Upload(await value.read(), value.filename or ""))
        else:
            given[name] = _plain(name, value)
    return given, files


def _plain(name: str, value: str) -> Any:
    """A field of a form as JSON would have it."""
    try:
        if name in _WHOLE:
            return int(value)
        if name in ("guidance", "deadline"):
            return float(value)
    except ValueError as error:
        raise BadRequest(f"{name} is {value[:60]!r}; it must be a number.", name) from error
    return value == "true" if name == "stream" else value


async def _drawn(call: Call, given: Mapping[str, Any], files: list[Upload | Link]) -> Any:
    """The pictures, with the codes and the seed of each."""
    limits, engine = call.server.settings, call.server.engine
    name = _artist(call, given)
    prompt = given.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise BadRequest(f"prompt is a {type(prompt).__name__}; it must be a text.", "prompt")
    if not files and not (prompt or "").strip():
        raise BadRequest("There is neither a prompt nor an input; say what is to be drawn.", "prompt")
    if given.get("response_format") not in (None, "b64_json"):
        raise BadRequest(
            "response_format must be b64_json; this server keeps no pictures at addresses.", "response_format"
        )
    check_count(files, limits.max_parts, "input")
    reading, drawing = reading_of(given), drawing_of(given)
    seed = whole(given, "seed", 0, 2**62)
    call.set_deadline(given)
    inputs = await call.read(files, name, clips=reading["clips"] or 1, settings=reading["settings"])
    ticket = engine.imagine(
        inputs,
        prompt or None,
        name,
        count=whole(given, "n", 1, limits.max_choices) or 1,
        seed=0 if seed is None else seed,
        fuse=reading["fuse"],
        slot=call.slot,
        **drawing,
    )
    replies = await call.wait(ticket)
    data = [
        {"b64_json": picture_of(reply.images[0]), "codes": reply.codes[0].tolist(), "seed": reply.seed}
        for reply in replies
    ]
    return JSONResponse(
        {"created": int(time.time()), "data": data, "model": name, "output_format": "png"}, headers=call.headers(ticket)
    )


def _artist(call: Call, given: Mapping[str, Any]) -> str:
    """The model that draws: the one asked for, or the first that can."""
    if given.get("model") is not None:
        name, host = call.host(given)
        if not hasattr(host, "imagine"):
            raise Unsupported(f"{host.name} writes text and cannot make a picture; a SEED-LLaMA host can.")
        return name
    able = [name for name, host in call.server.engine.hosts.items() if hasattr(host, "imagine")]
    if not able:
        raise NotFound("No model here draws; start the server with a SEED-LLaMA host.", "model")
    return able[0]
