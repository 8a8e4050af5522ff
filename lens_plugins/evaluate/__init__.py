"""Published benchmarks, one file each, and the loop that all of them share. Importing this needs no torch."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names as _lazy_names
from .names import BENCHMARKS, find_benchmark

if TYPE_CHECKING:
    from ..hosts.vectors import FeatureCache as FeatureCache
    from .benchmark import Benchmark as Benchmark
    from .benchmark import Folders as Folders
    from .benchmark import Published as Published
    from .benchmark import Row as Row
    from .loop import Work as Work
    from .loop import evaluate as evaluate
    from .loop import lay_out as lay_out
    from .loop import score as score
    from .report import Result as Result

_HOME = {
    "Benchmark": ".benchmark",
    "FeatureCache": "..hosts.vectors",
    "Folders": ".benchmark",
    "Published": ".benchmark",
    "Result": ".report",
    "Row": ".benchmark",
    "Work": ".loop",
    "evaluate": ".loop",
    "lay_out": ".loop",
    "score": ".loop",
}

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "FeatureCache",
    "Folders",
    "Published",
    "Result",
    "Row",
    "Work",
    "evaluate",
    "find_benchmark",
    "lay_out",
    "score",
]

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
