"""Numbers of a server for Prometheus: requests, times, tokens, batches, the queue, the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._optional import require

if TYPE_CHECKING:
    from .engine import Engine
    from .tickets import Timing

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one app, apart from those of others in the process.

    Args:
        engine: whose queue and batches are counted.
    """

    def __init__(self, engine: Engine) -> None:
        prometheus: Any = require("prometheus_client", extra="serve", purpose="Serving")
        self._prometheus = prometheus
        self.registry = prometheus.CollectorRegistry()
        here = {"registry": self.registry}
        name = "lens_plugins_"
        self._requests = prometheus.Counter(f"{name}requests", "Requests answered.", ["route", "status"], **here)
        self._whole = prometheus.Histogram(
            f"{name}request_seconds", "From head to last byte.", ["route"], buckets=_SECONDS, **here
        )
        self._parts = prometheus.Histogram(
            f"{name}part_seconds", "Reading, waiting and computing.", ["part"], buckets=_SECONDS, **here
        )
        self._batch = prometheus.Histogram(
            f"{name}batch_requests", "Requests that ran together.", ["kind"], buckets=_BATCH, **here
        )
        self._tokens = prometheus.Counter(f"{name}tokens", "Tokens.", ["side"], **here)
        gauges = {"queue_requests": lambda: engine.waiting, "taken_requests": lambda: engine.taken}
        for gauge, value in gauges.items():
            prometheus.Gauge(name + gauge, "Requests in the queue, or taken at all.", **here).set_function(value)
        prometheus.ProcessCollector(registry=self.registry)
        engine.observe = self.computed

    def answered(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """Count a request by its route's own path, never by what a client typed."""
        route = getattr(scope.get("route"), "path", None) or "other"
        self._requests.labels(route, str(status)).inc()
        self._whole.labels(route).observe(seconds)

    def read(self, seconds: float) -> None:
        """Count the time that the inputs of a request took to be read."""
        self._parts.labels("reading").observe(seconds)

    def computed(self, kind: str, timings: Sequence[Timing]) -> None:
        """Count a batch."""
        self._batch.labels(kind).observe(len(timings))
        for timing in timings:
            self._parts.labels("waiting").observe(timing.waiting)
            self._parts.labels("computing").observe(timing.computing)
            self._tokens.labels("prompt").inc(timing.prompt_tokens)
            self._tokens.labels("new").inc(timing.new_tokens)

    def text(self) -> bytes:
        """What `/metrics` answers."""
        return bytes(self._prometheus.generate_latest(self.registry))
