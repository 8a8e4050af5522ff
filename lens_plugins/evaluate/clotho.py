"""Clotho's evaluation split: 1,045 recordings with five captions each."""

from __future__ import annotations

from .benchmark import Benchmark, Published
from .sound import MISSES, UNIT_CAPTIONS, caption_rows, caption_tasks, clips_of

__all__ = ["BENCHMARK"]

BENCHMARK = Benchmark(
    name="clotho",
    title="Clotho",
    modality="audio",
    rows=lambda folders: caption_rows(folders, "clotho_evaluation_new.tsv"),
    tasks=lambda folders, rows: caption_tasks(folders, rows, "clotho_evaluation_texts.json"),
    reading=clips_of("clotho"),
    expected=1045,
    published=(
        Published("ViT-Lens-L", {"text to audio R@1": 8.1, "text to audio R@10": 31.2}, "vitlensL_audio.pt"),
        Published("ViT-Lens-B", {"text to audio R@1": 7.5, "text to audio R@10": 29.5}, "vitlensB_audio_dur5.pt"),
        Published("ImageBind-H", {"text to audio R@1": 6.0, "text to audio R@10": 28.4}),
    ),
    notes=(UNIT_CAPTIONS, MISSES),
)
