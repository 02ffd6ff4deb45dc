"""A session by a layout: what holds for any model, shown with one that was never trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from duologue.dialogue import Tool, ToolCall
from duologue.duplex import LayoutSession, Talking
from duologue.evaluate.conversing import SILENT as NO_UNIT
from duologue.evaluate.conversing import tracks
from duologue.model.backbone import backbone, nano
from duologue.model.one_vocabulary import Codes
from duologue.model.words import words_tokenizer
from duologue.session import Audio, Event, Said
from duologue.streaming import Memory
from duologue.systems.omni_flatten import Config, OmniFlatten
from small_units import NOT_LIVE
from small_units import codec as small_codec

FRAME = 640


SMALL = Config(4, 1, 2)


@lru_cache
def model(config: Config = SMALL) -> OmniFlatten:
    words = words_tokenizer(["yes", "no", "one", "two", "=", ","])
    lm = backbone(nano(len(words), width=64, layers=2), seed=3)
    return OmniFlatten.grown(lm, words, Codes(small_codec().codes), config, seed=5)


def talking(config: Config = SMALL, memory: Memory | None = None) -> Talking:
    return model(config).talking(small_codec(), memory or Memory(600))


def heard(frames: int, seed: int) -> Audio:
    return np.random.default_rng(seed).normal(0, 0.1, frames * FRAME).astype(np.float32)


def conversed(session: LayoutSession, sound: Audio) -> list[Said]:
    return [session.step(sound[start : start + FRAME]) for start in range(0, len(sound), FRAME)]


def sound_of(said: list[Said]) -> Audio:
    return np.concatenate([one.audio for one in said])


def test_one_frame_out_per_frame_in_silence_included() -> None:
    for said in conversed(LayoutSession(talking()), np.zeros(30 * FRAME, np.float32)):
        assert said.audio.shape == (FRAME,)
        assert said.audio.dtype == np.float32
        assert np.abs(said.audio).max() <= 1


def test_two_sessions_given_the_same_sound_say_the_same() -> None:
    first, second = (conversed(LayoutSession(talking()), heard(40, 0)) for _ in range(2))
    assert sound_of(first).tobytes() == sound_of(second).tobytes()
    assert [one.events for one in first] == [one.events for one in second]
    assert sound_of(first).any()


@pytest.mark.parametrize("config", [Config(4, 1, 2), Config(3, 2), Config(2, 0)])
def test_a_crowd_hears_what_a_session_hears(config: Config) -> None:
    """Each user of a batch gets what it would get alone, and as it would be live: later by the delay, else the same."""
    users = [heard(frames, seed) for seed, frames in enumerate((24, 36, 12))]
    shared = talking(config)
    for user, track in zip(users, tracks(shared, users, batch=2), strict=True):
        session = LayoutSession(shared)
        live = sound_of(conversed(session, np.concatenate((user, np.zeros(session.delay_frames * FRAME, np.float32)))))
        known = len(user) - (shared.codec.ahead_units + 1) * FRAME
        whole = track.sound(shared)[:known].clip(-1, 1)
        assert (track.units != NO_UNIT).any()
        np.testing.assert_allclose(live[session.delay_frames * FRAME :][:known], whole, atol=1e-5)


def test_nothing_is_said_before_a_chunk_was_heard() -> None:
    session = LayoutSession(talking())
    said = conversed(session, heard(20, 1))
    assert not sound_of(said[: session.delay_frames]).any()


def test_a_call_may_last_for_ever() -> None:
    """Memory is bounded: the state is as large after a thousand frames as at the start."""
    session = LayoutSession(talking(memory=Memory(200, sink=20, spare=60)))
    conversed(session, heard(400, 2))


@pytest.mark.parametrize(("codec", "told"), NOT_LIVE)
def test_a_codec_that_cannot_be_used_live_is_refused_at_the_start(codec: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LayoutSession(model(SMALL).talking(codec))


@pytest.mark.parametrize("frame", [np.zeros(FRAME + 1, np.float32), np.full(FRAME, np.nan, np.float32)])
def test_a_bad_frame_is_refused_and_the_call_goes_on(frame: Audio) -> None:
    session, untouched = LayoutSession(talking()), LayoutSession(talking())
    sound = heard(20, 4)
    conversed(session, sound[: 5 * FRAME])
    with pytest.raises(ValueError, match="640 finite samples"):
        session.step(frame)
    rest = sound_of(conversed(session, sound[5 * FRAME :]))
    assert rest.tobytes() == sound_of(conversed(untouched, sound))[5 * FRAME :].tobytes()


# ---------------------------------------------------------------- events, of a model whose every token is known


class Scripted:
    """A language model that says its script: whatever it is fed, the next token is the one that is due."""

    def __init__(self, script: list[int], tokens: int) -> None:
        self.script, self.tokens, self.fed = script, tokens, 0

    def get_output_embeddings(self) -> Any:
        return lambda hidden: torch.nn.functional.one_hot(hidden.long()[:, 0], self.tokens).float()


@dataclass
class Bell:
    """A toolbox that notes what it is asked; the tool named "break" fails."""

    rung: list[ToolCall] = field(default_factory=list)
    tools: Sequence[Tool] = (
        Tool("ring", "", {"properties": {"times": {"type": "integer"}}}),
        Tool("break", "", {}),
    )

    def run(self, call: ToolCall) -> str:
        self.rung.append(call)
        if call.name == "break":
            raise RuntimeError("the bell is broken")
        return '{"rung": true}'


CHUNK = 4
SAID = {"heard": 1, "text": 2, "speech": CHUNK}


def scripted(chunks: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The events of a session whose model says these chunks: words of "heard" and "text", and in "speech" a letter for
    each unit, "." for silence. The user's sound is silence."""
    words = words_tokenizer(
        ["ring", "break", "times", "yes", "no", "one", "two", "=", ",", ".", "hello", "stop", "okay"]
    )
    made = OmniFlatten.grown(backbone(nano(len(words), 64, 2)), words, Codes(small_codec().codes), Config(CHUNK, 2, 1))
    script = [token for chunk in chunks for token in _tokens(made, chunk)]
    shared = made.talking(small_codec(), Memory(600))
    lm, due = Scripted(script, len(words)), iter(script)
    monkeypatch.setattr("duologue.duplex.start", lambda *_: SimpleNamespace(keys=torch.zeros(1)))
    monkeypatch.setattr("duologue.duplex.step", lambda *_: torch.full((1, 1, 1), next(due)))
    session = LayoutSession(replace(shared, lm=lm), BELL)
    said = conversed(session, np.zeros((CHUNK * len(chunks) + CHUNK - 1) * FRAME, np.float32))
    assert next(due, None) is None
    return [event for one in said for event in one.events]


BELL = Bell()


def _tokens(made: OmniFlatten, chunk: dict[str, str]) -> Iterator[int]:
    for stream, size in SAID.items():
        silent, said = made.tags.silent_text, chunk.get(stream, "")
        ids = made.text_ids(said)
        if stream == "speech":
            silent = made.tags.silent_speech
            ids = [silent if letter == "." else made.unit_ids([ord(letter) - ord("a")])[0] for letter in said]
        assert len(ids) <= size, f"{said!r} has no room in {stream}"
        yield from [*ids, *[silent] * (size - len(ids))]


def told(events: list[Event]) -> list[tuple[str, float]]:
    return [(event.kind, round(event.at_s, 3)) for event in events]


def of(events: list[Event], kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events if event.kind == kind]


SILENT: dict[str, str] = {}
OVER = [SILENT] * 3
"""Twelve silent units: the turn is over."""


def test_a_turn_is_told_as_it_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 40 ms a unit, chunks of four: what is said of the first chunk is said when its last unit was heard."""
    chunks = [
        {"heard": "yes"},
        {"heard": "one"},
        {"text": "hello no", "speech": "..ab"},
        {"text": "."},
        *OVER,
    ]
    events = scripted(chunks, monkeypatch)
    assert told(events) == [
        ("turn", 0.56),
        ("heard", 0.56),
        ("wrote", 0.56),
        ("said", 0.56),
        ("wrote", 0.64),
        ("said", 0.64),
        ("done", 1.08),
    ]
    turn, heard = events[:2]
    assert turn.data == {"turn": 1, "start_s": 0.0, "end_s": 0.32}
    assert heard.data == {"turn": 1, "text": "Yes one"}
    assert [data["text"] for data in of(events, "wrote")] == ["Hello no", "."]
    assert [data["text"] for data in of(events, "said")] == ["Hello no", "."]
    assert events[-1].data == {"turn": 1, "latency": {}}


def test_without_sound_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scripted([{"heard": "yes", "text": "one two"}, *OVER], monkeypatch) == []


def test_a_breath_does_not_end_a_turn_and_turns_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    breath = [{"text": "one", "speech": "abcd"}, SILENT, SILENT, {"text": "two", "speech": "...a"}, *OVER]
    events = scripted([*breath, {"heard": "no"}, {"text": "yes", "speech": "a"}, *OVER], monkeypatch)
    assert [kind for kind, _ in told(events)] == [
        *("turn", "wrote", "said", "wrote", "said", "done"),
        *("turn", "heard", "wrote", "said", "done"),
    ]
    assert [data["text"] for data in of(events, "wrote")] == ["One", " two", "Yes"]
    assert [data["turn"] for data in of(events, "done")] == [1, 2]
    assert of(events, "heard") == [{"turn": 2, "text": "No"}]


LONG = [{"text": "one two", "speech": "abcd"} for _ in range(6)]
LONG_TEXT = " ".join(["One two", *["one two"] * 5])


def test_who_is_cut_short_was_heard_as_far_as_it_spoke(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of speech is some fifteen characters; whole words count."""
    events = scripted([*LONG[:5], LONG[5] | {"heard": "stop"}, *OVER, {"speech": "a"}], monkeypatch)
    (stopped,) = of(events, "stopped")
    assert of(events, "done") == []
    assert stopped["reason"] == "speech"
    assert LONG_TEXT.startswith(stopped["heard_text"] + " ")
    assert 14 * 0.96 - 5 <= len(stopped["heard_text"]) <= 15 * 0.96
    turn = of(events, "turn")[-1]
    assert turn["turn"] == 2
    assert of(events, "heard") == [{"turn": 2, "text": "Stop"}]
    assert (turn["start_s"], turn["end_s"]) == (0.8, 0.96)


def test_a_back_channel_over_all_of_a_short_answer_does_not_cut_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events = scripted([{"text": "one two", "speech": "abcd"}, {"heard": "okay", "speech": "abcd"}, *OVER], monkeypatch)
    assert [kind for kind, _ in told(events)] == ["turn", "wrote", "said", "done"]


def test_a_back_channel_is_no_part_of_the_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was heard long before an answer was over did not end it."""
    later = [{"speech": "abcd"} for _ in range(12)]
    answer = [{"text": "yes", "speech": "abcd"}, {"heard": "okay", "speech": "abcd"}, *later, *OVER]
    events = scripted([*answer, {"heard": "stop"}, {"text": "no", "speech": "abcd"}, *OVER], monkeypatch)
    assert of(events, "stopped") == []
    assert of(events, "heard") == [{"turn": 2, "text": "Stop"}]


def test_who_speaks_to_the_end_was_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little sound there was for the text, nobody spoke over it."""
    events = scripted([*LONG, *OVER], monkeypatch)
    assert of(events, "stopped") == []
    assert len(of(events, "done")) == 1


def test_a_call_is_made_once_as_soon_as_it_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    BELL.rung.clear()
    written = ["yes <call>", "ring times", "= two", "</call> ."]
    assert BELL.tools[0].parameters["properties"]["times"]["type"] == "integer"
    chunks: list[dict[str, str]] = [{"text": text, "speech": "abcd"} for text in written]
    events = scripted([*chunks, {"text": "no", "speech": "a"}, *OVER], monkeypatch)
    assert [kind for kind, _ in told(events)] == [
        *("turn", "wrote", "said"),
        *("wrote", "said", "tool_call", "tool_result"),
        *("wrote", "said", "done"),
    ]
    (call,), (result,) = of(events, "tool_call"), of(events, "tool_result")
    assert call == {"turn": 1, "call_id": "call_0_1", "name": "ring", "arguments": '{"times": "two"}'}
    assert result == {"turn": 1, "call_id": "call_0_1", "output": '{"rung": true}'}
    assert [made.name for made in BELL.rung] == ["ring"]
    assert "".join(data["text"] for data in of(events, "said")) == "Yes. No"


def test_a_tool_that_fails_ends_neither_the_turn_nor_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    chunks: list[dict[str, str]] = [
        {"text": "<call> break", "speech": "abcd"},
        {"text": "</call> yes", "speech": "a"},
    ]
    events = scripted([*chunks, *OVER], monkeypatch)
    assert [kind for kind, _ in told(events)] == ["turn", "wrote", "said", "tool_call", "tool_result", "done"]
    (result,) = of(events, "tool_result")
    assert json.loads(result["output"]) == {"error": "the tool failed: the bell is broken"}


def test_calls_of_a_second_turn_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ring: list[dict[str, str]] = [{"text": "<call> ring", "speech": "a"}, {"text": "</call>"}]
    events = scripted([*ring, *OVER, *ring, *OVER], monkeypatch)
    assert [data["call_id"] for data in of(events, "tool_call")] == ["call_0_1", "call_0_2"]
