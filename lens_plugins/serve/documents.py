"""What `/openapi.json` says of each body, with examples that can be sent as they are."""

from __future__ import annotations

import base64
import math
from typing import Any

__all__ = ["EXAMPLES", "described"]

_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGM8UaHBgA0wYRUdtBIAHicBeAYWg8oA"
    "AAAASUVORK5CYII="
)


def _cloud() -> str:
    """A ball of 400 points as a data URI of a .ply file."""
    turn = math.pi * (3 - math.sqrt(5))
    heights = [1 - 2 * (n + 0.5) / 400 for n in range(400)]
    rows = [
        f"{math.sqrt(1 - y * y) * math.cos(n * turn):.2f} {y:.2f} {math.sqrt(1 - y * y) * math.sin(n * turn):.2f}"
        for n, y in enumerate(heights)
    ]
    head = "ply\nformat ascii 1.0\nelement vertex 400\nproperty float x\nproperty float y\nproperty float z\nend_header"
    return f"data:model/ply;base64,{base64.b64encode(chr(10).join([head, *rows, '']).encode()).decode()}"


_SHOWN = {"type": "image_url", "image_url": {"url": _PICTURE}}
_TEXT: dict[str, Any] = {"type": "string"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_NUMBER: dict[str, Any] = {"type": "number"}
_PARTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_READING: dict[str, Any] = {
    "fuse": {"enum": ["vit", "qformer", "llm"]}, "clips": _COUNT, "settings": {"type": "object"}, "deadline": _NUMBER,
}  # fmt: skip

EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    "/v1/chat/completions": {
        "a picture": {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, _SHOWN]}],
            "max_tokens": 20,
        },
        "a point cloud, as a stream": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "file", "file": {"filename": "cloud.ply", "file_data": _cloud()}},
                        {"type": "text", "text": "What is it?"},
                    ],
                }
            ],
            "stream": True,
            "max_tokens": 20,
        },
    },
    "/v1/embeddings": {
        "a text and a picture": {"input": ["a wooden chair", _SHOWN]},
    },
    "/v1/classify": {
        "a picture": {"input": _SHOWN, "labels": ["chair", "piano"], "template": "a photo of a {}"},
    },
    "/v1/images/generations": {"a picture of a picture": {"input": [_SHOWN], "seed": 0}},
    "/v1/images/edits": {},
    "/v1/lenses": {"a shipped lens": {"lens": "pocket-audio"}},
}
"""Bodies by path and name."""

_FIELDS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": _TEXT, "messages": _PARTS, "stream": {"type": "boolean"}, "n": _COUNT, "max_tokens": _COUNT,
        "temperature": _NUMBER, "top_p": _NUMBER, "seed": {"type": "integer"}, "stop": {"type": ["string", "array"]},
        "num_beams": _COUNT, **_READING,
    },
    "/v1/embeddings": {
        "model": _TEXT, "input": {}, "encoding_format": {"enum": ["float", "base64"]},
        "space": {"enum": ["vision", "text"]}, **_READING,
    },
    "/v1/classify": {"model": _TEXT, "input": {}, "labels": {"type": "array", "items": _TEXT}, "template": {}},
    "/v1/images/generations": {
        "model": _TEXT, "prompt": _TEXT, "input": _PARTS, "n": _COUNT, "size": _TEXT, "seed": {"type": "integer"},
        **_READING,
    },
    "/v1/images/edits": {
        "model": _TEXT, "prompt": _TEXT, "image": {"type": "string", "format": "binary"}, "n": _COUNT, "size": _TEXT,
        "seed": {"type": "integer"},
    },
    "/v1/lenses": {"lens": _TEXT, "model": _TEXT},
}  # fmt: skip
_NEEDED = {
    "/v1/chat/completions": ["messages"], "/v1/embeddings": ["input"], "/v1/classify": ["input", "labels"],
    "/v1/images/edits": ["prompt", "image"], "/v1/lenses": ["lens"],
}  # fmt: skip


def described(path: str) -> dict[str, Any]:
    """The body of a route for FastAPI's `openapi_extra`."""
    schema = {"type": "object", "properties": _FIELDS[path], "required": _NEEDED.get(path, [])}
    kind = "multipart/form-data" if path.endswith("/edits") else "application/json"
    examples = {name: {"value": value} for name, value in EXAMPLES[path].items()}
    content: dict[str, Any] = {"schema": schema, **({"examples": examples} if examples else {})}
    return {"requestBody": {"required": True, "content": {kind: content}}}
