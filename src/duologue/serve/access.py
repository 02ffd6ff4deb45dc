"""Who may talk to the server: keys, short-lived secrets, and which web pages.

With keys, a caller shows one (`Authorization: Bearer KEY`, or the subprotocol `openai-insecure-api-key.KEY`
where a browser cannot set headers), or a secret got for one. Without keys the server listens on this machine
alone, and the only web pages that may talk to it are its own.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar
from urllib.parse import urlsplit

SUBPROTOCOL_KEY = "openai-insecure-api-key."

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Held = TypeVar("Held")


def refuse_unusable_key(key: str) -> None:
    """Raises ValueError for a key that cannot travel in a header (RFC 7230 token characters only)."""
    if not _TOKEN.fullmatch(key):
        raise ValueError("a key may hold letters, digits and !#$%&'*+-.^_`|~ only; choose another one")


def is_loopback(host: str) -> bool:
    """Is `host` an address of this machine that no other machine can reach?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_key(headers: Mapping[str, str], subprotocols: Iterable[str] = ()) -> str | None:
    """The key that a caller shows, or None."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    offered = (p.removeprefix(SUBPROTOCOL_KEY) for p in subprotocols if p.startswith(SUBPROTOCOL_KEY))
    return next(offered, None)


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Does the request come from a page of this very server, or from no page at all?

    The name has to be a local one: a foreign name that resolves to this machine is a foreign page still.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        return page.netloc == headers.get("host") and page.hostname in _LOCAL_NAMES
    except ValueError:
        return False


class Keys:
    """The keys of the server. Compared in constant time, one with all."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def accept(self, key: str | None) -> bool:
        shown = (key or "").encode()
        return sum(hmac.compare_digest(shown, own) for own in self._keys) > 0


class Secrets(Generic[Held]):
    """Short-lived secrets ("ek_…"), each holding what its sessions begin with."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._held: dict[str, tuple[float, Held]] = {}

    def make(self, held: Held, seconds: float) -> tuple[str, int]:
        """A new secret and the Unix second at which it expires."""
        self._held = {name: kept for name, kept in self._held.items() if kept[0] > self._now()}
        name, expires_at = f"ek_{secrets.token_urlsafe(24)}", self._now() + seconds
        self._held[name] = (expires_at, held)
        return name, int(expires_at)

    def find(self, name: str | None) -> Held | None:
        """What the secret holds; None when it is unknown or has expired."""
        expires_at, held = self._held.get(name or "", (0.0, None))
        return held if expires_at > self._now() else None
