"""What all callers of one server share: its settings, its places, its counters, and whether it is closing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from duologue.serve.access import Keys, Secrets, is_loopback, refuse_unusable_key
from duologue.serve.events import EventError
from duologue.serve.fields import SessionFields
from duologue.serve.limits import Limits, Slots
from duologue.serve.metrics import Metrics
from duologue.serve.outbox import Outbox
from duologue.session import Session, TurnTaker
from duologue.sound.vad import Vad, silero
from duologue.turns import TurnSettings

DRAIN_GRACE_S = 2.0
"""How long the last callers have to take their goodbye."""

Systems = Mapping[str, Callable[[], TurnTaker]]
"""By the name of the model: what makes a system for one caller."""

Duplex = Mapping[str, Callable[[], Session]]
"""By the name of a system that hears while it speaks: what makes a session for one caller."""


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


class AtWork(Protocol):
    """What works for one caller in a thread."""

    @property
    def busy(self) -> bool: ...
    @property
    def moved_at_s(self) -> float: ...


class House:
    """The shared state of one app."""

    def __init__(self, systems: Systems, config: ServeConfig, duplex: Duplex | None = None) -> None:
        duplex = duplex or {}
        if not systems and not duplex:
            raise ValueError("there is nothing to serve; give at least one system")
        if twice := systems.keys() & duplex.keys():
            raise ValueError(f"two systems are called {min(twice)!r}; give each a name of its own")
        self.systems, self.duplex, self.config, self.limits = systems, duplex, config, config.limits
        self.vad = config.vad or silero()
        self.slots = Slots(config.limits.slots)
        self.metrics = Metrics(config.limits.slots)
        self.keys = Keys(config.keys)
        self.secrets: Secrets[SessionFields] = Secrets()
        self.at_work: set[AtWork] = set()
        self.outboxes: set[Outbox] = set()
        self._drains_since_s: float | None = None

    def model(self, asked: str | None) -> str:
        """The model that is served to who asks for `asked`. Raises EventError `model_not_found`."""
        if asked is not None and asked in self.systems:
            return asked
        if not self.systems or asked in self.duplex:
            hears = asked if asked in self.duplex else ", ".join(self.duplex)
            raise EventError("model_not_found", f"{hears}: full duplex; connect to /v1/live?system=NAME.", "model")
        first, *others = self.systems
        if not others or asked is None:
            return first
        known = ", ".join(self.systems)
        raise EventError("model_not_found", f"There is no model {asked[:80]!r}; there are {known}.", "model")

    def duplex_system(self, asked: str | None) -> str:
        """The full-duplex system for who asks for `asked`; the only one needs no name. Raises EventError."""
        if asked is None and len(self.duplex) == 1:
            return next(iter(self.duplex))
        if asked is not None and asked in self.duplex:
            return asked
        known = f"ask for {' or '.join(self.duplex)}" if self.duplex else "none is served here"
        wanted = "No system is named" if asked is None else f"There is no full-duplex system {asked[:80]!r}"
        raise EventError("system_not_found", f"{wanted}; {known} (/v1/live?system=NAME).", "system")

    def admits(self, key: str | None) -> bool:
        """Whether who shows `key` may talk to this server."""
        return not self.keys or self.keys.accept(key) or self.secrets.find(key) is not None

    def error(self, error: EventError, outbox: Outbox) -> None:
        """Tell a caller what went wrong, and count it."""
        self.metrics.errors.labels(error.code).inc()
        outbox.fail(error)

    def metrics_text(self) -> bytes:
        """All counters, as Prometheus reads them."""
        unsent_ms = sum(outbox.unsent_audio_ms for outbox in self.outboxes)
        self.metrics.queue_ms.labels("output").set(unsent_ms)
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
        moved_s = [work.moved_at_s for work in self.at_work if work.busy]
        stuck = bool(moved_s) and time.monotonic() - max(moved_s) > self.limits.stuck_s
        return "stuck" if stuck else "ok"
