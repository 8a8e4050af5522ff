"""What the pocket SEED draws of held-out things: again, of every modality, changed, and two in one picture.

``lens-plugins bench pocket-seed``. What is drawn is judged by the zero-shot class that the frozen pocket ViT gives it,
beside what that judge says of the pictures themselves (the ceiling) and of pictures drawn from somebody else's codes
(chance). The judge is the ViT that the codes were made from, so it is a friendly one; with ``--second-judge`` a network
that knows nothing of it is asked, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import Unsupported
from ..hosts.base import Host
from ..hosts.loading import load_host
from ..hosts.messages import Request
from ..hosts.seed_llama.host import SeedLlamaHost
from ..inputs import ModalityInput, read
from ..inputs.audio import AudioSettings
from ..lens.loading import load_lens
from .drawings import FEW, Found, Row, SecondJudge, draw_grid, pixels
from .heldout import SENSES, HeldOut, open_objects
from .lens import hardware
from .naming import BATCH, different_pairs, shuffled

__all__ = ["Share", "by_chance", "classes_of", "colour_of", "imagine", "run", "ssim"]

ASKED_COLOURS = {  # as they are drawn for training, RGB
    "red": (0.85, 0.10, 0.10),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.12, 0.30, 0.85),
    "yellow": (0.98, 0.88, 0.15),
}
EDITED = 12  # things of which each edit is asked
PAIRS = 48
PER_SENSE = 48
EDITS = ("Make it red.", "Put it on a blue background.", "Make it winter style.")  # in the grid


@dataclass(frozen=True)
class Share:
    """One row of a table; shares between 0 and 1, None where there is nothing to say."""

    name: str
    right: float
    kept: float | None = None  # the class that the judge gives the input itself, right or wrong
    likeness: float | None = None  # structural similarity to a picture of it
    found: Found | None = None  # by the second judge


def run(
    host: str = "pocket-seed-llama",
    judge: str = "pocket-instructblip",
    *,
    lens: str = "pocket-point-cloud",
    objects: int | None = None,
    grid: Path | None = None,
    second_judge: bool = False,
    note: Callable[[str], Any] = lambda line: None,
) -> str:
    """Measure; returns the tables.

    Args:
        host: which SEED-LLaMA draws.
        judge: whose zero-shot classes count.
        lens: which point cloud lens, the same for both hosts.
        objects: how many held-out things; None: all.
        grid: where to draw inputs and outputs side by side.
        second_judge: ask an ImageNet network too, which of all pictures each drawing shows.
        note: called with a line whenever a row is done.

    Raises:
        Unsupported: the host makes no pictures.
        MissingDependency: the second judge's packages are absent.
    """
    drawing, judging = load_host(host), load_host(judge)
    if not isinstance(drawing, SeedLlamaHost):
        raise Unsupported(f"{drawing.name} makes no pictures; give a SEED-LLaMA host.")
    shown = open_objects()
    shown = shown[:: max(1, len(shown) // (objects or len(shown)))][:objects]
    for plugged in (drawing, judging):
        plugged.plug(load_lens(lens))
    labels = sorted({one.label for one in shown})
    second = SecondJudge([one.pictures[0] for one in shown]) if second_judge else None
    first = _drawn(drawing, judging, shown, labels, note, second)
    lines = [f"{len(shown)} held-out objects of {len(labels)} classes, one picture each; {hardware()}", ""]
    found = (f"found again of {len(shown)} (among the first {FEW})",) if second else ()
    lines += _table(("drawn", "class right", "class kept", "SSIM", *found), first)
    lines += ["", *_table(("other senses", "class right"), _senses(drawing, judging, note))]
    lines += ["", *_table(("edits", "colour right"), _edits(drawing, shown, note))]
    lines += ["", *_table(("two things", "both classes right"), _pairs(drawing, judging, shown, labels, note))]
    if grid is not None:
        draw_grid(_grid(drawing, shown), EDITS, grid)
    return "\n".join(lines)


def _given(host: SeedLlamaHost, modality: str, source: Any) -> ModalityInput:
    """An input as the plugged lens reads it; of a recording one clip, since each would be another picture."""
    settings = host.lenses[modality].config.input
    if isinstance(settings, AudioSettings):
        settings = replace(settings, clips=1)
    return read(source, modality, settings)


def imagine(host: SeedLlamaHost, inputs: Sequence[Sequence[Any]], prompt: str | None = None) -> list[Image.Image]:
    """A picture of each list of inputs, by the language model."""
    requests = [Request(list(some), host.prompt_of(prompt, len(some))) for some in inputs]
    room = host.vocabulary.queries + 1
    replies = host.generate_batch(requests, batch_size=BATCH, force_image=True, max_new_tokens=room, seed=0)
    return [reply.images[0] for reply in replies]


def classes_of(judge: Host, inputs: Sequence[Any], labels: Sequence[str]) -> list[str]:
    """The zero-shot class of each input."""
    chunks = [list(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)]
    return [answer[0]["label"] for chunk in chunks for answer in judge.classify(chunk, list(labels))]


def ssim(one: Image.Image, other: Image.Image, size: int = 64, window: int = 7) -> float:
    """Mean structural similarity of two pictures in grey at one size (Wang and others, 2004), even windows."""
    a, b = (
        pixels(picture.resize((size, size), Image.Resampling.BICUBIC)).mean(0)[None, None] for picture in (one, other)
    )

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, 1)

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def colour_of(picture: Image.Image, where: str) -> str:
    """The nearest colour, by hue, of the thing ("tint") or of what is behind it ("backdrop": the rim)."""
    rgb = pixels(picture)
    rim = torch.cat(
        [rgb[:, :2].flatten(1), rgb[:, -2:].flatten(1), rgb[:, :, :2].flatten(1), rgb[:, :, -2:].flatten(1)], 1
    )
    mean = rim.mean(1)
    if where == "tint":
        apart = (rgb - rim.median(1).values[:, None, None]).abs().amax(0) > 0.12
        mean = rgb[:, apart].mean(1) if apart.any() else mean
    palette = torch.tensor(list(ASKED_COLOURS.values()))  # (K, 3)
    away = palette - palette.mean(1, keepdim=True)
    return list(ASKED_COLOURS)[int(F.cosine_similarity(away, (mean - mean.mean())[None], dim=1).argmax())]


def _drawn(
    host: SeedLlamaHost,
    judge: Host,
    objects: Sequence[HeldOut],
    labels: Sequence[str],
    note: Callable[[str], Any],
    second: SecondJudge | None = None,
) -> list[Share]:
    """Pictures and clouds, drawn from codes or by the language model; others' codes and a shuffled lens are chance.

    A drawing of a cloud keeps its class if it is given that of the cloud; it is likened to the object's picture.
    """
    pictures = [one.pictures[0] for one in objects]
    lens = host.lenses["point_cloud"]
    clouds = [_given(host, "point_cloud", one.cloud) for one in objects]
    truth = [one.label for one in objects]
    own, of_clouds = (classes_of(judge, inputs, labels) for inputs in (pictures, clouds))

    def score(name: str, drawn: Sequence[Image.Image], own: Sequence[str] = own) -> Share:
        said = classes_of(judge, drawn, labels)
        alike = float(np.mean([ssim(*pair) for pair in zip(drawn, pictures)]))
        row = Share(name, _same(said, truth), _same(said, own), alike, second(drawn) if second else None)
        note(f"{name}: class right {row.right:.0%}, kept {row.kept:.0%}, found {row.found or '-'}")
        return row

    codes, seen = (_codes(host, inputs) for inputs in (pictures, clouds))
    rows = [
        Share("the pictures themselves (ceiling)", _same(own, truth), 1.0, 1.0, Found(1.0, 1.0) if second else None),
        score("picture, from its codes", host.decode_codes(codes)),
        score("picture, by the language model", imagine(host, [[one] for one in pictures])),
        score("picture, from another's codes (chance)", host.decode_codes(codes.roll(len(codes) // 2, 0))),
        Share("the point clouds themselves (ceiling)", _same(of_clouds, truth), 1.0),
        score("point cloud, from its codes", host.decode_codes(seen), of_clouds),
        score("point cloud, by the language model", imagine(host, [[one] for one in clouds]), of_clouds),
    ]
    host.plug(shuffled(lens))
    lost = host.decode_codes(_codes(host, clouds))
    rows.append(score("point cloud, shuffled lens, from its codes", lost, of_clouds))
    host.plug(lens)
    return rows


def _codes(host: SeedLlamaHost, inputs: Sequence[Any]) -> Tensor:
    return torch.cat([host.encode_codes(list(inputs[i : i + BATCH])) for i in range(0, len(inputs), BATCH)])


def _senses(host: SeedLlamaHost, judge: Host, note: Callable[[str], Any]) -> list[Share]:
    """What is drawn of sounds, depth maps, touches and EEG, among each sense's own names."""
    rows = []
    for sense in SENSES:
        cases = sense.cases()
        cases = cases[:: max(1, len(cases) // PER_SENSE)][:PER_SENSE]
        host.plug(load_lens(sense.lens_id))
        drawn = imagine(host, [[_given(host, sense.modality, case.source)] for case in cases])
        truth = [case.label for case in cases]
        said = classes_of(judge, drawn, sorted(set(truth)))
        rows.append(Share(sense.title, _same(said, truth)))
        rows.append(Share(f"{sense.title}, paired at random (chance)", by_chance(said, truth)))
        note(f"{sense.title}: class right {rows[-2].right:.0%} of {len(cases)}, chance {rows[-1].right:.0%}")
    return rows


def _edits(host: SeedLlamaHost, objects: Sequence[HeldOut], note: Callable[[str], Any]) -> list[Share]:
    """Four colours for the thing, four for the background; the same check of the unchanged pictures is chance."""
    shown = [one.pictures[0] for one in objects[:: max(1, len(objects) // EDITED)][:EDITED]]
    inputs = [[picture] for picture in shown]
    plain, rows = imagine(host, inputs), []
    for where, words in (("tint", "Make it {}."), ("backdrop", "Put it on a {} background.")):
        right, before = [], []
        for name in ASKED_COLOURS:
            right += [colour_of(picture, where) == name for picture in imagine(host, inputs, words.format(name))]
            before += [colour_of(picture, where) == name for picture in plain]
        rows.append(Share(words.format("*colour*"), float(np.mean(right))))
        rows.append(Share("the same check of what was not edited (chance)", float(np.mean(before))))
        note(f"{rows[-2].name} colour right {rows[-2].right:.0%}, before {rows[-1].right:.0%}")
    return rows


def _pairs(
    host: SeedLlamaHost, judge: Host, objects: Sequence[HeldOut], labels: Sequence[str], note: Callable[[str], Any]
) -> list[Share]:
    """Two pictures, or a cloud and a picture, in one: the class of each half, beside the two pictures pasted."""
    pairs = different_pairs(objects, objects, PAIRS, seed=7)
    truth = [frozenset((one.label, other.label)) for one, other in pairs]
    pictures = [[one.pictures[0], other.pictures[0]] for one, other in pairs]
    clouds = [[_given(host, "point_cloud", one.cloud), other.pictures[0]] for one, other in pairs]
    drawn = {
        "pasted side by side (ceiling)": [_pasted(*pair) for pair in pictures],
        "two pictures": imagine(host, pictures),
        "a point cloud and a picture": imagine(host, clouds),
    }
    rows = []
    for name, made in drawn.items():
        halves = [half for picture in made for half in _halves(picture)]
        said = classes_of(judge, halves, labels)
        found = [frozenset(pair) for pair in zip(said[::2], said[1::2])]
        rows.append(Share(name, _same(found, truth)))
        note(f"{name}: both right {rows[-1].right:.0%}")
    return [*rows, Share("the latter, paired at random (chance)", by_chance(found, truth))]


def _grid(host: SeedLlamaHost, objects: Sequence[HeldOut]) -> list[Row]:
    """Rows of the grid: some pictures, some clouds, one input of every other sense; then two in one picture."""
    chosen = objects[:: max(1, len(objects) // 6)][:6]
    inputs = [[host.read(one.pictures[0])] for one in chosen[:3]]
    inputs += [[_given(host, "point_cloud", one.cloud)] for one in chosen[3:]]
    for sense in SENSES:
        if sense.modality in host.lenses:
            case = sense.cases()[0]
            inputs.append([_given(host, sense.modality, case.source)])
    prompts = (None, *EDITS)
    columns = [imagine(host, inputs, prompt) for prompt in prompts]
    rows = [Row(given, [column[i] for column in columns]) for i, given in enumerate(inputs)]
    pairs = [[a, b] for (a,), (b,) in zip(inputs[:2], inputs[3:5])]
    return rows + [Row(given, [drawn]) for given, drawn in zip(pairs, imagine(host, pairs))]


def _pasted(one: Image.Image, other: Image.Image) -> Image.Image:
    side = one.width
    canvas = Image.new("RGB", (side, side), "white")
    for number, picture in enumerate((one, other)):
        canvas.paste(picture.resize((side // 2, side // 2)), (number * (side // 2), side // 4))
    return canvas


def _halves(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Left and right thing of a picture of two."""
    half, quarter = picture.width // 2, picture.width // 4
    left = picture.crop((0, quarter, half, quarter + half))
    return left, picture.crop((half, quarter, 2 * half, quarter + half))


def _same(said: Iterable[Any], right: Iterable[Any]) -> float:
    return float(np.mean([a == b for a, b in zip(said, right)]))


def by_chance(said: Sequence[Any], right: Sequence[Any]) -> float:
    """How often the same answers would be right if they belonged to random inputs."""
    given, wanted = Counter(said), Counter(right)
    return sum(count * wanted[label] for label, count in given.items()) / (len(said) * len(right))


def _table(head: Sequence[str], rows: Sequence[Share]) -> list[str]:
    """Markdown, with as many columns as the head has."""
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        kept = "-" if row.kept is None else f"{row.kept:.0%}"
        likeness = "-" if row.likeness is None else f"{row.likeness:.2f}"
        values = (row.name, f"{row.right:.0%}", kept, likeness, str(row.found or "-"))
        lines.append(f"| {' | '.join(values[: len(head)])} |")
    return lines
