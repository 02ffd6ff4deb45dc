"""The page in full duplex: the microphone streams without end, and all that comes back is played."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Page, expect

from browser import HZ, MIC_HZ, TONE_HZ, House, Open, silence, wait_until
from duet import Duet, serving_duplex
from duologue.session import Audio
from serving import Teller

pytest_plugins = ["browser"]


@pytest.fixture(scope="module")
def duets() -> list[Duet]:
    """The sessions of the callers so far."""
    return []


@pytest.fixture(scope="module")
def house(duets: list[Duet]) -> Iterator[House]:
    def duet() -> Duet:
        duets.append(Duet(said_hz=16_000, pitch_hz=TONE_HZ))
        return duets[-1]

    with serving_duplex({"duet": duet}, {"teller": Teller}) as served:
        yield House(f"{served.http}/")


def noise(duration_s: float) -> Audio:
    """[N] for the microphone."""
    return np.random.default_rng(0).normal(0, 0.2, round(duration_s * MIC_HZ)).astype(np.float32)


def test_both_are_heard_all_the_time(browse: Open, duets: list[Duet]) -> None:
    """A question is answered; a second one breaks into its answer, which stops; its own answer is said to the end."""
    page = browse("?aec=0", np.concatenate([silence(1), noise(0.6), silence(1.1), noise(0.4), silence(1)]))
    assert page.locator("#model option").all_inner_texts() == ["teller", "duet · full duplex"]
    expect(page.locator("#typed")).to_be_visible()
    page.select_option("#model", "duet")
    for absent in ("#typed", "#interrupt"):
        expect(page.locator(absent)).to_be_hidden()
    page.click("#talk")
    wait_until(page, "document.querySelectorAll('.entry.assistant').length === 2")
    wait_until(page, "window.duologue.stats.state === 'speaking'")
    wait_until(page, "window.duologue.stats.state === 'listening' && !document.querySelector('.partial')")
    stats = page.evaluate("window.duologue.stats")
    told = page.locator(".entry [data-part=heard]").all_inner_texts()
    assert [words.strip() for words in told] == [
        "question 1",
        "Nineteen.",
        "question 2",
        "Nineteen. Anything else?",
    ]
    cut = page.locator(".entry.assistant.cut")
    expect(cut.locator("[data-part=lost]")).to_have_text("Anything else?")
    assert stats["sent_ms"] == pytest.approx(duets[-1]._frames * 40, abs=400)
    assert stats["dropped_ms"] == 0
    assert stats["last_latency_ms"] > 0
    page.click("#talk")
    with page.expect_download() as download:
        page.click("#save-wav")
    sound, rate_hz = soundfile.read(download.value.path(), dtype="float32")
    assert rate_hz == HZ
    compare(sound[:, 0], sound[:, 1])
    with page.expect_download() as download:
        page.click("#save-json")
    account = json.loads(Path(download.value.path()).read_text())
    assert account["model"] == "duet"
    assert [(u["speaker"], u["cut"]) for u in account["utterances"]] == [
        ("user", False),
        ("assistant", True),
        ("user", False),
        ("assistant", False),
    ]


CONVERSE = """async ({in_hand_ms, messages}) => {
  const {Conversation} = await import('./conversation.js');
  const played = [];
  const player = {
    play: (item, pcm) => played.push([item, pcm[0] / 32768]), end: (item) => played.push([item, null]),
    laneS: (ms) => ms / 1000, onsetS: (s) => s, inHandMs: in_hand_ms,
  };
  const talk = new Conversation({send: () => {}, player, changed: () => {}, clock: () => 9});
  for (const message of messages) {
    const sound = typeof message === 'number';
    talk.receive(sound ? {type: 'output_audio', pcm: new Int16Array(960).fill(message * 32768)} : message);
  }
  return {played, entries: talk.entries, state: talk.state};
}"""


def conversed(page: Page, in_hand_ms: int, *messages: dict[str, Any] | float) -> dict[str, Any]:
    """What the page makes of messages, a number being the level of 40 ms of sound."""
    made: dict[str, Any] = page.evaluate(CONVERSE, {"in_hand_ms": in_hand_ms, "messages": messages})
    return made


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": "event", "kind": kind, "at_s": 0, "turn": 1, **data}


@pytest.mark.parametrize(("in_hand_ms", "played"), [(240, [0.5, 0.0, 0.25, 0.0, 0.0]), (300, [0.5, 0.25])])
def test_after_a_stall_silence_is_left_out_and_nothing_else(
    workshop: Page, in_hand_ms: int, played: list[float]
) -> None:
    made = conversed(workshop, in_hand_ms, 0.5, 0, 0.25, 0, 0)
    assert made["played"] == [["nobody", level] for level in played]


def test_the_silence_after_which_a_reply_is_over_is_no_part_of_it(workshop: Page) -> None:
    said = [event("wrote", text="One two three"), event("said", text="One two ")]
    stopped = event("stopped", reason="speech", heard_text="One")
    asked = event("turn", start_s=1.0, end_s=2.0)
    made = conversed(workshop, 100, asked, *said, 0.5, 0, 0.5, 0, 0, 0, stopped, 0)
    question, answer = made["entries"]
    assert (question["startS"], question["endS"], question["partial"]) == (1, 2, False)
    assert answer["cut"] == {"atS": 9 + 0.1 - 0.12, "playedMs": 120, "reason": "speech", "heardLetters": 3}
    assert "".join(piece["text"] for piece in answer["fragments"]) == "One two three"
    assert [item for item, _ in made["played"]] == ["reply_1"] * 6 + ["nobody"]


def test_who_was_not_asked_answers_nobody(workshop: Page) -> None:
    unasked = event("turn", start_s=0.0, end_s=0.0)
    made = conversed(workshop, 100, unasked, event("said", text="Hello."), 0.5, event("done", latency={}))
    assert [entry["kind"] for entry in made["entries"]] == ["assistant"]
    assert made["played"] == [["reply_1", 0.5], ["reply_1", None]]


def sounding(lane: Audio) -> list[tuple[float, float]]:
    """From when to when there is sound that is louder than −26 dBFS, pauses of less than 300 ms passed over."""
    loud = np.flatnonzero(np.abs(lane) > 0.05) / HZ
    breaks = np.flatnonzero(np.diff(loud) > 0.3)
    return list(zip(loud[[0, *(breaks + 1)]], loud[[*breaks, -1]], strict=True))


def compare(you: Audio, duologue: Audio) -> None:
    """The recording: two questions and two answers, the first of them cut short, all in one pitch."""
    (_, first_end_s), (second_s, second_end_s) = sounding(you)
    (cut_s, cut_end_s), (whole_s, whole_end_s) = sounding(duologue)
    assert first_end_s + 0.2 < cut_s < second_s < cut_end_s, "spoken over, it gives way"
    assert second_end_s + 0.2 < whole_s
    answer = duologue[round(whole_s * HZ) : round(whole_end_s * HZ)]
    loud_s = np.sum(np.abs(answer[: len(answer) // 240 * 240]).reshape(-1, 240).max(axis=1) > 0.2) * 0.01
    assert loud_s == pytest.approx(0.6 + 0.84, abs=0.03), "none of it is lost"
    spectrum = np.abs(np.fft.rfft(answer * np.hanning(len(answer))))
    assert np.argmax(spectrum) * HZ / len(answer) == pytest.approx(TONE_HZ, abs=2)
