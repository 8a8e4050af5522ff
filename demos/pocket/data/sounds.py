"""Sounds of things: which recordings there are of what, and how they are cut into windows and splits.

What is left out on purpose: speech, spoken letters and numbers, road signs, jingles; recordings that two things share
(badger and beaver have one; the mountain goat and the ram have the goat's, the dromedary a piece of the camel's); files
of pure silence (giraffe, rhea); and sounds of things of which the picture packs hold no training picture, since the
host has no name for those (tuba, organ, clarinet, tambourine). Of games, what may be a person who plays the animal (the
units of MegaGlest, the lion of OpenSFX), MegaGlest's chicken, which is Scratch's rooster, and copies of recordings that
are here already, found by cross-correlation: MegaGlest's `mudchute_cow_1` is the stamps' `cow_white`, LMMS's `crash02`
and `tom03` are their crash cymbal and floor tom, qABCs' `horse` is Scratch's, Scorched 3D's `sheep` is one of
Widelands', and 0 A.D. has several of its own under two names. qABCs' `bass_drum` is too much like the stamps' drum kit
to be told from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from .sound_files import QUIET, RATE, decibels, loudness_of
from .sound_sources import SOURCES, licence_of

__all__ = ["THINGS", "Thing", "Window", "credit_lines", "held_out_windows", "split_in_time", "training_windows"]


@dataclass(frozen=True)
class Thing:
    """A thing that can be heard, by its name in the picture packs."""

    name: str
    sounds: tuple[str, ...]  # recordings that are cut in time: first part for training, last part held out
    other: tuple[str, ...] = ()  # recordings of which no training hears anything
    extra: tuple[str, ...] = ()  # recordings for training only
    shown: tuple[str, ...] = ()  # more names in the packs whose pictures show it
    words: tuple[str, ...] = ()  # more names that count as right


def _stamps(folder: str, *stems: str, extra: Mapping[str, tuple[str, ...]] | None = None) -> tuple[Thing, ...]:
    """Things whose stamp has the thing's own name but for underscores, and more recordings of some by that name."""
    more = extra or {}
    return tuple(Thing(s.replace("_", " "), (f"stamps:{folder}/{s}",), extra=more.get(s, ())) for s in stems)


def _farm(stem: str) -> str:
    return f"gcompris:explore_farm_animals/animals/{stem}.ogg"


def _played(stem: str) -> str:
    return f"gcompris:instruments/{stem}.ogg"


def _several(pattern: str, *parts: str | int) -> tuple[str, ...]:
    return tuple(pattern.format(part) for part in parts)


_notes = partial(_several, "notes:{}")
_bank = partial(_several, "bank:FluidR3_GM/{}")
_abcs = partial(_several, "abcs:{}")
_fauna = partial(_several, "0ad:actor/fauna/{}.ogg")
_scorched = partial(_several, "scorched:{}.wav")
_BIRDS, _MAMMALS, _MUSIC = "stamps:animals/birds", "stamps:animals/mammals", "stamps:hobbies/music"
_MEMORY = "gcompris:memory-sound"

THINGS: tuple[Thing, ...] = (
    *_stamps("animals/birds", "cuckoo", "lark", "penguin", "quetzal", "seagull", "turkey", "vulture", "crow",
             extra={
                 "quetzal": _abcs("quetzal"), "vulture": _abcs("vulture"), "crow": _abcs("crow"),
                 "seagull": ("simutrans:seagulls.wav", *_scorched("none/gull1", "none/gull2", "none/gull4",
                                                                  "none/gull5")),
             }),
    *_stamps("animals/insects", "grasshopper", "hornet", "mosquito", extra={"grasshopper": _abcs("grasshopper")}),
    *_stamps("animals/mammals", "elephant", "ferret", "hippopotamus",
             extra={
                 "ferret": _abcs("ferret"),
                 "elephant": (*_abcs("elephant"), *_fauna(*_several(
                     "animal/elephant_{}", "attack1", "attack2", "attack3", "death1", "death2", "order2", "select1",
                     "select2", "trained1"))),
             }),
    *_stamps("animals/mammals/apes", "gorilla"),
    *_stamps("animals/mammals/aquatic", "dolphin", "orca", "sea_lion",
             extra={"dolphin": _abcs("dolphin"), "sea_lion": ("scratch:Animal/SeaLion.mp3",)}),
    *_stamps("animals/mammals/bovines", "bison", "bull", "goat",
             extra={"bull": ("rogue:bull.ogg",), "goat": _fauna(*_several("death/goat_1{}", *range(8)))}),
    *_stamps("animals/mammals/bears", "bear", extra={"bear": _abcs("bear")}),
    *_stamps("animals/mammals/camel", "camel", extra={"camel": _fauna("animal/camel_10", "death/death_camel_10")}),
    *_stamps("animals/mammals/cats", "lion", "tiger",
             extra={
                 "lion": (*_abcs("lion"), *_fauna("animal/lion_attack2", "animal/lion_select1")),
                 "tiger": _abcs("tiger"),
             }),
    *_stamps("animals/mammals/deer", "caribou"),
    *_stamps("animals/mammals/dogs", "fox"),
    *_stamps("animals/mammals/equines", "donkey", "zebra",
             extra={"donkey": ("widelands:sound/farm/donkey.ogg",), "zebra": _abcs("zebra")}),
    *_stamps("animals/mammals/rodents", "mouse", "rabbit", "squirrel",
             extra={"mouse": _abcs("mouse"), "squirrel": _abcs("squirrel")}),
    *_stamps("animals/marsupials", "koala", extra={"koala": _abcs("koala")}),
    *_stamps("household", "toilet"),
    *_stamps("household/tools", "hammer", "saw",
             extra={
                 "hammer": (*_several("widelands:sound/hammering/{}.ogg", "geologist_hammer", "hammering_00",
                                      "hammering_01", "hammering_02"),
                            *_several("widelands:sound/smiths/smith_0{}.ogg", 0, 1, 2), "effects:Building bridge"),
                 "saw": (*_several("widelands:sound/atlanteans/saw/benchsaw_0{}.ogg", 0, 1, 2),
                         *_several("widelands:sound/atlanteans/saw/sawing_0{}.ogg", 0, 1, 2), "effects:Sawmill",
                         *_several("0ad:resource/construction/con_saw_{:02}.ogg", *range(1, 11))),
             }),
    *_stamps("seasonal/halloween", "ghost"),
    *_stamps("seasonal/newyears", "fireworks"),
    Thing("bat", ("stamps:seasonal/halloween/bat_left",), extra=("wesnoth:bat-flapping.wav",)),
    Thing("bee", ("stamps:animals/insects/bee",), shown=("honeybee",), words=("honeybee",)),
    Thing("blackbird", (f"{_BIRDS}/blackbird",), shown=("black bird",), words=("black bird",)),
    Thing("camera", ("stamps:hobbies/camera_35mm",)),
    Thing("chimpanzee", (f"{_MAMMALS}/apes/chimp",),
          extra=("effects:Tropical: Monkeys", *_abcs("chimpanzee", "little_monkey")), words=("chimp", "monkey", "ape")),
    Thing("deer", (f"{_MAMMALS}/deer/deer", f"{_MAMMALS}/deer/doe"), extra=_abcs("deer"), shown=("doe",),
          words=("doe",)),
    Thing("electric kettle", ("stamps:household/kettle",), words=("kettle",)),
    Thing("goose", (f"{_BIRDS}/gander",), extra=("scratch:Animal/Goose.wav", "abcs:goose"), shown=("gander",),
          words=("gander",)),
    Thing("great blue heron", (f"{_BIRDS}/heron_greatblue_flying",), extra=_abcs("heron"), words=("heron",)),
    Thing("scissors", ("stamps:household/arttools/scissors_small_open",), shown=("pair of open scissors",)),
    Thing("toucan", (f"{_BIRDS}/tucan",)),
    Thing("whale", (f"{_MAMMALS}/aquatic/whale",), extra=_abcs("whale"), shown=("spouting whale",)),
    # Animals with several recordings.
    Thing("cat", ("stamps:seasonal/halloween/blackcat", "animals:cat"), (_farm("cat"),),
          ("scratch:Animal/Cat.mp3", "scratch:Animal/Kitten.wav", "scratch:Animal/Meow.wav", "abcs:cat"),
          words=("kitten",)),
    Thing("chicken", (_farm("chickens"),), (f"{_BIRDS}/hen",), _fauna(*_several("animal/chicken_1{}", *range(4))),
          shown=("hen", "brown hen"), words=("hen",)),
    Thing("cow", (f"{_MAMMALS}/bovines/cow", f"{_MAMMALS}/bovines/cow_white", "animals:cow"), (_farm("cow"),),
          ("effects:Cow", *_abcs("cow", "calf"), *_fauna(*_several("animal/cattle_0{}", *range(1, 8))),
           *_scorched("apoc/cows", "apoc/moo"))),
    Thing(
        "dog", (f"{_MAMMALS}/dogs/dog", f"{_MEMORY}/LRBark_1_LA_cut.ogg", f"{_MEMORY}/LRBark_3_LA_cut.ogg",
                "animals:dog"), (_farm("dog"),),
        ("mate:bark.ogg", "abcs:dog", *_scorched("apoc/dog", "apoc/dog2", "apoc/dog3"),
         *_several("lugaru:{}.ogg", "Bark", "Bark2", "Bark3")), words=("puppy",),
    ),
    Thing("duck", (f"{_BIRDS}/duck", f"{_BIRDS}/drake", "animals:duck"), (_farm("duck"),),
          (*_several("widelands:world/critters/duck/duck_0{}.ogg", 0, 1, 2), "abcs:duck"), shown=("drake",),
          words=("drake",)),
    Thing("frog", ("animals:frog", f"{_MEMORY}/LRFrogsInPondDuringStormLACut.ogg"),
          ("stamps:animals/amphibians/frog",),
          ("widelands:sound/animals/frog.ogg", "rogue:seen-frog3.ogg", "abcs:frog", *_scorched("none/frogs"))),
    Thing("horse", (f"{_MAMMALS}/equines/horse", "animals:horse"), (_farm("horse"),),
          ("scratch:Animal/Horse.wav", "scratch:Animal/HorseGallop.wav", "widelands:sound/farm/horse_01.ogg",
           *_several("wesnoth:horse-hit-{}.ogg", 1, 2, 3), "simutrans:horse.wav", "effects:Horse",
           "abcs:foal", *_fauna("animal/horse_11", "death/death_horse_10", "death/death_horse_11", *_several(
               "animal/horse_{}", "attack1", "attack2", "attack3", "death1", "death2", "idle1", "idle2", "idle3",
               "select1", "select2", "select3")))),
    Thing("owl", (f"{_BIRDS}/owl", "animals:owl"), (_farm("owl"),),
          ("scratch:Animal/Owl.wav", "glest:tilesets/autumn/sounds/owl.ogg", *_abcs("owl", "eagle-owl"))),
    Thing("pig", (f"{_MAMMALS}/pig", f"{_MAMMALS}/pig_golden", f"{_MAMMALS}/pig_golden2", "animals:pig"),
          (_farm("pig"),), ("abcs:pig", *_fauna("animal/pig_10", "animal/pig_death", "animal/pig_squeal_move")),
          shown=("tamworth pig",)),
    Thing("rooster", ("animals:rooster",), (f"{_BIRDS}/rooster",),
          ("scratch:Animal/Rooster.wav", "glest:tilesets/autumn/sounds/rooster.ogg", "abcs:rooster",
           *_scorched("apoc/rooster")),
          shown=("colorful rooster",), words=("cock",)),
    Thing("sheep", (f"{_MAMMALS}/bovines/sheep", f"{_MAMMALS}/bovines/sheep_lamb", "animals:sheep"),
          (_farm("sheep"),), (*_several("widelands:sound/farm/sheep_0{}.ogg", 0, 1, 2), "effects:Sheep", "abcs:sheep",
                             *_fauna("animal/sheep_10", "animal/sheep_11")),
          shown=("ewe", "sheep lamb"), words=("lamb", "ewe")),
    # Instruments.
    Thing("accordion", (_played("accordion"),), extra=(*_notes("Tone_000/021_Accordion"), *_bank("Accordian*"),
                                                       "abcs:accordion")),
    Thing("banjo", (_played("banjo"),), extra=_bank("Banjo*")),
    Thing("bassoon", (f"{_MUSIC}/wind/bassoon",), extra=(
        *_notes("Tone_000/070_Bassoon"), *_bank("E's Bassoon*"), "tones-bassoon:package",
        "blocks:instruments/14-bassoon")),
    Thing("cello", (_played("cello"),), (f"{_MUSIC}/string/cello",), (
        *_notes("Tone_000/042_Cello"), *_bank("Cello*"), "tones-cello:package", "blocks:instruments/8-cello",
        "lmms:instruments/cello01.ogg", "abcs:cello")),
    Thing("crash cymbal", (_played("cymbal"),), (f"{_MUSIC}/percussion/cymbal_crash",), (
        *_notes("Drum_000/049_Cymbal_Crash_1", "Drum_000/057_Cymbal_Crash_2", "Drum_000/055_Cymbal_Splash"),
        *_bank("Crsh 1*", "Crsh 2*", "Splash*"), "kits:Black_Pearl_4_LV2/49-*", "kits:Red_Zeppelin_4_LV2/49-*",
        "kits:Black_Pearl_4_LV2/55-*", "scratch:Percussion/CymbalCrash.wav", "blocks:drums/4-crash-cymbal.mp3",
        *_several("sonic:drum_{}.flac", "cymbal_hard", "cymbal_open", "splash_hard", "splash_soft"),
        "lmms:drums/crash01.ogg", "abcs:cymbals"), words=("cymbal",)),
    Thing("drum", (f"{_MUSIC}/percussion/drum_tomtom_floor", _played("snare_drum")), shown=("long drum",), extra=(
        *_notes("Drum_000/038_Snare_1", "Drum_000/040_Snare_2", "Drum_000/041_Tom_Low_2", "Drum_000/045_Tom_Mid_2",
                "Drum_000/048_Tom_High_2"), *_bank("Tom *"), *_several("kits:Black_Pearl_4_LV2/{}-*", 38, 41, 45),
        *_several("kits:Red_Zeppelin_4_LV2/{}-*", 38, 41, 45), "sonic:drum_roll.flac",
        *_several("sonic:drum_tom_{}_hard.flac", "hi", "lo", "mid"), "lmms:drums/tom04.ogg", "lmms:drums/tom05.ogg")),
    Thing("drum kit", (f"{_MUSIC}/percussion/drumkit",), extra=(
        _played("drum_kit"), "sonic:loop_amen_full.flac", "abcs:drums"), words=("drum", "drums")),
    Thing("electric guitar", (_played("electric_guitar"),), words=("guitar",), extra=(
        *_notes("Tone_000/027_Clean_Electric_Guitar", "Tone_000/029_Overdriven_Guitar"),
        *_bank("Clean*", "Distortion*"), "tones-guitar-electric:package", "blocks:instruments/5-electric-guitar",
        *_several("sonic:guit_{}.flac", "e_fifths", "e_slide", "em9", "harmonics"),
        *_several("lmms:instruments/steel_guitar_{}_distorted01.ogg", "slight", "heavy"),
        "abcs:electric_guitar")),
    Thing("flute", (_played("flute_traversiere"),), extra=(
        *_notes("Tone_000/073_Flute"), *_bank("Flute*"), "tones-flute:package", "blocks:instruments/12-flute",
        "lmms:instruments/flute01.ogg", *_abcs("flute", "western_concert_flute"))),
    Thing("french horn", (_played("horn"),), words=("horn",), extra=(
        *_notes("Tone_000/060_French_Horn"), *_bank("French Horns*"), "tones-french-horn:package",
        "abcs:natural_horn")),
    Thing("guitar", (_played("guitar"),), tuple(f"{_MEMORY}/guitar_son{i}.ogg" for i in (1, 2, 3, 4)), (
        *_notes("Tone_000/024_Nylon_Guitar", "Tone_000/025_Steel_Guitar"), *_bank("Nylon*", "Steel ??"),
        "tones-guitar-acoustic:package", "blocks:instruments/4-guitar", "scratch:Instruments/GuitarStrum.wav",
        "lmms:instruments/steel_guitar01.ogg", "abcs:guitar"), shown=("classical guitar",)),
    Thing("harp", (_played("harp"),), extra=(
        *_notes("Tone_000/046_Harp"), *_bank("Harp *"), "tones-harp:package", "abcs:harp")),
    Thing("maracas", (_played("maracas"),), extra=(
        *_notes("Drum_000/070_Maracas"), "scratch:Percussion/Shaker.wav", "abcs:maracas")),
    Thing("piano", (_played("piano"),), words=("keyboard",), extra=(
        *_notes("Tone_000/000_Acoustic_Grand_Piano", "Tone_000/001_Acoustic_Brite_Piano"), *_bank("P200 Piano*"),
        "tones-piano:package", "blocks:instruments/1-piano", "lmms:instruments/piano01.ogg",
        "lmms:instruments/piano02.ogg", *_abcs("piano", "grand_piano"))),
    Thing("saxophone", (_played("saxophone"),), words=("sax",), extra=(
        *_notes("Tone_000/065_Alto_Sax", "Tone_000/066_Tenor_Sax", "Tone_000/067_Baritone_Sax"),
        *_bank("Soprano*", "Alto*", "Tenor*", "Baritone*"), "tones-saxophone:package",
        "blocks:instruments/11-saxophone", "abcs:saxophone")),
    Thing("trombone", (_played("trombone"),), extra=(
        *_notes("Tone_000/057_Trombone"), *_bank("trombone*"), "tones-trombone:package",
        "blocks:instruments/9-trombone")),
    Thing("trumpet", (_played("trumpet"),), extra=(
        *_notes("Tone_000/056_Trumpet", "Tone_000/059_Muted_Trumpet"), *_bank("tp_*"), "tones-trumpet:package",
        "scratch:Instruments/Trumpet1.wav", "scratch:Instruments/Trumpet2.wav", "lmms:instruments/trumpet01.ogg",
        "abcs:trumpet")),
    Thing("violin", (_played("violin"),), (f"{_MUSIC}/string/violin",), (
        *_notes("Tone_000/040_Violin"), *_bank("Violin*"), "tones-violin:package",
        "lmms:instruments/violin_double_stop01.ogg", "lmms:instruments/violin_fingered01.ogg",
        "abcs:violin"), words=("fiddle",)),
    Thing("xylophone", tuple(f"gcompris:melody/xylofon_son{i}.wav" for i in (1, 2, 3, 4)), extra=(
        *_notes("Tone_000/013_Xylophone"), *_bank("Xylophone*"), "tones-xylophone:package", "abcs:xylophone")),
    # Vehicles, weather, the house.
    Thing("car", (f"{_MEMORY}/LRStartAndStopCarEngine1LACut.ogg",), shown=("automobile",),
          extra=("scratch:Effects/CarPassing.wav", "effects:Modern car horn"), words=("automobile", "taxi")),
    Thing("cloud with rain", (f"{_MEMORY}/LRRain_in_garden_01_LA_cut.ogg",), words=("rain",),
          extra=(*_several("glest:tilesets/{}/sounds/rain.ogg", "autumn", "birch_forest", "dark_forest"),
                 "0ad:ambient/weather/rain_11.ogg")),
    Thing("door", (f"{_MEMORY}/LRDoor_Open_2_LA.ogg",),
          extra=("scratch:Effects/DoorClose.mp3", "scratch:Effects/DoorCreak.wav")),
    Thing("fire truck", ("stamps:vehicles/emergency/firetruck",), shown=("fire engine",), words=("fire engine",),
          extra=_scorched("apoc/firetruck")),
    Thing("helicopter", ("gcompris:guessnumber/helicopter.wav",), extra=(
        *_several("rescue:helicopter_engine_{}.wav", "outside", "outside2", "outside3"),
        "rescue:hh65/engine_inside.wav", "effects:Helicopter", "abcs:helicopter")),
    Thing("lightning bolt", ("stamps:naturalforces/lightningbolt",), shown=("high voltage", "cloud with lightning"),
          words=("lightning", "thunder", "high voltage"),
          extra=(*_several("rescue:thunder_{}.wav", "faint", "moderate", "loud"), "wesnoth:lightning.ogg")),
    Thing("racing car", ("stamps:town/flags/checkeredflag",), shown=("race car",), words=("race car", "car")),
    Thing("train", (f"{_MEMORY}/LRTrain_slowing_down_01_LA_cut.ogg", "gcompris:railroad/sounds/train.wav"),
          shown=("locomotive", "steam locomotive"), words=("locomotive",),
          extra=("effects:Steam train station departure", "effects:Diesel/electric train station departure",
                 "abcs:train")),
)  # fmt: skip


def credit_lines() -> list[str]:
    """For the attribution page: how many recordings of each package stand under which licence, and who made them."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for thing in THINGS:
        for sound in (*thing.sounds, *thing.extra, *thing.other):
            counts[(sound.partition(":")[0], *licence_of(sound))] += 1
    return [
        f"- {count} recordings of {SOURCES[source].name} {SOURCES[source].version}, {maker}: {licence}"
        for (source, licence, maker), count in sorted(counts.items())
    ]


# Cutting. All times are in samples.

SHORTEST = RATE  # a shorter recording has no part to hold out
LONG = 4 * RATE  # a recording from which validation has a part of its own
CLIP = 2 * RATE
LENGTHS = (CLIP, RATE, RATE // 2)  # of training windows; a held-out part of a short recording is short too
MOST_TESTED = 3  # windows of one recording that are held out, so that long ones don't decide


@dataclass(frozen=True)
class Window:
    """From `start` up to `stop` of a recording."""

    start: int
    stop: int


def split_in_time(length: int) -> dict[str, Window]:
    """The parts of a recording by split, in this order in time: train, val, then after a gap test.

    60 % are for training and 30 % are held out; a recording shorter than a second is all for training. Of long ones
    the last sixth of what would be for training is for validation.
    """
    if length < SHORTEST:
        return {"train": Window(0, length)}
    train, test = round(0.6 * length), round(0.7 * length)
    if length < LONG:
        return {"train": Window(0, train), "test": Window(test, length)}
    val = round(0.5 * length)
    return {"train": Window(0, val), "val": Window(val, train), "test": Window(test, length)}


def training_windows(samples: np.ndarray, part: Window) -> list[Window]:
    """Overlapping windows of several lengths inside a part, the longest first; all of it where it is shorter."""
    found: list[Window] = []
    for length in LENGTHS:
        found += _audible(samples, _windows(part, length, length // 2))
    return list(dict.fromkeys(found))


def held_out_windows(samples: np.ndarray, part: Window) -> list[Window]:
    """Up to three windows of two seconds that share nothing, evenly spread; all of the part where it is shorter."""
    found = _audible(samples, _windows(part, CLIP, CLIP))
    step = max(1, -(-len(found) // MOST_TESTED))
    return found[::step]


def _windows(part: Window, length: int, hop: int) -> list[Window]:
    if part.stop - part.start <= length:
        return [part]
    return [Window(start, start + length) for start in range(part.start, part.stop - length + 1, hop)]


def _audible(samples: np.ndarray, windows: Iterable[Window]) -> list[Window]:
    """Those with a moment in them that is not much quieter than the recording's loudest."""
    loudest = loudness_of(samples).max()
    return [w for w in windows if decibels(loudness_of(samples[w.start : w.stop]), loudest).max(initial=-99) > -QUIET]
