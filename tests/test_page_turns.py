"""What the page makes of events: what counts as heard after an interruption, and whether there is an echo."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from playwright.sync_api import Page

pytest_plugins = ["browser"]

# ---------------------------------------------------------------- what an interruption says to the server

CONVERSE = """async ({events, latency_ms}) => {
  const {Conversation} = await import('./conversation.js');
  const log = {sent: [], played: [], stops: 0};
  const player = {
    play: (item) => log.played.push(item), end: () => {}, stop: () => log.stops++,
    laneS: (ms) => ms / 1000, onsetS: (s) => s, outputLatencyMs: latency_ms,
  };
  const talk = new Conversation({send: (e) => log.sent.push(e), player, changed: () => {}, clock: () => 1});
  for (const event of events) {
    if (event.playback) talk.playback(event.playback);
    else if (event.interrupt) talk.interrupt(event.interrupt);
    else talk.receive(event);
  }
  return {...log, state: talk.state, entries: talk.entries};
}"""


def reply_events(item: str, response: str, samples: int) -> list[dict[str, Any]]:
    place = {"response_id": response, "item_id": item, "content_index": 0, "output_index": 0}
    sound = base64.b64encode(bytes(2 * samples)).decode()
    return [
        {"type": "response.created", "response": {"id": response, "status": "in_progress"}},
        {
            "type": "response.output_audio_transcript.delta",
            "delta": "One two three four.",
            "start_time": 0,
            **place,
        },
        {"type": "response.output_audio.delta", "delta": sound, **place},
    ]


@pytest.mark.parametrize(
    ("samples", "latency_ms", "truncated_ms"), [(12_000, 20, 480), (240, 20, 0), (24_000, 0, 1000)]
)
def test_only_what_left_the_loudspeaker_counts_as_heard(
    workshop: Page, samples: int, latency_ms: int, truncated_ms: int
) -> None:
    events = [
        *reply_events("item_a", "resp_a", 48_000),
        {"playback": {"type": "started", "item": "item_a", "atS": 1}},
        {"interrupt": "client_cancelled"},
        *reply_events("item_a", "resp_a", 480)[2:],
        {"playback": {"type": "stopped", "item": "item_a", "playedSamples": samples, "atS": 2}},
    ]
    got = workshop.evaluate(CONVERSE, {"events": events, "latency_ms": latency_ms})
    truncate = {"item_id": "item_a", "content_index": 0, "audio_end_ms": truncated_ms}
    assert got["sent"] == [
        {"type": "response.cancel", "response_id": "resp_a"},
        {"type": "conversation.item.truncate", **truncate},
    ]
    assert got["played"] == ["item_a"], "sound of a reply that was cut is not played"
    assert got["stops"] == 1


def test_a_reply_that_had_not_begun_was_not_heard(workshop: Page) -> None:
    events = [
        *reply_events("item_b", "resp_b", 1000),
        {"type": "input_audio_buffer.speech_started", "item_id": "item_u", "audio_start_ms": 500},
        {"playback": {"type": "stopped", "item": "item_of_before", "playedSamples": 9600, "atS": 2}},
    ]
    got = workshop.evaluate(CONVERSE, {"events": events, "latency_ms": 0})
    truncate = {
        "type": "conversation.item.truncate",
        "item_id": "item_b",
        "content_index": 0,
        "audio_end_ms": 0,
    }
    assert got["sent"] == [truncate]
    assert got["entries"][0]["cut"]["heardLetters"] == 0


# ---------------------------------------------------------------- which words were heard

HEARD = """async (replies) => {
  const {heardLetters} = await import('./fragments.js');
  return replies.map(heardLetters);
}"""

WORDS = ["One", "two", "three", "forty-two.", "Oh,", "really?"]
FRAGMENTS = st.lists(
    st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5), st.integers(1, 48_000)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40)
@given(fragments=FRAGMENTS)
def test_words_are_heard_whole_and_in_the_order_of_the_sound(
    workshop: Page, fragments: list[tuple[list[str], int]]
) -> None:
    starts = np.cumsum([0, *(samples for _, samples in fragments)]).tolist()
    texts = [" ".join(words) + " " for words, _ in fragments]
    pieces = [{"text": text, "atSamples": start} for text, start in zip(texts, starts, strict=False)]
    whole, end = "".join(texts), starts[-1]
    moments = sorted({0, end, *starts, *np.linspace(0, end, 20).astype(int).tolist()})
    base = {"fragments": pieces, "receivedSamples": end, "received": True, "finished": False}
    letters = workshop.evaluate(HEARD, [{**base, "playedSamples": moment} for moment in moments])
    assert letters == sorted(letters)
    assert (letters[0], letters[-1]) == (0, len(whole))
    assert all(whole[:n].split() == whole.split()[: len(whole[:n].split())] for n in letters), "no word is cut in two"
    known = dict(zip(moments, letters, strict=True))
    for start, before in zip(starts[1:], np.cumsum([len(text) for text in texts]).tolist(), strict=True):
        assert known[start] == before, "a fragment is heard when its sound is over"


# ---------------------------------------------------------------- echo

ECHO = """async ({you, duologue}) => {
  const {echoShare} = await import('./echo.js');
  const {Lane} = await import('./recording.js');
  const {decodeBase64} = await import('./pcm.js');
  const [mine, theirs] = [you, duologue].map((samples) => {
    const lane = new Lane();
    lane.push(decodeBase64(samples));
    return lane;
  });
  return echoShare(mine, theirs);
}"""


Sound = NDArray[np.float64]


def babble(seed: int, duration_s: float = 4.0) -> Sound:
    """Noise in syllables of 80 to 300 ms with pauses between them: [N] at 24 kHz."""
    random = np.random.default_rng(seed)
    sound = np.zeros(0)
    while len(sound) < duration_s * 24_000:
        syllable, pause = random.integers(1_900, 7_200), random.integers(1_200, 9_600)
        sound = np.concatenate([sound, random.normal(0, 4_000, syllable), np.zeros(pause)])
    return sound[: round(duration_s * 24_000)]


def echo_share(page: Page, you: Sound, duologue: Sound) -> float:
    sides = {"you": you, "duologue": duologue}
    lanes = {name: base64.b64encode(sound.astype("<i2").tobytes()).decode() for name, sound in sides.items()}
    return float(page.evaluate(ECHO, lanes))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delay_ms", [20, 180, 350])
def test_a_reply_heard_in_the_microphone_is_noticed(workshop: Page, seed: int, delay_ms: int) -> None:
    reply = babble(seed)
    room = np.random.default_rng(seed).normal(0, 30, len(reply))
    echo = 0.1 * np.concatenate([np.zeros(24 * delay_ms), reply])[: len(reply)] + room
    assert echo_share(workshop, echo, reply) > 0.75


@pytest.mark.parametrize("seed", range(6))
def test_a_person_who_speaks_is_no_echo(workshop: Page, seed: int) -> None:
    assert echo_share(workshop, babble(seed + 100), babble(seed)) < 0.75
    assert echo_share(workshop, np.zeros(96_000), babble(seed)) == 0
