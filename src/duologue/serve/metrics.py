"""What the server counts, as Prometheus reads it. No label holds text, a key or an id."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SHORT_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_STEP_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.032, 0.05, 0.1, 0.25, 1.0)
_SESSION_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)


class Metrics:
    """All instruments of one app, in a registry of its own."""

    def __init__(self, slots: int) -> None:
        self._registry = registry = CollectorRegistry()
        self.sessions = Gauge("duologue_sessions", "Open sessions", ["protocol"], registry=registry)
        self.slots = Gauge("duologue_slots", "Sessions that may be open", registry=registry)
        self.admissions = Counter(
            "duologue_admissions_total",
            "Callers by what became of them",
            ["protocol", "result"],
            registry=registry,
        )
        self.closes = Counter("duologue_closes_total", "Closed sockets", ["code"], registry=registry)
        self.errors = Counter("duologue_errors_total", "Errors told to callers", ["code"], registry=registry)
        self.session_seconds = self._times("session", "Length of sessions", _SESSION_S)
        self.step_seconds = self._times("step", "Work of one step", _STEP_S)
        self.step_budget_seconds = self._times("step_budget", "Sound in one step", _STEP_S)
        self.late_steps = Counter(
            "duologue_late_steps_total", "Steps that ended after their sound was due", registry=registry
        )
        self.first_audio_seconds = Histogram(
            "duologue_first_audio_seconds",
            "Until the reply's first sound",
            ["from"],
            buckets=_SHORT_S,
            registry=registry,
        )
        self.stop_seconds = self._times("stop", "From a reply's stop to its response.done", _SHORT_S)
        self.input_dropped_ms = Counter(
            "duologue_input_dropped_ms_total", "Heard sound that was dropped", registry=registry
        )
        self.output_dropped_ms = Counter(
            "duologue_output_dropped_ms_total", "Made sound that was dropped unsent", registry=registry
        )
        self.queue_ms = Gauge("duologue_queue_ms", "Sound that waits", ["direction"], registry=registry)
        self.unheard_ms = self.queue_ms.labels("input")
        self.slots.set(slots)

    def _times(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"duologue_{name}_seconds", what, buckets=buckets, registry=self._registry)

    def text(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self._registry)
