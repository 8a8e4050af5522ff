"""AudioCaps' test split, five captions a recording: the 813 that ImageBind reports on, and all 963."""

from __future__ import annotations

from dataclasses import replace

from .benchmark import Benchmark, Published
from .sound import MISSES, UNIT_CAPTIONS, caption_rows, caption_tasks, clips_of

__all__ = ["BENCHMARK", "FULL"]

_WHICH = "The published table does not say which of the two sets it is of; the smaller one is likelier. Run both."

BENCHMARK = Benchmark(
    name="audiocaps",
    title="AudioCaps (ImageBind's subset)",
    modality="audio",
    rows=lambda folders: caption_rows(folders, "audiocaps_test_ib.tsv", "audiocaps_test_ib_new.tsv"),
    tasks=lambda folders, rows: caption_tasks(folders, rows, "audiocaps_test_ib_texts.json", "audiocaps_test_ib.json"),
    reading=clips_of("audiocaps"),
    expected=813,
    published=(
        Published("ViT-Lens-L", {"text to audio R@1": 14.4, "text to audio R@10": 54.9}, "vitlensL_audio.pt"),
        Published("ViT-Lens-B", {"text to audio R@1": 13.5, "text to audio R@10": 54.1}, "vitlensB_audio_dur5.pt"),
        Published("ImageBind-H", {"text to audio R@1": 9.3, "text to audio R@10": 42.3}),
    ),
    notes=(_WHICH, UNIT_CAPTIONS, MISSES),
)

FULL = replace(
    BENCHMARK,
    name="audiocaps-full",
    title="AudioCaps (all)",
    rows=lambda folders: caption_rows(folders, "audiocaps_test_new.tsv"),
    tasks=lambda folders, rows: caption_tasks(
        folders, rows, "audiocaps_test_texts.json", "audiocaps_test_new_texts.json"
    ),
    expected=963,
)
