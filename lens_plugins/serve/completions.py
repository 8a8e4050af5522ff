"""`POST /v1/chat/completions`: whole, or as server-sent events."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fastapi.responses import JSONResponse, StreamingResponse

from ..catalog import find_modality
from ..errors import ConfigError, LensPluginsError
from .calls import Call
from .chats import parse_messages, requests_of
from .fields import GENERATION, check_count, check_known, choice, number, texts, whole
from .guard import failed
from .refusals import BadRequest, told
from .settings import ServeSettings

if TYPE_CHECKING:
    from ..hosts.messages import Reply
    from .tickets import Ticket

__all__ = ["DRAWING", "chat", "drawing_of", "extras", "picture_of", "reading_of"]

log = logging.getLogger(__name__)

DRAWING = ("steps", "guidance", "noise_level", "candidates")
"""Fields of `Drawing` that a request may set, besides its size."""
_ASKED = (
    "model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "temperature",
    "top_p", "seed", "stop",
)  # fmt: skip
_OURS = ("fuse", "clips", "settings", "deadline", "force_image", "size", *GENERATION, *DRAWING)
_MEANS_NOTHING = (
    "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "reasoning_effort", "verbosity", "parallel_tool_calls",
)  # fmt: skip
_REFUSED: dict[str, tuple[Any, ...]] = {
    "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"), "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},),
    "presence_penalty": (0, 0.0), "frequency_penalty": (0, 0.0), "modalities": (["text"],), "audio": (),
    "prediction": (), "web_search_options": (), "moderation": (),
}  # fmt: skip


async def chat(call: Call) -> Any:
    """Answer a conversation about files of any modality.

    Besides OpenAI's fields: `fuse`, `clips`, `settings` (by modality), `deadline` (seconds), and options of the model.
    """
    given = await call.json()
    limits, engine = call.server.settings, call.server.engine
    check_known(given, (*_ASKED, *_OURS, *_MEANS_NOTHING), _REFUSED)
    name, host = call.host(given)
    stream = _flag(given, "stream")
    most = whole(given, "max_completion_tokens", 1, limits.max_tokens) or whole(
        given, "max_tokens", 1, limits.max_tokens
    )
    conversation = parse_messages(given.get("messages"))
    files = conversation.files(remembers=hasattr(host, "chat"))
    check_count(files, limits.max_parts, "messages")
    reading = reading_of(given)
    call.set_deadline(given)
    inputs = await call.read(files, name, clips=reading["clips"], settings=reading["settings"])
    request, history = requests_of(
        conversation,
        inputs,
        host=host,
        fuse=reading["fuse"],
        clips=reading["clips"],
        generation=extras(given, host, limits),
    )
    ticket = engine.answer(
        request,
        name,
        history=history,
        count=whole(given, "n", 1, limits.max_choices) or 1,
        stream=stream,
        max_tokens=most,
        temperature=number(given, "temperature", 0, 2),
        top_p=number(given, "top_p", 1e-6, 1),
        seed=whole(given, "seed", -(2**63), 2**63 - 1),
        stop=texts(given, "stop", 4),
        slot=call.slot,
    )
    ignored = ["system"] if conversation.system and not hasattr(host, "chat") else []
    head = {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": name}
    if stream:
        usage = bool((given.get("stream_options") or {}).get("include_usage"))
        return await _streamed(call, ticket, head, usage=usage)
    replies = await call.wait(ticket)
    choices = [
        {"index": place, "message": _message(reply), "finish_reason": why, "logprobs": None}
        for place, (reply, why) in enumerate(zip(replies, ticket.timing.finish))
    ]
    body = {**head, "object": "chat.completion", "choices": choices, "usage": _usage(ticket)}
    if ignored:
        body["lens_plugins"] = {"ignored": ignored}
    return JSONResponse(body, headers=call.headers(ticket))


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} is a {type(value).__name__}; it must be true or false.", name)
    if name == "stream" and not isinstance(given.get("stream_options") or {}, dict):
        raise BadRequest('stream_options must be an object, such as {"include_usage": true}.', "stream_options")
    return bool(value)


def reading_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """How inputs are read and where they meet: fuse, clips, settings by modality.

    Raises:
        BadRequest: a wrong value, or settings of a modality that there is none of.
    """
    settings = given.get("settings")
    if settings is not None and not (
        isinstance(settings, dict) and all(isinstance(fields, dict) for fields in settings.values())
    ):
        raise BadRequest('settings must be objects by modality, such as {"depth": {"kind": "depth_mm"}}.', "settings")
    for modality in settings or {}:
        try:
            find_modality(modality)
        except ConfigError as error:
            raise BadRequest(f"settings: {error}", "settings") from error
    return {
        "fuse": choice(given, "fuse", ("vit", "qformer", "llm")),
        "clips": whole(given, "clips", 1, 64),
        "settings": settings,
    }


def extras(given: Mapping[str, Any], host: Any, limits: ServeSettings) -> dict[str, Any]:
    """Options of generation that OpenAI has no field for.

    Raises:
        BadRequest: a wrong value, or an option of drawing for a host that only writes.
    """
    found = {
        "num_beams": whole(given, "num_beams", 1, 10),
        "top_k": whole(given, "top_k", 1, 1000),
        "repetition_penalty": number(given, "repetition_penalty", 0.01, 10),
        "length_penalty": number(given, "length_penalty", -10, 10),
        "min_new_tokens": whole(given, "min_new_tokens", 0, limits.max_tokens),
        "no_repeat_ngram_size": whole(given, "no_repeat_ngram_size", 0, 100),
    }
    drawing = drawing_of(given)
    if _flag(given, "force_image"):
        drawing["force_image"] = True
    if drawing and not hasattr(host, "imagine"):
        raise BadRequest(f"{host.name} writes text and draws nothing; leave out {', '.join(drawing)}.")
    return {name: value for name, value in found.items() if value is not None} | drawing


def drawing_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """How pictures are drawn.

    Raises:
        BadRequest: a value out of bounds.
    """
    found: dict[str, Any] = {
        "steps": whole(given, "steps", 1, 200),
        "guidance": number(given, "guidance", 0, 100),
        "noise_level": whole(given, "noise_level", 0, 999),
        "candidates": whole(given, "candidates", 1, 8),
        "size": _side(given.get("size")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _side(size: Any) -> int | None:
    """Pixels of each side of "512x512" or 512; None where the model's own is meant."""
    if size in (None, "auto"):
        return None
    width, _, height = str(size).partition("x")
    if not width.isdigit() or (height and height != width) or not 8 <= int(width) <= 1024 or int(width) % 8:
        raise BadRequest(f"size is {size!r}; pictures are square, such as 512x512, from 8 to 1024 by 8.", "size")
    return int(width)


def _message(reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.images:
        message["images"] = _images(reply)
    return message


def _images(reply: Any) -> list[dict[str, Any]]:
    """Pictures of a reply as parts, with their codes and seed beside them."""
    return [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{picture_of(picture)}"},
            "codes": codes,
            "seed": reply.seed,
        }
        for picture, codes in zip(reply.images, reply.codes.tolist())
    ]


def picture_of(picture: Any) -> str:
    """A picture as base64 of a PNG."""
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _usage(ticket: Ticket[Any]) -> dict[str, int]:
    timing = ticket.timing
    return {
        "prompt_tokens": timing.prompt_tokens,
        "completion_tokens": timing.new_tokens,
        "total_tokens": timing.prompt_tokens + timing.new_tokens,
    }


async def _streamed(call: Call, ticket: Ticket[list[Reply]], head: dict[str, Any], *, usage: bool) -> Any:
    """A stream, once its first piece is there: what goes wrong before has a status of its own."""
    pieces = ticket.apieces()
    try:
        first = await call.until_gone(anext(pieces, None), ticket)
    except BaseException:
        ticket.cancel()
        raise

    async def events() -> AsyncIterator[bytes]:
        try:
            async for chunk in _chunks(ticket, pieces, first, usage=usage):
                yield _event({**head, "object": "chat.completion.chunk", **chunk})
        except LensPluginsError as error:
            yield _event({"error": told(error)[1]})
        except Exception:
            log.exception("The stream %s failed.", head["id"])
            yield _event({"error": told(failed(call.request))[1]})
        finally:
            # also when the client has gone: the row ends at its next token
            ticket.cancel()
            call.slot.release()
        yield b"data: [DONE]\n\n"

    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


async def _chunks(
    ticket: Ticket[list[Reply]], pieces: AsyncIterator[tuple[int, str]], first: Any, *, usage: bool
) -> AsyncIterator[dict[str, Any]]:
    more: dict[str, Any] = {"usage": None} if usage else {}
    begun: set[int] = set()
    piece = first
    while piece is not None:
        number, text = piece
        if number not in begun:
            begun.add(number)
            yield {"choices": [_choice(number, {"role": "assistant", "content": ""})], **more}
        yield {"choices": [_choice(number, {"content": text})], **more}
        piece = await anext(pieces, None)
    for number, (reply, why) in enumerate(zip(await ticket.wait(), ticket.timing.finish)):
        delta: dict[str, Any] = {} if number in begun else {"role": "assistant", "content": reply.text}
        if reply.images:
            delta["images"] = _images(reply)
        yield {"choices": [_choice(number, delta, why)], **more}
    if usage:
        yield {"choices": [], "usage": _usage(ticket)}


def _choice(number: int, delta: dict[str, Any], why: str | None = None) -> dict[str, Any]:
    return {"index": number, "delta": delta, "finish_reason": why, "logprobs": None}


def _event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()
