"""A conversation as OpenAI's clients send it -> what a host is asked.

A host that remembers (a SEED-LLaMA) reads the whole conversation. Every other host answers each question by itself, as
`lens-plugins chat` does: the last question, about the inputs that were shown last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..hosts.messages import Request
from ..inputs import ModalityInput
from .fields import Link, content_parts
from .refusals import BadRequest
from .uploads import Upload

__all__ = ["Chat", "Turn", "parse_messages", "requests_of"]

_PLACE = "<image>"


@dataclass
class Turn:
    """What the user said and showed, and what was answered.

    Args:
        parts: texts and files in order.
        reply: None: the turn that is to be answered.
        codes: of pictures in the reply.
    """

    parts: list[str | Upload | Link] = field(default_factory=list)
    reply: str | None = None
    codes: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class Chat:
    """A conversation.

    Args:
        turns: the last one is to be answered.
        system: what the system said.
    """

    turns: tuple[Turn, ...]
    system: str = ""

    def files(self, *, remembers: bool) -> list[Upload | Link]:
        """Everything that must be read, in order."""
        parts = (part for turn in self.shown(remembers=remembers) for part in turn.parts)
        return [part for part in parts if isinstance(part, (Upload, Link))]

    def shown(self, *, remembers: bool) -> list[Turn]:
        """The turns whose files count: all, or the last one that has any."""
        if remembers:
            return list(self.turns)
        return [turn for turn in self.turns if not all(map(_is_text, turn.parts))][-1:]


def parse_messages(messages: Any) -> Chat:
    """Turns of a conversation.

    Raises:
        BadRequest: no messages, a role that is not known, or the last message is not the user's.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages is empty; give a list with at least one message of the user.", "messages")
    turns: list[Turn] = []
    system: list[str] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("system", "developer"):
            system += [str(part) for part in _texts_only(message.get("content"), where)]
        elif role == "user":
            if not turns or turns[-1].reply is not None:
                turns.append(Turn())
            turns[-1].parts += content_parts(message.get("content"), f"{where}.content")
        elif role == "assistant":
            _answered(turns, message, where)
        else:
            raise BadRequest(f"{where} has the role {role!r}; known: system, developer, user, assistant.", where)
    if not turns or turns[-1].reply is not None:
        raise BadRequest("The last message is not the user's; end with what is asked.", "messages")
    return Chat(tuple(turns), "\n".join(system))


def _answered(turns: list[Turn], message: Mapping[str, Any], where: str) -> None:
    if message.get("tool_calls") or message.get("function_call"):
        raise BadRequest(f"{where} calls tools, which this server has none of.", where)
    if not turns:
        raise BadRequest(f"{where} answers before anything was asked; begin with the user.", where)
    content = message.get("content")
    said = " ".join(map(str, _texts_only(content, where))) if content is not None else ""
    turns[-1].reply = f"{turns[-1].reply} {said}" if turns[-1].reply else said
    for picture in message.get("images") or ():
        codes = picture.get("codes") if isinstance(picture, dict) else None
        if not isinstance(codes, list) or not all(type(code) is int for code in codes):
            raise BadRequest(f"{where} has an image without its codes; send it as it came.", where)
        turns[-1].codes.append(codes)


def _texts_only(content: Any, where: str) -> list[str]:
    parts = content_parts(content, f"{where}.content")
    if not all(map(_is_text, parts)):
        raise BadRequest(f"{where} holds a file; only the user shows files.", where)
    return [str(part) for part in parts]


def _is_text(part: object) -> bool:
    return isinstance(part, str) and not isinstance(part, Link)


def requests_of(
    chat: Chat,
    inputs: Sequence[ModalityInput],
    *,
    host: Any,
    fuse: str | None,
    clips: int | None,
    generation: Mapping[str, Any],
) -> tuple[Request | str, list[tuple[Request | str, str]]]:
    """What the host is asked, and the turns before it with their replies.

    Args:
        chat: the conversation.
        inputs: its files as they were read, in the order of `Chat.files`.
        host: who is asked.
        fuse: where several inputs of a turn meet.
        clips: of a recording.
        generation: options of the host.

    Raises:
        BadRequest: nothing is asked, or codes that are none of this host's.
    """
    remembers = hasattr(host, "chat")
    if not remembers:
        text = _joined(chat.turns[-1])
        if not inputs:
            raise BadRequest(
                f"{host.name} answers about an input, and no message has one; add a part such as an image_url.",
                "messages",
            )
        return Request(list(inputs), text or None, fuse, clips, generation), []
    coming = iter(inputs)
    asked: list[Request | str] = []
    for place, turn in enumerate(chat.turns):
        own = [next(coming) for part in turn.parts if not _is_text(part)]
        spread = fuse in (None, "llm") and clips in (None, 1)  # each input is one picture of the prompt
        text = _placed(turn) if spread and own else _joined(turn)
        if place == 0 and chat.system:
            text = f"{chat.system}\n{text}"
        if not own and not text.strip():
            raise BadRequest("A message of the user is empty; ask something or show something.", "messages")
        last = place == len(chat.turns) - 1
        asked.append(Request(own, text or None, fuse, clips, generation if last else {}) if own else text)
    replies = [_markup(turn, host) for turn in chat.turns[:-1]]
    return asked[-1], list(zip(asked, replies))


def _joined(turn: Turn) -> str:
    return "\n".join(str(part) for part in turn.parts if _is_text(part)).strip()


def _placed(turn: Turn) -> str:
    """The text of a turn with `<image>` where a file stands after words; in front it needs none."""
    words = _joined(turn)
    files = [place for place, part in enumerate(turn.parts) if not _is_text(part)]
    if _PLACE in words or not words or files == list(range(len(files))):
        return words
    return " ".join(str(part) if _is_text(part) else _PLACE for part in turn.parts).strip()


def _markup(turn: Turn, host: Any) -> str:
    """An earlier reply as it stands in the prompt: text, and pictures as their codes."""
    vocabulary = host.vocabulary
    for codes in turn.codes:
        if len(codes) != vocabulary.queries or not all(0 <= code < len(vocabulary.ids) for code in codes):
            raise BadRequest(
                f"A picture has {len(codes)} codes from {min(codes, default=0)} to {max(codes, default=0)}; "
                f"{host.name} has {vocabulary.queries} of 0 to {len(vocabulary.ids) - 1}.",
                "messages",
            )
    return " ".join([*([turn.reply] if turn.reply else []), *map(vocabulary.text, turn.codes)])
