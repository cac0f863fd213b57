"""What Prometheus is told: counts, times and sizes, never what anybody said."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from selfhood.serve.admission import Admission

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """One registry a server. ``model`` is always a name that the server knows."""

    def __init__(self, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "selfhood_requests", "HTTP requests answered", ["route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            "selfhood_tokens", "tokens read (prompt) and written (completion)", ["model", "kind"],
            registry=self._registry,
        )  # fmt: skip
        self._first = Histogram(
            "selfhood_first_piece_seconds", "from the request to the first piece of its reply",
            ["model"], buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._whole = Histogram(
            "selfhood_reply_seconds", "from the request to the end of its reply",
            ["model"], buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._hung_up = Counter(
            "selfhood_disconnects", "clients that left before their reply was whole",
            registry=self._registry,
        )  # fmt: skip
        self._gauge("selfhood_running_requests", "requests being answered").set_function(
            lambda: admission.running
        )
        self._gauge("selfhood_waiting_requests", "requests in the queue").set_function(
            lambda: admission.waiting
        )
        self.num_requests = 0
        self.num_tokens = 0

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(name, help, registry=self._registry)

    def answered(self, route: str, status: int) -> None:
        self.num_requests += 1
        self._requests.labels(route, str(status)).inc()

    def hung_up(self) -> None:
        self._hung_up.inc()

    def began(self, model: str, since: float) -> None:
        self._first.labels(model).observe(time.monotonic() - since)

    def ended(self, model: str, since: float, *, num_prompt_tokens: int, num_tokens: int) -> None:
        self.num_tokens += num_tokens
        self._whole.labels(model).observe(time.monotonic() - since)
        self._tokens.labels(model, "prompt").inc(num_prompt_tokens)
        self._tokens.labels(model, "completion").inc(num_tokens)

    def text(self) -> bytes:
        return generate_latest(self._registry)
