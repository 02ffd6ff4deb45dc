"""The browser page, in a real browser: what is said into its microphone is answered out of its loudspeaker."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from playwright.sync_api import Page, expect

from browser import HZ, MIC_HZ, TONE_HZ, House, Open, silence, tone, wait_until
from duologue.dialogue import ToolCall
from duologue.session import Audio, Heard, Part, Speech, ToolReturned

pytest_plugins = ["browser"]

NINETEEN: list[Part] = [Heard("what is twelve plus seven"), Speech(tone(0.6), "Nineteen.")]
LATTE: list[Part] = [
    Heard("a large latte with oat milk"),
    ToolCall("call_1", "order_drink", '{"coffee_drink": "latte", "size": "large"}'),
    ToolReturned("call_1", '{"order": 17}'),
    Speech(tone(0.4), "Coming up."),
]
SENTENCES = [f"Sentence {n}. " for n in range(20)]
LONG: list[Part] = [Heard("tell me a story"), *(Speech(tone(0.5), sentence) for sentence in SENTENCES)]

LISTEN_AT_TAP = """() => {
  const {call, tap} = window.duologue;
  const source = call.sound.context.createMediaStreamSource(tap.stream);
  const reader = call.sound.context.createScriptProcessor(4096, 1, 1);
  window.heard = [];
  reader.onaudioprocess = ({inputBuffer}) => window.heard.push(...inputBuffer.getChannelData(0));
  source.connect(reader).connect(call.sound.context.destination);
}"""
LISTENING_AGAIN = "window.duologue.stats.state === 'listening'"


def heard_at_tap(page: Page) -> tuple[Audio, float]:
    """All samples that came out since `LISTEN_AT_TAP`, and their rate."""
    samples, rate_hz = page.evaluate("[window.heard, window.duologue.call.sound.context.sampleRate]")
    return np.array(samples, np.float32), float(rate_hz)


def saved(page: Page, button: str) -> bytes:
    """The file that a button of the page gives."""
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


def recording(page: Page) -> tuple[Audio, Audio]:
    """The two sides of the page's wav file, at 24 kHz: the person's and duologue's."""
    sound, rate_hz = soundfile.read(io.BytesIO(saved(page, "#save-wav")), dtype="float32")
    assert rate_hz == HZ
    return sound[:, 0], sound[:, 1]


def account(page: Page) -> dict[str, Any]:
    """The page's JSON file."""
    told: dict[str, Any] = json.loads(saved(page, "#save-json"))
    return told


def pitch_hz(sound: Audio, rate_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * rate_hz / len(sound))


def likeness(sound: Audio, part: Audio) -> float:
    """The largest normalised correlation of `part` with any stretch of `sound`."""
    size = len(sound) + len(part)
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(part, size)), size)
    at = int(np.argmax(product[: len(sound)]))
    stretch = sound[at : at + len(part)]
    return float(product[at] / (np.linalg.norm(stretch) * np.linalg.norm(part)))


def words(text: str) -> list[str]:
    return text.split()


# ---------------------------------------------------------------- a conversation


def test_a_spoken_question_gets_a_spoken_answer(browse: Open, house: House, spoken: Audio) -> None:
    house.script = [NINETEEN]
    page = browse("?aec=0&autostart=1", np.concatenate([silence(1), spoken]))
    wait_until(page, "window.duologue.tap")
    page.evaluate(LISTEN_AT_TAP)
    wait_until(page, f"window.duologue.stats.played_ms >= 600 && {LISTENING_AGAIN}")
    stats = page.evaluate("window.duologue.stats")
    assert stats["captured_ms"] >= stats["sent_ms"] > 1000
    assert stats["received_ms"] == pytest.approx(600, abs=35)
    assert stats["last_latency_ms"] > 0
    expect(page.locator(".entry.user [data-part=heard]")).to_have_text("what is twelve plus seven")
    expect(page.locator(".entry.assistant [data-part=heard]")).to_have_text("Nineteen.")
    out, rate_hz = heard_at_tap(page)
    assert np.sum(np.abs(out) > 0.01) > 0.3 * rate_hz
    assert pitch_hz(out, rate_hz) == pytest.approx(TONE_HZ, abs=3)
    assert np.abs(out).max() == pytest.approx(0.3, abs=0.01)
    page.click("#talk")
    you, duologue = recording(page)
    compare_files(you, duologue, account(page))
    assert likeness(you, soxr.resample(spoken, MIC_HZ, HZ)) > 0.98


def compare_files(you: Audio, duologue: Audio, told: dict[str, Any]) -> None:
    """The sound that the page saves, beside what its JSON says of the same conversation."""
    question, answer = told["utterances"]
    assert (question["speaker"], answer["speaker"]) == ("user", "assistant")
    assert pitch_hz(duologue, HZ) == pytest.approx(TONE_HZ, abs=3)
    assert np.sum(np.abs(duologue) > 0.01) == pytest.approx(0.6 * HZ, rel=0.03)
    onset_s, reply_s = (np.flatnonzero(np.abs(side) > 0.1)[0] / HZ for side in (you, duologue))
    assert question["start_s"] == pytest.approx(onset_s, abs=0.1)
    assert answer["start_s"] == pytest.approx(reply_s, abs=0.02)
    last_voiced_s = np.flatnonzero(np.abs(you[: round(reply_s * HZ)]) > 0.03)[-1] / HZ
    assert told["latencies_ms"][0] / 1000 == pytest.approx(reply_s - last_voiced_s, abs=0.15)


def test_the_cascade_understands_and_answers(browse: Open, spoken: Audio) -> None:
    page = browse("?aec=0", np.concatenate([silence(1), spoken]))
    page.select_option("#model", "clean_s2s")
    page.click("#talk")
    wait_until(page, f"window.duologue.stats.played_ms > 500 && {LISTENING_AGAIN}", patience_s=90)
    expect(page.locator(".entry.user [data-part=heard]")).to_have_text("what is twelve plus seven")
    expect(page.locator(".entry.assistant [data-part=heard]")).to_contain_text("nineteen")


def test_speaking_cuts_the_reply_and_what_was_not_heard_is_struck_through(
    browse: Open, house: House, spoken: Audio
) -> None:
    house.script = [LONG, NINETEEN]
    page = browse("?aec=0&autostart=1", np.concatenate([silence(1), spoken, silence(2.5), spoken]))
    wait_until(page, f"document.querySelectorAll('.entry.assistant').length === 2 && {LISTENING_AGAIN}")
    cut = page.locator(".entry.assistant.cut")
    heard, lost = (words(cut.locator(f"[data-part={part}]").inner_text()) for part in ("heard", "lost"))
    assert heard[:2] == ["Sentence", "0."]
    assert lost
    told_in_all = words("".join(cut.locator(f"[data-part={part}]").text_content() or "" for part in ("heard", "lost")))
    assert told_in_all == words("".join(SENTENCES))[: len(told_in_all)]
    told = account(page)
    [truncate] = [event for event in told["events"] if event["type"] == "conversation.item.truncate"]
    played_ms = truncate["audio_end_ms"]
    assert cut.locator("em").inner_text() == f"cut after {played_ms / 1000:.2f} s"
    sounding = np.flatnonzero(np.abs(recording(page)[1]) > 0.05)
    end = np.flatnonzero(np.diff(sounding) > 0.2 * HZ)[0]
    recorded_ms = (sounding[end] - sounding[0]) * 1000 / HZ
    assert recorded_ms - 150 < played_ms <= recorded_ms + 20, "what was heard is what was played"
    remembered = [m.text for m in house.systems[-1].turns[1].history if m.interrupted]
    assert list(map(words, remembered)) == [heard]
    assert words(told["utterances"][1]["text"]) == heard


def test_a_tool_call_is_a_card_before_the_words_that_follow_it(browse: Open, house: House) -> None:
    house.script = [LATTE]
    page = browse("?aec=0")
    page.click("text=I’d like a large latte with oat milk")
    wait_until(page, "window.duologue.stats.played_ms >= 400")
    card = page.locator(".entry.tool")
    expect(card.locator("[data-part=name]")).to_have_text("order_drink")
    expect(card.locator("dd")).to_have_text(["latte", "large"])
    expect(card.locator("[data-part=output]")).to_have_text("order: 17")
    rows = page.evaluate("[...document.querySelectorAll('.entry')].map((row) => row.classList[1])")
    assert rows == ["user", "tool", "assistant"]


# ---------------------------------------------------------------- hands on the keyboard


def test_the_keyboard_does_everything(browse: Open, house: House, spoken: Audio) -> None:
    house.script = [LONG, NINETEEN]
    page = browse("?aec=0", np.tile(np.concatenate([spoken, silence(0.2)]), 8))
    page.evaluate("document.getElementById('push').checked = true")
    page.focus("#talk")
    page.keyboard.press("Enter")
    wait_until(page, LISTENING_AGAIN)
    for muted in ("true", "false"):
        page.keyboard.press("m")
        expect(page.locator("#mute")).to_have_attribute("aria-pressed", muted)
    assert page.evaluate("window.duologue.stats.sent_ms") == 0, "nothing is sent unless Space is held"
    page.keyboard.down("Space")
    wait_until(page, "window.duologue.stats.sent_ms > 800")
    page.keyboard.up("Space")
    wait_until(page, "window.duologue.stats.played_ms > 300")
    page.keyboard.press("Escape")
    expect(page.locator(".entry.assistant.cut em")).to_contain_text("cut after")
    page.keyboard.press("/")
    page.keyboard.type("and plus three")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelectorAll('.entry.assistant').length === 2")
    first, second = house.systems[-1].turns
    assert first.audio is not None
    assert second.text == "and plus three"


def test_holding_space_in_a_hands_free_call_is_one_turn(browse: Open, house: House, spoken: Audio) -> None:
    house.script = [NINETEEN, NINETEEN]
    twice = np.concatenate([spoken[:MIC_HZ], silence(0.8), spoken[:MIC_HZ]])
    page = browse("?aec=0&autostart=1", np.concatenate([silence(0.5), twice]))
    wait_until(page, "window.duologue.stats.sent_ms > 0")
    page.keyboard.down("Space")
    wait_until(page, "window.duologue.stats.sent_ms > 3000")
    page.keyboard.up("Space")
    wait_until(page, f"window.duologue.stats.played_ms >= 600 && {LISTENING_AGAIN}")
    assert len(house.systems[-1].turns) == 1
    assert page.evaluate("window.duologue.call.conversation.session.audio.input.turn_detection.type") == "server_vad"


# ---------------------------------------------------------------- alone, and clear about trouble


def test_nothing_is_loaded_from_elsewhere(browse: Open, house: House) -> None:
    page = browse()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    answer = page.reload()
    wait_until(page, "window.duologue !== undefined")
    assert answer is not None
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert len(asked) > 10
    assert all(url.startswith(house.url) for url in asked)
    lines = page.locator(".line").all_inner_texts()
    assert lines == [
        "What is twelve plus seven?",
        "I’d like a large latte with oat milk",
        "Set a timer for ten minutes",
    ]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("NotAllowedError", "Allow it"),
        ("NotFoundError", "Plug one in"),
        ("NotReadableError", "Close it there"),
    ],
)
def test_a_microphone_that_does_not_open_comes_with_a_remedy(workshop: Page, name: str, remedy: str) -> None:
    workshop.reload()
    wait_until(workshop, "window.duologue !== undefined")
    refuse = "(name) => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', name)))"
    workshop.evaluate(refuse, name)
    workshop.click("#talk")
    expect(workshop.locator("#advice")).to_contain_text(remedy)
    assert workshop.evaluate("window.duologue.stats.state") == "error"


def test_a_server_that_cannot_be_reached_is_named(workshop: Page, house: House) -> None:
    workshop.reload()
    wait_until(workshop, "window.duologue !== undefined")
    elsewhere = "class extends WebSocket { constructor(_, kinds) { super('ws://127.0.0.1:9/', kinds); } }"
    workshop.evaluate(f"void (window.WebSocket = {elsewhere})")
    workshop.click("#talk")
    expect(workshop.locator("#advice")).to_contain_text("cannot be reached. Is “duologue serve” still running?")
    assert workshop.evaluate("window.duologue.stats.state") == "error"
