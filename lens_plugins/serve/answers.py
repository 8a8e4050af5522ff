"""Answers of a batch: looked at together, generated together where the options allow, each row for its own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import SystemRandom
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import ConfigError, InputError, LensPluginsError
from ..hosts.messages import Reply, Request, Seen
from ..hosts.passes import Memory, same_options
from ..hosts.prefix import LanguageHost
from ..hosts.streaming import TOKENIZING
from .rows import Row, Sampling, cut, drawing, watching
from .tickets import Ticket

if TYPE_CHECKING:
    from ..hosts.base import Host
    from ..hosts.seed_llama.host import SeedLlamaHost

__all__ = ["Asked", "answer_all"]

_OWN_TOP_K = 50  # of transformers, where nothing is given
_SAMPLING = ("do_sample", "temperature", "top_p", "top_k")
_random = SystemRandom()


@dataclass(frozen=True, eq=False)
class Asked:
    """What one client asks of a host, with everything settled that decides who it may run with.

    Args:
        request: what is looked at and asked; a text alone in a conversation.
        history: earlier turns and the replies to them.
        count: replies.
        stream: whether pieces are handed on.
        stop: texts where a reply ends.
        limit: tokens of a row that runs with others; None: it is among the options.
        sampling: of each choice, where each row draws by itself.
        options: of generation; requests with the same ones run together.
        beams: of each row.
    """

    request: Request | str
    history: tuple[tuple[Request | str, str], ...]
    count: int
    stream: bool
    stop: tuple[str, ...]
    limit: int | None
    sampling: tuple[Sampling, ...]
    options: dict[str, Any]
    beams: int

    @classmethod
    def of(
        cls,
        host: Host,
        request: Request | str,
        *,
        history: Sequence[tuple[Request | str, str]],
        count: int,
        stream: bool,
        max_tokens: int | None,
        temperature: float | None,
        top_p: float | None,
        seed: int | None,
        stop: Sequence[str],
    ) -> Asked:
        """Settle the options.

        Raises:
            ConfigError: several likeliest replies in a stream, several beams in a stream, or a seed of another kind.
            InputError: a text alone, or a history, for a host that does not remember.
        """
        remembers = hasattr(host, "chat")
        if not remembers and (history or isinstance(request, str)):
            raise InputError(f"{host.name} answers about an input; give one, such as an image_url.")
        options = {} if isinstance(request, str) else dict(request.generation)
        given = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_tokens}
        options |= {name: value for name, value in given.items() if value is not None}
        if temperature == 0:
            options |= {"do_sample": False}
            options.pop("temperature")
        elif temperature is not None or top_p is not None:
            options.setdefault("do_sample", True)
        own = cast("dict[str, Any]", getattr(host, "generation", {}))
        samples = bool(options.get("do_sample", own.get("do_sample", False) and "num_beams" not in options))
        beams = int(options.get("num_beams", 1 if samples or stream else own.get("num_beams", 1)))
        _check(beams, count, stream=stream, samples=samples, limit=options.get("max_new_tokens"))
        asked = cls(request, tuple(history), count, stream, tuple(stop), None, (), options, beams)
        if isinstance(host, LanguageHost):
            return asked._with_rows(own, samples, seed)
        return asked._whole(samples, seed, remembers=remembers)

    def _with_rows(self, own: dict[str, Any], samples: bool, seed: int | None) -> Asked:
        """For a `LanguageHost`: with one beam each row draws and ends by itself, whatever its neighbours ask."""
        options = dict(self.options)
        beams = max(self.beams, self.count) if not samples else self.beams
        if beams > 1:
            several = {"num_return_sequences": self.count} if self.count > 1 else {}
            return replace(self, beams=beams, options={**options, **several, "num_beams": beams})
        how = {name: options.pop(name, own.get(name)) for name in _SAMPLING}
        limit = options.pop("max_new_tokens", own.get("max_new_tokens"))
        rows: list[Sampling] = []
        if samples:
            first = _random.randrange(2**31) if seed is None else seed
            top_p = how["top_p"] if how["top_p"] is not None else 0.9  # as LAVIS
            top_k = how["top_k"] if how["top_k"] is not None else _OWN_TOP_K
            temperature = how["temperature"] if how["temperature"] is not None else 1.0
            rows = [Sampling(temperature, top_p, top_k, first + number) for number in range(self.count)]
        options |= {"do_sample": False, "num_beams": 1}
        return replace(self, limit=limit, sampling=tuple(rows), options=options)

    def _whole(self, samples: bool, seed: int | None, *, remembers: bool) -> Asked:
        """For a host that draws its own random numbers: only requests with one seed run together."""
        options = dict(self.options)
        if not samples:
            options |= {"do_sample": False}
            options |= {"num_beams": max(self.beams, self.count)} if self.count > 1 or self.beams > 1 else {}
        elif remembers:
            options["seed"] = _random.randrange(2**31) if seed is None else seed
        if self.count > 1:
            if self.stream:
                raise ConfigError(f"n is {self.count} in a stream; this model streams 1 answer.")
            options["num_return_sequences"] = self.count
        return replace(self, options=options)

    @property
    def requests(self) -> list[Request]:
        """Everything in it that is looked at: of earlier turns, and of this one."""
        turns = [turn for turn, _ in self.history] + [self.request]
        return [turn for turn in turns if isinstance(turn, Request)]


def _check(beams: int, count: int, *, stream: bool, samples: bool, limit: Any) -> None:
    if stream and beams != 1:
        raise ConfigError(f"Streaming runs 1 beam, got num_beams={beams}.")
    if stream and count > 1 and not samples:
        raise ConfigError(f"n is {count} in a stream; without sampling only 1 is streamed: give a temperature above 0.")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"max_tokens is {limit!r}; it must be a whole number of at least 1.")


Job = tuple[Asked, Ticket[list[Reply]]]


def answer_all(host: Host, jobs: Sequence[Job], memory: Memory) -> None:
    """Give every ticket its replies, or what is wrong with its own request."""
    seen = _look(host, jobs, memory)
    for group in _together([job for job in jobs if not job[1].done]):
        _answer(host, group, [seen[id(ticket)] for _, ticket in group])


def _look(host: Host, jobs: Sequence[Job], memory: Memory) -> dict[int, list[Seen]]:
    """What each job looks at, by the id of its ticket; encoded in one pass unless one of them cannot be."""
    every = [request for asked, _ in jobs for request in asked.requests]
    try:
        coming = iter(host.look_batch(every, memory) if every else [])
        return {id(ticket): [next(coming) for _ in asked.requests] for asked, ticket in jobs}
    except Exception as error:  # noqa: BLE001 - told to the one whose it is
        if len(jobs) == 1:
            jobs[0][1].fail(error)
            return {}
    found: dict[int, list[Seen]] = {}
    for job in jobs:
        found |= _look(host, [job], memory)
    return found


def _together(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in groups of the same options, in order of first occurrence."""
    groups: list[list[Job]] = []
    for job in jobs:
        for group in groups:
            if job[0].beams == group[0][0].beams and same_options(group[0][0].options, job[0].options):
                group.append(job)
                break
        else:
            groups.append([job])
    return groups


def _answer(host: Host, group: Sequence[Job], seen: Sequence[list[Seen]]) -> None:
    """Replies of one group; where the batch fails, of each job by itself."""
    try:
        _generate(host, group, seen)
    except Exception as error:
        if len(group) == 1:
            group[0][1].fail(error)
            return
        if not isinstance(error, LensPluginsError) and any(asked.stream for asked, _ in group):
            raise
        for job, one in zip(group, seen):
            _answer(host, [job], [one])


def _generate(host: Host, group: Sequence[Job], seen: Sequence[list[Seen]]) -> None:
    """One `generate` for all rows of a group."""
    asked, beams = [one for one, _ in group], group[0][0].beams
    counts = [one.count if beams == 1 else 1 for one in asked]
    rows = [_row(host, *job, number) for job, count in zip(group, counts) for number in range(count)]
    options = dict(asked[0].options)
    options["stopping_criteria"] = watching(rows, _ends(host), _decoder(host), beams)
    made: Sequence[Reply]
    if hasattr(host, "chat"):
        made = _remembering(cast("SeedLlamaHost", host), asked, seen, options)
        shares = [1] * len(asked)
    else:
        if any(row.sampling for row in rows):
            options["logits_processor"] = drawing(rows)
        limits = [row.limit for row in rows if row.limit is not None]
        options |= {"max_new_tokens": max(limits)} if len(limits) == len(rows) else {}
        shown = [one[-1] for one, count in zip(seen, counts) for _ in range(count)]
        prompts = [_prompt(host, one) for one, count in zip(asked, counts) for _ in range(count)]
        made, shares = host.answer(shown, prompts, **options), counts
    coming, own = iter(made), iter(rows)
    for (one, ticket), looked, share, count in zip(group, seen, shares, counts):
        replies = [next(coming) for _ in range(share)]
        _hand_out(host, one, ticket, replies, [next(own) for _ in range(count)], looked)


def _row(host: Host, asked: Asked, ticket: Ticket[Any], number: int) -> Row:
    def emit(text: str) -> None:
        ticket.emit(number, text)

    own = getattr(host, "stop", None)  # where every answer of this host ends
    return Row(
        stopped=ticket.dropped,
        emit=emit if asked.stream else None,
        stop=(*asked.stop, own) if own else asked.stop,
        limit=asked.limit,
        sampling=asked.sampling[number] if asked.sampling else None,
    )


def _remembering(
    host: SeedLlamaHost, asked: Sequence[Asked], seen: Sequence[list[Seen]], options: dict[str, Any]
) -> list[Any]:
    """Replies of a host whose prompt holds the conversation."""
    texts = []
    for one, looked in zip(asked, seen):
        coming = iter(looked)
        *earlier, last = [
            _instruction(host, turn, coming) for turn in (*(turn for turn, _ in one.history), one.request)
        ]
        texts.append(host.style.render(last, list(zip(earlier, (reply for _, reply in one.history)))))
    return list(host.reply(texts, **options)[0])


def _instruction(host: SeedLlamaHost, turn: Request | str, seen: Iterator[Seen]) -> str:
    """One turn with the codes of its inputs in place."""
    from ..hosts.seed_llama.prompt import place_pictures

    return place_pictures(turn, []) if isinstance(turn, str) else host.place([next(seen)], [_prompt_of(host, turn)])[0]


def _hand_out(
    host: Host, asked: Asked, ticket: Ticket[list[Reply]], made: Sequence[Reply], rows: Sequence[Row], seen: list[Seen]
) -> None:
    """Give a ticket its replies, cut where a stop text stands, and say what they took."""
    timing, replies, finish = ticket.timing, [], []
    several = [one for reply in made for one in (reply.alternatives or (reply,))] if asked.count > 1 else made
    for number, reply in enumerate(several):
        row = rows[number] if asked.beams == 1 and len(rows) == len(several) else None
        ids = row.ids if row is not None and row.ended and not hasattr(host, "chat") else None
        text, found = cut(reply.text if ids is None else _decoder(host)(ids), asked.stop)
        tokens = _tokens(host, reply) if row is None or hasattr(host, "chat") else len(row.ids)
        most = (
            asked.limit or asked.options.get("max_new_tokens") or getattr(host, "generation", {}).get("max_new_tokens")
        )
        ended = row.ended if row is not None else None
        finish.append(ended or ("length" if most is not None and tokens >= most and not found else "stop"))
        timing.new_tokens += tokens
        replies.append(reply if text == reply.text else _with_text(reply, text))
        if row is not None:
            row.send(text)
    timing.finish, timing.prompt_tokens = tuple(finish), _prompt_tokens(host, asked, seen)
    ticket.give(replies)


def _with_text(reply: Reply, text: str) -> Reply:
    """The same reply with another text."""
    new = str.__new__(type(reply), text)
    new.__dict__.update(reply.__dict__)
    new.parts, new.alternatives = (text, *reply.images), ()
    return new


def _prompt(host: Host, asked: Asked) -> str:
    return _prompt_of(host, cast(Request, asked.request))


def _prompt_of(host: Host, request: Request) -> str:
    return host.default_prompt if request.prompt is None else request.prompt


def _ends(host: Host) -> frozenset[int]:
    """Ids that end a row: the end token, and the padding that follows it."""
    config = getattr(getattr(host, "language_model", None), "generation_config", None)
    found = [getattr(host, "generation", {}).get("eos_token_id"), getattr(config, "eos_token_id", None)]
    found += [getattr(config, "pad_token_id", None)]
    return frozenset(id_ for one in found if one is not None for id_ in (one if isinstance(one, list) else [one]))


def _decoder(host: Host) -> Callable[[list[int]], str]:
    decode = getattr(host, "decode", None)
    return (lambda ids: decode(torch.tensor(ids, dtype=torch.long))) if callable(decode) else (lambda _: "")


def _tokens(host: Host, reply: Reply) -> int:
    """Tokens of a reply whose ids nobody kept, codes of pictures included."""
    codes = getattr(reply, "codes", None)
    words = getattr(host, "tokenizer", None)
    if words is None:
        return 0
    with TOKENIZING:
        text = len(words(reply.text, add_special_tokens=False)["input_ids"])
    return text + (0 if codes is None else codes.numel())


def _prompt_tokens(host: Host, asked: Asked, seen: Sequence[Seen]) -> int:
    """Positions of the language model that inputs and words of the last turns take."""
    words = getattr(host, "tokenizer", None)
    turns = [*(turn for turn, _ in asked.history), asked.request]
    texts = [turn if isinstance(turn, str) else _prompt_of(host, turn) for turn in turns]
    texts += [reply for _, reply in asked.history]
    units = sum(len(one.features) for one in seen)
    queries = getattr(getattr(host, "model", None), "query_tokens", None)
    vocabulary = getattr(host, "vocabulary", None)
    each = vocabulary.queries + 2 if vocabulary is not None else queries.shape[1] if queries is not None else 0
    if words is None:
        return int(units * each)
    with TOKENIZING:
        return int(units * each) + sum(len(words(text, add_special_tokens=False)["input_ids"]) for text in texts)
