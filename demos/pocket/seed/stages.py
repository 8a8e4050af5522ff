"""The stages of building the pocket SEED, each resumable, each reading what the ones before it left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lens_plugins.errors import InputError
from lens_plugins.hosts.loading import load_tokenizer
from lens_plugins.hosts.seed_llama.prompt import STYLES
from lens_plugins.hosts.seed_llama.tokenizer import SeedTokenizer
from lens_plugins.hosts.text_tower import HEAD_FILE, load_text_head

from ..dialogue import Exchange
from ..lenses import pocket_vit
from ..packs import Pictures
from ..teacher import ImageTeacher, text_features
from ..vit import Labels
from .autoencoder import new_autoencoder, train_autoencoder, write_latents
from .build import write_host
from .codes import Codes, drawn_looks, embeds_of, read_codes, scene_looks, train_way_back
from .dialogue import Talk, corpus
from .embedding import ImageEmbedding, Judge, Reading
from .language import LanguagePupil, new_language_model, new_words, place_codes, train_language
from .onlookers import Network, Onlooker
from .scenes import Look, Plan, Scenes, things
from .sizes import Places
from .tokenizer import CodePupil, new_tokenizer, train_tokenizer
from .unclip import Eye, Given, new_pipeline, new_unet, train_unet

__all__ = ["STAGES"]

Texts = Callable[[Sequence[str]], Tensor]


def make_features(places: Places, texts: Texts = text_features) -> None:
    """Scenes, the frozen ViT's features of them, and the image embedding."""
    scenes = _scenes(places)
    torch.save(ImageEmbedding.fit(scenes, places.sizes.embedding).state_dict(), places.home / "embedding.pt")


def make_tokenizer(places: Places, texts: Texts = text_features) -> None:
    """The causal Q-Former and its codebook; the codes of all scenes; then the way back from them."""
    scenes, pupil = _scenes(places), _code_pupil(places, texts)
    look, labels = _held(places, scenes)
    judge = _judge(places, labels, texts)
    train_tokenizer(pupil, scenes, (look, labels), judge, places.sizes, places.home / "tokenizer")
    known = read_codes(pupil, scene_looks(scenes), places.home / "codes")
    further = drawn_looks(scenes.pictures, _more(places, scenes), pupil.tokenizer.vit)
    known = known.joined(read_codes(pupil, further, places.home / "more_codes"))
    reading = _reading(places, texts, judge)
    train_way_back(pupil, known, reading, (look, labels), judge, places.sizes, places.home / "way_back")
    _keep(pupil.tokenizer, places.home / "tokenizer")


def make_autoencoder(places: Places, texts: Texts = text_features) -> None:
    """Pixels to latents and back; then the latents of all scenes."""
    scenes, vae, vit = _scenes(places), new_autoencoder(places.sizes), pocket_vit(places.instructblip)
    look, labels = _held(places, scenes)
    judge = _judge(places, labels, texts)
    train_autoencoder(vae, vit, scenes, (look, labels), judge, places.sizes, places.home / "autoencoder")
    _keep(vae, places.home / "autoencoder", scale=vae.config.scaling_factor)
    write_latents(vae, scenes, places.sizes, places.home / "latents.npy")


def make_unclip(places: Places, texts: Texts = text_features) -> None:
    """The diffusion from image embeddings to latents, and the decoder that learns along."""
    scenes, vae, tokenizer = _scenes(places), _autoencoder(places), _tokenizer(places)
    look, labels = _held(places, scenes)
    judge = _judge(places, labels, texts)
    held = (_embeds(tokenizer, look), labels, judge.of_tokens(look.features[:, 0]), judge)
    latents = write_latents(vae, scenes, places.sizes, places.home / "latents.npy")
    embeds = np.stack([embeds_of(tokenizer, codes) for codes in _codes(places).codes])
    pipeline = _pipeline(places, vae, scenes)
    given = Given(scenes, latents, embeds, _embedding(places))
    onlookers = [Onlooker(network, scenes) for network in _networks()]
    eye = Eye.of(pocket_vit(places.instructblip), scenes, _reading(places, texts, judge), onlookers)
    folder = places.home / "unclip"
    train_unet(pipeline, given, eye, held, places.sizes, folder)
    _keep(pipeline.unet, folder)
    _keep(vae, folder / "vae")


def make_language(places: Places, texts: Texts = text_features) -> None:
    """The language model over words and codes."""
    scenes, tokenizer = _scenes(places), _tokenizer(places)
    words = _words(places, scenes)
    pupil = LanguagePupil(new_language_model(words, places.sizes))
    place_codes(pupil.model, words, tokenizer.codebook.weight)
    pictures = scenes.pictures
    codes = np.concatenate([_codes(places).codes, _codes(places, "more_codes").codes], 1)
    exchange = Exchange(Labels.of(pictures.rows).names)
    talk = Talk(pictures, scenes.plan.joined(_more(places, scenes)), codes, STYLES["vicuna"], exchange, words.eos_token)
    look, labels = _held(places, scenes)
    with torch.no_grad():
        held = (tokenizer.quantize(look.features), labels)
    train_language(pupil, words, talk, tokenizer, held, places.sizes, places.home / "language")
    _keep(pupil.model, places.home / "language")


def make_build(places: Places, texts: Texts = text_features) -> None:
    """The folder that ships."""
    scenes = _scenes(places)
    words = _words(places, scenes)
    model = _read(new_language_model(words, places.sizes), places.home / "language")
    pipeline = _pipeline(places, _read(_autoencoder(places), places.home / "unclip" / "vae"), scenes)
    _read(pipeline.unet, places.home / "unclip")
    write_host(places.host, _tokenizer(places), model, words, pipeline, scenes.pictures.rows)


STAGES: dict[str, Callable[..., None]] = {
    "features": make_features,
    "tokenizer": make_tokenizer,
    "autoencoder": make_autoencoder,
    "unclip": make_unclip,
    "language": make_language,
    "build": make_build,
}


def _scenes(places: Places) -> Scenes:
    pictures, vit = Pictures.open(places.packs), pocket_vit(places.instructblip)
    return Scenes.make(pictures, vit, places.home / "scenes", places.sizes.groups)


def _held(places: Places, scenes: Scenes) -> tuple[Look, list[str]]:
    return things(scenes.pictures, pocket_vit(places.instructblip), places.sizes.held_out)


def _embedding(places: Places) -> ImageEmbedding:
    width = pocket_vit(places.instructblip).width
    made = ImageEmbedding(width, places.sizes.embedding)
    made.load_state_dict(_load(places.home / "embedding.pt", "features"))
    return made


def _judge(places: Places, labels: Sequence[str], texts: Texts) -> Judge:
    names = sorted(set(labels))
    return Judge(pocket_vit(places.instructblip), load_text_head(places.instructblip / HEAD_FILE), names, texts(names))


def _networks() -> list[Network]:
    """Those that look at what is drawn; another one judges it."""
    return [ImageTeacher(0), ImageTeacher(1)]


def _code_pupil(places: Places, texts: Texts, tokenizer: SeedTokenizer | None = None) -> CodePupil:
    names = texts(Labels.of(Pictures.open(places.packs).rows).names)
    tokenizer = tokenizer or new_tokenizer(places.instructblip, places.sizes)
    return CodePupil(tokenizer, _embedding(places), load_text_head(places.instructblip / HEAD_FILE), names)


def _tokenizer(places: Places) -> SeedTokenizer:
    made = new_tokenizer(places.instructblip, places.sizes)
    return _read(made, places.home / "tokenizer").requires_grad_(False)


def _codes(places: Places, name: str = "codes") -> Codes:
    folder = places.home / name
    if not folder.is_dir():
        raise InputError(f"{folder} is not there; run the stage 'tokenizer' first.")
    return Codes.open(folder)


def _more(places: Places, scenes: Scenes) -> Plan:
    """Further scenes of the same pictures, of which only codes and embeddings are kept."""
    return Plan.draw(scenes.pictures.rows, places.sizes.more_groups, seed=71)


def _reading(places: Places, texts: Texts, judge: Judge) -> Reading:
    names = texts(Labels.of(Pictures.open(places.packs).rows).names)
    return Reading(judge.head, (names, 30.0), (judge.texts, 40.0))


def _autoencoder(places: Places) -> Any:
    vae = _read(new_autoencoder(places.sizes), places.home / "autoencoder").requires_grad_(False)
    vae.register_to_config(scaling_factor=float(_load(places.home / "autoencoder" / "scale.pt", "autoencoder")))
    return vae


def _pipeline(places: Places, vae: Any, scenes: Scenes) -> Any:
    embeds = _embedding(places)(scenes.take(scenes.spread(4096)))
    spread = torch.stack([embeds.mean(0), embeds.std(0).clamp(min=1e-2)])
    return new_pipeline(vae, new_unet(places.sizes), spread.half().float(), places.home / "clip")


def _embeds(tokenizer: SeedTokenizer, look: Look) -> Tensor:
    with torch.no_grad():
        return tokenizer.image_embeds(tokenizer.quantize(look.features))


def _words(places: Places, scenes: Scenes) -> Any:
    """The vocabulary: made once, so that ids cannot move between stages."""
    folder = places.home / "words"
    if not folder.is_dir():
        new_words(corpus(scenes.pictures.rows, STYLES["vicuna"]), places.sizes).save_pretrained(folder)
    return load_tokenizer(folder)


def _keep(module: nn.Module, folder: Path, scale: float | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), folder / "final.pt")
    if scale is not None:
        torch.save(torch.tensor(scale), folder / "scale.pt")


def _read(module: Any, folder: Path) -> Any:
    module.load_state_dict(_load(folder / "final.pt", folder.name))
    return module.eval()


def _load(file: Path, stage: str) -> Any:
    if not file.is_file():
        raise InputError(f"{file} is not there; run the stage {stage!r} first.")
    return torch.load(file, weights_only=True)
