"""The stages, in order; each reads what the ones before it left in the work folder and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from lens_plugins.files.writing import replacing
from lens_plugins.pocket.language_model import folder as language_model_folder
from lens_plugins.pocket.shipped import shipped

from ..qformer import qformer_tokenizer
from ..teacher import text_features
from .captions import Captioner, train_captions
from .distil import UNNAMED, Maps, Named, Teacher, distil
from .features import Features, measured_features, write_shards
from .judge import Judge, Photographs
from .language import DESCRIBING, NAMING, PROMPTS, Frame, Lexicon, Speaker, train_frame
from .lessons import Lessons, Seen
from .names import ClassNames
from .packages import fetch_packages
from .pictures import SOURCES, Pack, collect, write_pack
from .trunk import CLASSES, Trunk, load_trunk
from .vit import WIDTH, Pupil
from .words import Reader, Vocabulary, train_words

__all__ = ["STAGES", "Places"]

ROUNDS = 3  # crops of each picture
MOVED_A_CLASS = 20  # moved maps of each class for the Q-Former
ASKED = (NAMING[0], DESCRIBING[0])  # prompts that are measured


@dataclass(frozen=True)
class Places:
    """Where a build works, and how much of it is asked for."""

    work: Path
    objects: Path  # generated objects, as `data.generate` writes them
    models: Path  # folders of models with thumbnails
    photographs: tuple[Path, ...] = ()
    steps: int | None = None  # of a training stage, instead of its own number
    share: tuple[int, int] = (0, 1)  # this worker and how many there are, for features

    def run(self, stage: str) -> Path:
        """The folder of a stage's checkpoint, log and result."""
        return self.work / "runs" / stage

    @property
    def packages(self) -> Path:
        """The unpacked packages."""
        return self.work / "packages"

    @property
    def cache(self) -> Path:
        """What frozen networks gave."""
        return self.work / "cache"

    @cached_property
    def trunk(self) -> Trunk:
        """The frozen trunk."""
        return load_trunk(next(self.packages.glob("efficientnet_lite2*/*/models/*.pth")))

    @cached_property
    def names(self) -> ClassNames:
        """Names of its classes."""
        info = next(self.packages.glob("timm-*/timm/data/_info"))
        return ClassNames.read(info, next(self.packages.rglob("wordnet/data.noun")))

    @cached_property
    def train(self) -> Pack:
        """Pictures to train on."""
        return Pack(self.work / "pack" / "train")

    @cached_property
    def measure(self) -> Pack:
        """Pictures to measure with."""
        return Pack(self.work / "pack" / "measure")

    @cached_property
    def speaker(self) -> Speaker:
        """The frozen language model."""
        return Speaker(language_model_folder())

    @cached_property
    def lexicon(self) -> Lexicon:
        """Every name: fine, coarse, and of the pictures."""
        given = {row["name"] for row in self.train.rows if row["name"]}
        phrases = dict.fromkeys([*self.names.fine, *self.names.coarse_names, *sorted(given)])
        return Lexicon(list(phrases), self.speaker.tokenizer)


def make_packages(places: Places) -> None:
    """Fetch and unpack."""
    fetch_packages(places.packages)


def make_pictures(places: Places) -> None:
    """Collect and pack the pictures for training and for measuring."""
    heldout = shipped("heldout") / "objects"
    found = collect(places.packages, places.objects, places.models, heldout, places.photographs)
    for use in ("train", "measure"):
        rows = [picture for source in SOURCES if source.use == use for picture in found[source.name]]
        write_pack(rows, places.work / "pack" / use)


def make_features(places: Places) -> None:
    """The trunk's features of crops and of the pictures for measuring."""
    measured_features(places.measure, places.trunk, places.cache / "measure.npy")
    write_shards(places.train, places.trunk, places.cache / "trunk", ROUNDS, *places.share)


def make_frame(places: Places) -> None:
    """The free places of the prefix, from text alone."""
    folder = places.run("frame")
    frame = train_frame(places.speaker, places.lexicon, folder, places.steps or 60, 8, WIDTH)
    _keep(frame, folder)


def make_tower(places: Places) -> None:
    """Distil the blocks; the tower is then frozen."""
    maps, folder = open_maps(places), places.run("tower")
    names = sorted({row["name"] for row in places.train.rows if row["name"]})
    place = {name: i for i, name in enumerate(names)}
    name_of = [place.get(places.train.rows[number]["name"], UNNAMED) for number in maps.features.pictures]
    torch.manual_seed(3)
    pupil = Pupil(CLASSES)
    photographs, _ = Photographs.chosen(places.measure.rows)
    tokens = torch.from_numpy(np.load(places.cache / "measure.npy", mmap_mode="r")[photographs]).float()
    distil(pupil, maps, Named(np.array(name_of), text_features(names)), tokens, folder, places.steps or 900)
    _keep(pupil.half().float(), folder)  # rounded as it will ship


def make_words(places: Places) -> None:
    """The Q-Former's word stage."""
    pupil, folder = load_tower(places), places.run("words")
    photographs = open_photographs(places, pupil)
    reader, vocabulary = new_reader(places)
    lessons = open_lessons(places, pupil)
    train_words(
        reader, lessons, vocabulary, lambda speak: photographs.measure(speak, ASKED), folder, places.steps or 1500
    )
    _keep(reader, folder)


def make_captions(places: Places) -> None:
    """The answers through the language model."""
    pupil, folder = load_tower(places), places.run("captions")
    photographs = open_photographs(places, pupil)
    reader, vocabulary = new_reader(places)
    reader.load_state_dict(_kept(places.run("words")))
    captioner, lessons, few = Captioner(reader), open_lessons(places, pupil), photographs.every(3)
    train_captions(
        captioner, lessons, vocabulary, places.speaker, lambda speak: few.measure(speak, ASKED), folder,
        places.steps or 1200,
    )  # fmt: skip
    _keep(captioner.reader, folder)


def make_judgement(places: Places) -> None:
    """Every photograph with what is said of it, and the scores, in WORK/judged.json."""
    pupil = load_tower(places)
    photographs = open_photographs(places, pupil)
    reader, _ = new_reader(places)
    done = "captions" if (places.run("captions") / "final.pt").exists() else "words"
    reader.load_state_dict(_kept(places.run(done)))
    said: dict[str, list[str]] = {}

    def speak(features: torch.Tensor, prompt: str) -> list[str]:
        texts = places.speaker.answers(reader.prefix(features, prompt), prompt, beams=3)
        said.setdefault(prompt, []).extend(texts)
        return texts

    with torch.no_grad():
        scores = photographs.measure(speak, ASKED) | photographs.ceiling()
    rows = [dict(zip(("truth", *said), row)) for row in zip(photographs.truths, *said.values())]
    with replacing(places.work / "judged.json") as part:
        part.write_text(json.dumps({"stage": done, "scores": scores, "said": rows}, indent=1), encoding="utf-8")


def open_maps(places: Places) -> Maps:
    """Cached maps and the trunk's answers to them."""
    features = Features.open(places.cache / "trunk")
    return Maps(features, Teacher(places.trunk, features, places.cache / "teacher.pt"))


def load_tower(places: Places) -> Pupil:
    """The frozen tower, without its trunk."""
    pupil = Pupil(CLASSES)
    pupil.load_state_dict(_kept(places.run("tower")))
    return pupil.eval().requires_grad_(False)


def open_photographs(places: Places, pupil: Pupil) -> Photographs:
    """The photographs for measuring, through the tower."""
    numbers, truths = Photographs.chosen(places.measure.rows)
    tokens = torch.from_numpy(np.load(places.cache / "measure.npy", mmap_mode="r")[numbers]).float()
    with torch.no_grad():
        features = torch.cat([pupil(part) for part in tokens.split(64)])
    return Photographs(features, truths, places.trunk.logits(tokens), Judge(places.names))


def open_lessons(places: Places, pupil: Pupil) -> Lessons:
    """Cached outputs of the tower, with what is to be said of them."""
    maps, place = open_maps(places), places.lexicon.place
    phrase = [place.get(places.train.rows[number]["name"], -1) for number in maps.features.pictures]
    seen = Seen.make(pupil, maps, np.array(phrase), places.cache / "seen.npy", MOVED_A_CLASS)
    return Lessons(seen, places.names, places.lexicon)


def new_reader(places: Places) -> tuple[Reader, Vocabulary]:
    """An untrained Q-Former, and what its words are compared with."""
    frame = Frame(places.speaker)
    frame.load_state_dict(_kept(places.run("frame")))
    tokenizer = qformer_tokenizer([*PROMPTS * 100, *places.lexicon.phrases], places.work / "qformer_tokenizer", 1200)
    torch.manual_seed(4)
    reader = Reader(tokenizer, places.speaker.table.shape[1])
    return reader, Vocabulary(places.lexicon, frame, places.speaker)


def _keep(module: torch.nn.Module, folder: Path) -> None:
    with replacing(folder / "final.pt") as part:
        torch.save(module.state_dict(), part)


def _kept(folder: Path) -> Mapping[str, torch.Tensor]:
    return torch.load(folder / "final.pt", weights_only=True)


STAGES: dict[str, Callable[[Places], None]] = {
    "packages": make_packages,
    "pictures": make_pictures,
    "features": make_features,
    "frame": make_frame,
    "tower": make_tower,
    "words": make_words,
    "captions": make_captions,
    "judge": make_judgement,
}
