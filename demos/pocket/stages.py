"""The stages of building the pocket host, each resumable, each reading what the one before it left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lens_plugins.pocket.language_model import folder as language_model_folder

from .build import save_host, save_text_head
from .dialogue import all_texts
from .expected import write_expected
from .heldout import write_heldout
from .lenses import train_point_cloud, train_sense
from .packs import Pictures
from .probe import write_probe
from .qformer import Lessons, Pupil, build_model, qformer_tokenizer, train_language, train_pairs, train_words
from .senses import senses
from .teacher import picture_features, text_features
from .vit import Labels, VitPupil, make_views, train_vit

__all__ = ["PACKS", "Places", "STAGES"]

PACKS = ("sweethome", "generated", "emoji", "stamps", "clipart", "materials")


@dataclass(frozen=True)
class Places:
    """Where a build works and where its results go."""

    work: Path
    target: Path

    @property
    def packs(self) -> list[Path]:
        return [self.work / "pack" / name for name in PACKS]

    @property
    def vit(self) -> Path:
        return self.work / "vit"


def make_data(places: Places) -> None:
    """Fetch the packages, render, pack; see `pocket.data`."""
    from .data import build

    build.build_all(places.work, places.work / "downloads")
    build.write_attribution(places.work, places.target / "ATTRIBUTION.md", list(build.PICTURE_PACKS))


def make_teacher(places: Places) -> None:
    """Features of the image teacher for every picture."""
    for pack in places.packs:
        picture_features(pack)


def make_probe(places: Places) -> None:
    """The alternative that the figures stand beside."""
    write_probe(places.work / "pack" / "sweethome", places.work / "probe.json")


def make_vit(places: Places) -> None:
    """Stage one."""
    teacher = np.concatenate([picture_features(pack) for pack in places.packs])
    pupil = train_vit(Pictures.open(places.packs), teacher, text_features, places.vit)
    pupil.vit.half().float()  # rounded as it will ship, so that whatever follows meets the final ViT
    pupil.text_head.half().float()
    torch.save(pupil.state_dict(), places.vit / "final.pt")


def make_expected(places: Places) -> None:
    """What the finished host and lens give, for the test that compares."""
    write_expected(places.target / "expected" / "expected.safetensors")


def load_vit(places: Places, pictures: Pictures) -> VitPupil:
    """The trained stage one."""
    labels = Labels.of(pictures.rows)
    pupil = VitPupil(text_features(labels.names), len(labels.classes))
    pupil.load_state_dict(torch.load(places.vit / "final.pt", weights_only=True))
    return pupil.eval()


def make_words(places: Places) -> None:
    """Stage two, warm start."""
    _, pupil, lessons = _second_stage(places)
    train_words(pupil, lessons, places.work / "words")
    torch.save(pupil.state_dict(), places.work / "words" / "final.pt")


def make_language(places: Places) -> None:
    """Stage two, through the language model; then the host is written, and frozen for good."""
    model, pupil, lessons = _second_stage(places)
    pupil.load_state_dict(torch.load(places.work / "words" / "final.pt", weights_only=True))
    train_language(pupil, lessons, places.work / "language")
    train_pairs(pupil, lessons, places.work / "pairs")
    host = places.target / "instructblip"
    save_host(model, pupil.tokenizers[0], host)
    save_text_head(pupil.frozen[0], host)
    write_heldout(places.work / "pack" / "sweethome", places.target / "heldout" / "objects")


def make_lens(places: Places) -> None:
    """The point cloud lens, by the public training call alone."""
    train_point_cloud(places.work, places.target)


def make_senses(places: Places) -> None:
    """The lenses of the other senses, by the same call."""
    for sense in senses().values():
        train_sense(sense, places.work, places.target)


def _second_stage(places: Places) -> tuple[torch.nn.Module, Pupil, Lessons]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pictures = Pictures.open(places.packs)
    home = language_model_folder()
    tokenizer = AutoTokenizer.from_pretrained(home)
    language = AutoModelForCausalLM.from_pretrained(home, dtype=torch.float32)
    vocabulary = qformer_tokenizer(all_texts(pictures.rows), places.work / "qformer_tokenizer")
    vit = load_vit(places, pictures)
    model = build_model(vit, language, len(vocabulary))
    views = make_views(pictures, places.work / "views")
    lessons = Lessons.make(vit, pictures, views, places.work / "features.npy")
    return model, Pupil(model, vit, vocabulary, tokenizer), lessons


STAGES: dict[str, Callable[[Places], None]] = {
    "data": make_data,
    "teacher": make_teacher,
    "probe": make_probe,
    "vit": make_vit,
    "words": make_words,
    "language": make_language,
    "lens": make_lens,
    "senses": make_senses,
    "expected": make_expected,
}
