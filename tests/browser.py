"""A running server, and a real browser that looks at its page: fixtures for the tests of the page.

The server is the real one. The first system behind it is scripted and answers with pure tones, so that a test can
tell whose sound it hears; the second is the cascade. Chromium's fake microphone plays a wav file from the moment it
opens.

PYTEST_DONT_REWRITE (tests both import from here and take the fixtures, by `pytest_plugins`)
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import uvicorn
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright

from conftest import need
from duologue.engines.tts import EmbeddedVoice
from duologue.serve.server import ServeConfig, app
from duologue.session import Audio, Part, Turn
from duologue.systems import SYSTEMS

MIC_HZ = 22_050
HZ = 24_000
TONE_HZ = 440.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


# ---------------------------------------------------------------- the server


@dataclass
class Scripted:
    """Answers its turns with the script's parts, one entry a turn; then says nothing."""

    script: list[list[Part]]
    turns: list[Turn] = field(default_factory=list)
    said_hz: int = HZ

    def reply(self, turn: Turn) -> Iterator[Part | None]:
        self.turns.append(turn)
        yield from self.script.pop(0) if self.script else []


class Loudness:
    """Speech is whatever is louder than −30 dBFS."""

    def start(self) -> None:
        return None

    def probability(self, window: Audio, state: None) -> tuple[float, None]:
        return float(np.sqrt(np.mean(window**2)) > 0.03), None


@dataclass
class House:
    """A running server. `script` is for the next caller; `systems` are those of the callers so far."""

    url: str
    script: list[list[Part]] = field(default_factory=list)
    systems: list[Scripted] = field(default_factory=list)

    def caller(self) -> Scripted:
        self.systems.append(Scripted(list(self.script)))
        return self.systems[-1]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    running = House(f"http://127.0.0.1:{port}/")
    systems = {"scripted": running.caller, "clean_s2s": SYSTEMS["clean_s2s"]}
    application = app(systems, ServeConfig(port=port, vad=Loudness()))
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield running
    server.should_exit = True
    thread.join()


# ---------------------------------------------------------------- what is heard


def tone(duration_s: float) -> Audio:
    """[N] at 24 kHz."""
    return (0.3 * np.sin(2 * np.pi * TONE_HZ * np.arange(round(duration_s * HZ)) / HZ)).astype(np.float32)


def silence(duration_s: float) -> Audio:
    """[N] for the microphone."""
    return np.zeros(round(duration_s * MIC_HZ), np.float32)


@pytest.fixture(scope="session")
def spoken() -> Audio:
    """A question after a moment of silence, spoken by this machine's best voice: [N] for the microphone."""
    voice = EmbeddedVoice()
    moment = np.zeros(voice.hz // 5, np.float32)
    sound = np.concatenate([moment, *voice.speak("What is twelve plus seven?")])
    return np.asarray(soxr.resample(sound, voice.hz, MIC_HZ) * 0.8, np.float32)


# ---------------------------------------------------------------- the browser

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    need(any(map(shutil.which, BROWSERS)), f"a browser ({' or '.join(BROWSERS)})")
    with sync_playwright() as running:
        yield running


def launch(playwright: Playwright, folder: Path, microphone: Audio) -> BrowserContext:
    """A browser with a fresh profile in `folder`, whose microphone hears `microphone` once."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / "microphone.wav", microphone, MIC_HZ, subtype="PCM_16")
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}%noloop"]
    return playwright.chromium.launch_persistent_context(
        folder / "profile",
        executable_path=next(filter(None, map(shutil.which, BROWSERS))),
        headless=False,
        args=flags,
    )


@pytest.fixture
def browse(playwright: Playwright, house: House, tmp_path: Path) -> Iterator[Open]:
    """`browse(query, microphone)` opens the page in its own browser. In the end no page may have complained."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(message.text)

    def open_page(query: str = "", microphone: Audio | None = None) -> Page:
        heard = silence(1) if microphone is None else microphone
        contexts.append(launch(playwright, tmp_path / str(len(contexts)), heard))
        page = contexts[-1].pages[0]
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(house.url + query)
        wait_until(page, "window.duologue !== undefined")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def workshop(playwright: Playwright, house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One page, shared by the tests of single modules."""
    with launch(playwright, tmp_path_factory.mktemp("workshop"), silence(1)) as context:
        page = context.pages[0]
        page.goto(house.url)
        yield page


def wait_until(page: Page, condition: str, patience_s: float = 60.0) -> None:
    """Until the JavaScript expression is true. (The page's security policy forbids Playwright's own way.)"""
    give_up_s = time.monotonic() + patience_s
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < give_up_s, f"still not true: {condition}"
        page.wait_for_timeout(50)
