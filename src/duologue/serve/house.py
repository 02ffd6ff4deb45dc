"""What all callers of one server share: its settings, its places, its counters, and whether it is closing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from duologue.serve.access import Keys, Secrets, is_loopback, refuse_unusable_key
from duologue.serve.ahead import Ahead
from duologue.serve.events import EventError
from duologue.serve.fields import SessionFields
from duologue.serve.limits import Limits, Slots
from duologue.serve.metrics import Metrics
from duologue.serve.outbox import Outbox
from duologue.session import TurnTaker
from duologue.sound.vad import Vad, silero
from duologue.turns import TurnSettings

DRAIN_GRACE_S = 2.0
"""How long the last callers have to take their goodbye."""

Systems = Mapping[str, Callable[[], TurnTaker]]
"""By the name of the model: what makes a system for one caller."""


@dataclass(frozen=True)
class ServeConfig:
    """Where and how to serve.

    keys       callers have to show one of them; without keys only this machine is served
    lead_ms    how far ahead of the loudspeaker sound is sent
    settings   of turn-taking, as far as the client does not say otherwise
    vad        None: Silero's
    open_page  show the page in a browser when the server is up
    """

    host: str = "127.0.0.1"
    port: int = 8765
    keys: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    lead_ms: int = 300
    settings: TurnSettings = field(default_factory=TurnSettings)
    vad: Vad | None = None
    open_page: bool = False

    def __post_init__(self) -> None:
        for key in self.keys:
            refuse_unusable_key(key)

    @property
    def is_local(self) -> bool:
        return is_loopback(self.host)


class House:
    """The shared state of one app."""

    def __init__(self, systems: Systems, config: ServeConfig) -> None:
        if not systems:
            raise ValueError("there is nothing to serve; give at least one system")
        self.systems, self.config, self.limits = systems, config, config.limits
        self.vad = config.vad or silero()
        self.slots = Slots(config.limits.slots)
        self.metrics = Metrics(config.limits.slots)
        self.keys = Keys(config.keys)
        self.secrets: Secrets[SessionFields] = Secrets()
        self.at_work: set[Ahead] = set()
        self.outboxes: set[Outbox] = set()
        self._drains_since_s: float | None = None

    def model(self, asked: str | None) -> str:
        """The model that is served to who asks for `asked`. Raises EventError `model_not_found`."""
        first, *others = self.systems
        if asked is not None and asked in self.systems:
            return asked
        if not others or asked is None:
            return first
        known = ", ".join(self.systems)
        raise EventError("model_not_found", f"There is no model {asked[:80]!r}; there are {known}.", "model")

    def admits(self, key: str | None) -> bool:
        """Whether who shows `key` may talk to this server."""
        return not self.keys or self.keys.accept(key) or self.secrets.find(key) is not None

    def error(self, error: EventError, put: Callable[[dict[str, Any]], None]) -> None:
        """Tell a caller what went wrong, and count it."""
        self.metrics.errors.labels(error.code).inc()
        put({"type": "error", "error": error.to_json()})

    def metrics_text(self) -> bytes:
        """All counters, as Prometheus reads them. Sound is heard as it comes: nothing of it waits."""
        waiting = {"input": 0.0, "output": sum(outbox.unsent_audio_ms for outbox in self.outboxes)}
        for direction, sound_ms in waiting.items():
            self.metrics.queue_ms.labels(direction).set(sound_ms)
        return self.metrics.text()

    # ------------------------------------------------ closing

    def drain(self) -> None:
        """Take no new callers; let the replies end that are being said."""
        self._drains_since_s = self._drains_since_s or time.monotonic()

    @property
    def draining(self) -> bool:
        return self._drains_since_s is not None

    @property
    def draining_over(self) -> bool:
        """Whether replies have had their time."""
        return self._drains_for_s() > self.limits.drain_s

    @property
    def drain_failed(self) -> bool:
        """Whether callers are still here although their time is over."""
        return self._drains_for_s() > self.limits.drain_s + DRAIN_GRACE_S

    def _drains_for_s(self) -> float:
        return 0.0 if self._drains_since_s is None else time.monotonic() - self._drains_since_s

    @property
    def status(self) -> str:
        """ "ok", "draining", or "stuck": replies are being made, and none has moved for too long."""
        if self.draining:
            return "draining"
        moved_s = [ahead.moved_at_s for ahead in self.at_work if ahead.busy]
        stuck = bool(moved_s) and time.monotonic() - max(moved_s) > self.limits.stuck_s
        return "stuck" if stuck else "ok"
