"""Damage to files: bytes, numbers in both byte orders, words of texts, members of archives, values of JSON."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from random import Random
from typing import Any

__all__ = ["mutate"]

_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF, 0x20, 0x0A)
_INTEGERS = (
    0, 1, 2, 3, 127, 128, 255, 256, 1000, 4096, 32767, 32768, 65535, 65536, 10**6, 10**7, 10**8, 10**9, 2**31 - 1,
    2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**64 - 1,
)  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e-30, 1e10, 1e30, 3.4e38, 1e300, float("inf"), float("-inf"), float("nan"))
_WORDS = (
    b"0", b"-1", b"1", b"2147483647", b"2147483648", b"4294967296", b"10000000000000000000", b"1e308", b"1e400",
    b"nan", b"inf", b"-inf", b"1e-320", b"", b"x", b"0x10", b"1,5", b"1.5.2", b"\xff", b"\x00", b"100000000",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 1.5, -0.5, 1e-320, 1e308, 10**6, 10**9, 2**31, 2**63, 10**30, "", "x",
    "a" * 5000, "\x1b[31m", "../../etc/passwd", [], {}, [[]], [0], [1, 2, 3], {"a": 1}, ["x"] * 3,
    float("nan"), float("inf"),
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def mutate(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """The same file, damaged one to five times; `others` of its format lend parts."""
    structured = _structured(data, random, others) if random.random() < 0.5 else None
    if structured is not None:
        return structured
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        data = random.choice(_SIMPLE)(data, random, others)
    return data


def _structured(data: bytes, random: Random, others: list[bytes]) -> bytes | None:
    """Damage inside a container whose own frame stays whole; None where this is none."""
    if data[:2] == b"PK":
        return _archive(data, random)
    if data[:4] == b"glTF":
        return _glb(data, random)
    if data[:1] in b"{[" and (value := _json(data)) is not None:
        return json.dumps(_change(value, random)).encode()
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data):
        return _safetensors(data, random)
    return None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _change(value: Any, random: Random) -> Any:
    """One value somewhere inside is replaced, left out, doubled or nested."""
    while isinstance(value, (dict, list)) and value and random.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key]:
            return _with(value, key, _change(value[key], random))
        kind = random.randrange(6)
        if kind == 0:
            return (
                {k: v for k, v in value.items() if k != key}
                if isinstance(value, dict)
                else value[:key] + value[key + 1 :]
            )
        if kind == 1:
            return (
                {**value, random.choice(("x", "", "auto_map", key + "s")): 1} if isinstance(value, dict) else value * 2
            )
        if kind == 2 and isinstance(value[key], (int, float)):
            return _with(value, key, value[key] * random.choice((-1, 2, 1000, 10**6, 0.5)))
        return _with(value, key, random.choice(_VALUES))
    if random.random() < 0.1:
        deep: Any = 1
        for _ in range(random.choice((60, 100, 900))):
            deep = [deep]
        return deep
    return random.choice(_VALUES)


def _with(value: Any, key: Any, new: Any) -> Any:
    if isinstance(value, dict):
        return {**value, key: new}
    return [new if at == key else one for at, one in enumerate(value)]


def _archive(data: bytes, random: Random) -> bytes | None:
    """A zip archive with one member changed, and the right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info, archive.read(info)) for info in archive.infolist()]
    except Exception:  # noqa: BLE001 - it is damaged already
        return None
    chosen, made = random.randrange(len(members)), io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for at, (info, content) in enumerate(members):
            name = info.filename
            if at == chosen:
                kind = random.randrange(8)
                if kind == 0:
                    continue
                if kind == 1:
                    name = random.choice(("x", name + "x", members[0][0].filename))
                else:
                    content = random.choice(_SIMPLE)(content, random, [])
            packed = zipfile.ZIP_DEFLATED if random.random() < 0.05 else info.compress_type
            archive.writestr(name, content, packed)
    return made.getvalue()


def _glb(data: bytes, random: Random) -> bytes | None:
    """A binary glTF with a change in its JSON, and the right lengths."""
    (length,) = struct.unpack_from("<I", data, 12)
    value = _json(data[20 : 20 + length])
    if value is None:
        return None
    text = json.dumps(_change(value, random)).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I", len(text)) + b"JSON" + text + data[20 + length :]
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def _safetensors(data: bytes, random: Random) -> bytes | None:
    length = int.from_bytes(data[:8], "little")
    value = _json(data[8 : 8 + length])
    if value is None:
        return None
    text = json.dumps(_change(value, random)).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


# --- on bytes ---


def _flip(data: bytes, random: Random, others: list[bytes]) -> bytes:
    made = bytearray(data)
    for _ in range(random.choice((1, 2, 8)) if made else 0):
        made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    return bytes(made)


def _set(data: bytes, random: Random, others: list[bytes]) -> bytes:
    made = bytearray(data)
    if made:
        made[_place(data, random)] = random.choice(_BYTES)
    return bytes(made)


def _integer(data: bytes, random: Random, others: list[bytes]) -> bytes:
    width = random.choice((2, 4, 8))
    value = random.choice(_INTEGERS) % 2 ** (8 * width)
    return _put(data, value.to_bytes(width, random.choice(("little", "big"))), random)


def _float(data: bytes, random: Random, others: list[bytes]) -> bytes:
    code = random.choice(("<f", "<d", ">f", ">d"))
    value = random.choice(_FLOATS)
    if code[1] == "f" and abs(value) > 3.4e38 and abs(value) != float("inf"):
        value = 3e38
    return _put(data, struct.pack(code, value), random)


def _put(data: bytes, new: bytes, random: Random) -> bytes:
    at = _place(data, random)
    if random.random() < 0.5:
        at -= at % len(new)
    return data[:at] + new + data[at + len(new) :]


def _place(data: bytes, random: Random) -> int:
    """A position, in the first 128 bytes as often as not: that is where headers are."""
    return random.randrange(min(len(data), 128) if random.random() < 0.5 else len(data)) if data else 0


def _cut(data: bytes, random: Random, others: list[bytes]) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _drop(data: bytes, random: Random, others: list[bytes]) -> bytes:
    at, count = _place(data, random), random.choice((1, 2, 4, 16, 100))
    return data[:at] + data[at + count :]


def _repeat(data: bytes, random: Random, others: list[bytes]) -> bytes:
    at, count = _place(data, random), random.choice((1, 4, 16, 100, 1000))
    return data[: at + count] + data[at : at + count] * random.choice((1, 2, 50)) + data[at + count :]


def _insert(data: bytes, random: Random, others: list[bytes]) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes(random.choice(_BYTES) for _ in range(random.choice((1, 2, 4, 16)))) + data[at:]


def _splice(data: bytes, random: Random, others: list[bytes]) -> bytes:
    if not others:
        return _flip(data, random, others)
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _word(data: bytes, random: Random, others: list[bytes]) -> bytes:
    """A number in a text becomes another word."""
    found = list(_NUMBER.finditer(data[:4096]))
    if not found:
        return _set(data, random, others)
    one = random.choice(found)
    return data[: one.start()] + random.choice(_WORDS) + data[one.end() :]


def _line(data: bytes, random: Random, others: list[bytes]) -> bytes:
    lines = data.split(b"\n")
    at = random.randrange(min(len(lines), 30))
    lines[at : at + 1] = random.choice(
        ([], [lines[at]] * 2, [b""], [lines[at] + b" 1"], [b"# x"], [lines[-1], lines[at]])
    )
    return b"\n".join(lines)


_SIMPLE = (
    _flip,
    _flip,
    _set,
    _set,
    _integer,
    _integer,
    _float,
    _cut,
    _drop,
    _repeat,
    _insert,
    _splice,
    _word,
    _word,
    _line,
)
