"""The order of events, turn by turn, and what the system is told of the conversation."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from duologue.dialogue import Message, ToolCall
from duologue.serve import g711
from duologue.session import Failed, Heard, Part, Speech, ToolReturned, Turn
from serving import Caller, Scripted, Teller, calling, pcm, serving, sine, speech

Play = Callable[[Caller], Awaitable[None]]

FAST = {"lead_ms": 60_000}
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}

REPLY = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]


def play(system: Any, scene: Play, **config: Any) -> None:
    """Let one caller play `scene` with the system."""

    async def call() -> None:
        with serving({"system": lambda: system}, **{**FAST, **config}) as served:
            async with calling(served) as caller:
                await scene(caller)

    asyncio.run(call())


async def ask(caller: Caller, text: str = "hello", **response: Any) -> dict[str, Any]:
    """Type something and wait for the end of the answer."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    await caller.send("conversation.item.create", item=item)
    await caller.send("response.create", response=response)
    done: dict[str, Any] = (await caller.until("response.done"))["response"]
    return done


# ---------------------------------------------------------------- orders


def test_a_turn_found_by_the_server() -> None:
    async def scene(caller: Caller) -> None:
        await caller.say(speech(0.5))
        await caller.until("response.done")
        assert caller.kinds() == ["session.created", *TURN, *REPLY]
        by_kind = {event["type"]: event for event in caller.events}
        user, reply = (
            by_kind["input_audio_buffer.committed"]["item_id"],
            by_kind["response.output_item.added"]["item"],
        )
        assert by_kind["input_audio_buffer.speech_started"]["item_id"] == user
        added = [event for event in caller.events if event["type"] == "conversation.item.added"]
        assert [event["previous_item_id"] for event in added] == [None, user]
        assert reply["status"] == "in_progress"
        assert reply["content"] == []
        assert by_kind["response.content_part.added"]["part"] == {"type": "audio", "transcript": ""}
        assert by_kind["response.output_audio_transcript.done"]["transcript"] == caller.text()
        usage = by_kind["response.done"]["response"]["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        assert usage["output_token_details"]["audio_tokens"] == 16

    play(Teller(words=4), scene)


def test_nothing_is_found_when_the_client_does_the_turns() -> None:
    async def scene(caller: Caller) -> None:
        await caller.push_to_talk()
        await caller.say(speech(0.5))
        await caller.send("input_audio_buffer.commit")
        await caller.until("conversation.item.done")
        await caller.send("response.create")
        await caller.until("response.done")
        assert caller.kinds() == ["session.created", "session.updated", *TURN[2:], *REPLY]

    play(Teller(), scene)


def test_a_response_of_text() -> None:
    async def scene(caller: Caller) -> None:
        done = await ask(caller, output_modalities=["text"], metadata={"tag": "a"})
        assert done["metadata"] == {"tag": "a"}
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "word0 word1 word2 word3 "}]
        text = [kind.replace("audio_transcript", "text") for kind in REPLY if "output_audio." not in kind]
        assert caller.kinds()[3:] == text
        assert caller.text("response.output_text.delta") == "word0 word1 word2 word3 "

    play(Teller(), scene)


def test_where_speech_begins_and_ends_is_counted_in_appended_sound() -> None:
    async def scene(caller: Caller) -> None:
        await caller.push_to_talk()
        await caller.say(np.zeros(24_000, np.float32))
        await caller.send("input_audio_buffer.clear")
        await caller.until("input_audio_buffer.cleared")
        await caller.configure(audio={"input": {"turn_detection": {"type": "server_vad", "prefix_padding_ms": 100}}})
        await caller.say(np.concatenate((np.zeros(24_000, np.float32), speech(0.5))))
        started = await caller.until("input_audio_buffer.speech_started")
        stopped = await caller.until("input_audio_buffer.speech_stopped")
        assert 2000 - 128 - 64 <= started["audio_start_ms"] <= 2000 - 96 + 64
        assert 2500 <= stopped["audio_end_ms"] <= 2500 + 200

    play(Teller(), scene)


def test_speech_stops_a_reply_within_the_confirm_time_and_a_frame() -> None:
    """Counted in sound: how much of the user's speech was heard when the reply fell silent."""
    confirm_ms, frame_ms = 200, 32

    async def scene(caller: Caller) -> None:
        await ask_without_waiting(caller)
        await caller.until("response.output_audio.delta")
        await caller.say(np.zeros(24_000, np.float32))
        spoken_ms, noticed = 0, False
        while not noticed:
            spoken_ms += 8
            await caller.say(np.full(8 * 24, 0.5, np.float32))
            await caller.send("conversation.item.retrieve", item_id="greeting")
            answer = await caller.until("input_audio_buffer.speech_started", "conversation.item.retrieved")
            noticed = answer["type"] == "input_audio_buffer.speech_started"
        assert confirm_ms <= spoken_ms <= confirm_ms + frame_ms
        done = await caller.until("response.output_audio.delta", "response.done")
        assert done["type"] == "response.done", "nothing of the old reply follows"

    play(Teller(words=1000), scene, lead_ms=100)


async def ask_without_waiting(caller: Caller) -> None:
    await caller.send("conversation.item.create", item={**HELLO, "id": "greeting"})
    await caller.send("response.create")


def test_the_client_may_end_a_turn_that_the_server_detects() -> None:
    async def scene(caller: Caller) -> None:
        await caller.say(speech(0.5, 0.1))
        await caller.until("input_audio_buffer.speech_started")
        await caller.send("input_audio_buffer.commit")
        await caller.until("conversation.item.done")
        await caller.send("response.create")
        await caller.until("response.done")
        assert caller.kinds() == ["session.created", *TURN, *REPLY]

    play(Teller(), scene)


def test_a_turn_that_nobody_has_begun_cannot_be_ended() -> None:
    async def scene(caller: Caller) -> None:
        await caller.say(np.zeros(24_000, np.float32))
        await caller.send("input_audio_buffer.commit")
        assert (await caller.next())["error"]["code"] == "input_audio_buffer_commit_empty"

    play(Teller(), scene)


def test_a_user_who_may_not_interrupt_is_answered_afterwards() -> None:
    teller = Teller(words=20)

    async def scene(caller: Caller) -> None:
        await caller.configure(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
        await caller.say(speech(0.5))
        first = await caller.until("response.created")
        await caller.say(speech(0.5))
        await caller.until("conversation.item.done")
        done = await caller.until("response.done")
        assert (done["response"]["id"], done["response"]["status"]) == (first["response"]["id"], "completed")
        assert (await caller.until("response.done"))["response"]["status"] == "completed"

    play(teller, scene, lead_ms=3_500)
    assert len(teller.turns) == 2


def test_no_reply_unless_the_client_wants_one() -> None:
    teller = Teller()

    async def scene(caller: Caller) -> None:
        await caller.configure(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
        await caller.say(speech(0.5))
        await caller.until("conversation.item.done")
        await caller.say(speech(0.5))
        await caller.until("conversation.item.done")
        assert teller.turns == []
        await caller.send("response.create")
        await caller.until("response.done")

    play(teller, scene)
    sound = teller.turns[0].audio
    assert sound is not None
    assert np.count_nonzero(sound > 0.4) > 0.95 * 16_000, "both utterances are answered, since neither was before"


@pytest.mark.parametrize("before", [[], [Speech(sine(0.4, 440), "One moment. ")]])
def test_a_failing_engine_ends_one_response(before: list[Part]) -> None:
    system = Scripted([Heard("hi"), *before, Failed("the voice is gone")], [Speech(sine(0.2, 440), "Here.")])

    async def scene(caller: Caller) -> None:
        done = await ask(caller)
        assert done["status"] == "failed"
        assert done["status_details"]["error"]["message"] == "the voice is gone"
        assert (await ask(caller))["status"] == "completed"

    play(system, scene)


def test_an_exception_in_an_engine_ends_one_response() -> None:
    system = Scripted([lambda: 1 / 0], [Speech(sine(0.2, 440), "Here.")])

    async def scene(caller: Caller) -> None:
        done = await ask(caller)
        assert done["status"] == "failed"
        assert "ZeroDivisionError" in done["status_details"]["error"]["message"]
        assert (await ask(caller))["status"] == "completed"

    play(system, scene)


def test_a_response_can_be_limited() -> None:
    async def scene(caller: Caller) -> None:
        done = await ask(caller, max_output_tokens=20)
        assert done["status"] == "incomplete"
        assert done["status_details"]["reason"] == "max_output_tokens"
        assert 20 <= done["usage"]["output_tokens"] < 30

    play(Teller(words=100), scene)


def test_listening_aloud_does_not_end_a_reply() -> None:
    """A stopped reply goes on when the user only said "mm-hm": a new response carries the rest, to the sample."""
    whole = np.random.default_rng(1).uniform(0.1, 0.5, 72_000).astype(np.float32)
    story = Speech(whole, "Once upon a time there was a king.")
    system = Scripted([Heard("tell me"), story], [Heard("mm-hm")], [Heard("and then"), Speech(sine(0.1, 440), "End.")])

    async def scene(caller: Caller) -> None:
        await caller.configure(audio={"input": {"transcription": {"model": "any"}}})
        await caller.say(speech(0.5))
        for _ in range(20):
            await caller.until("response.output_audio.delta")
        await caller.say(speech(0.4))
        cancelled = (await caller.until("response.done"))["response"]
        assert cancelled["status"] == "cancelled"
        rest = (await caller.until("response.done"))["response"]
        assert rest["status"] == "completed"
        assert rest["id"] != cancelled["id"]
        assert rest["output"][0]["id"] != cancelled["output"][0]["id"]
        heard = np.trim_zeros(caller.audio(rest["id"]), "b")
        assert 0 < len(whole) - len(heard) < len(caller.audio(cancelled["id"]))
        np.testing.assert_allclose(heard, whole[-len(heard) :], atol=1e-4)
        await caller.say(speech(0.4))
        await caller.until("response.done")

    play(system, scene, lead_ms=300)
    assert system.turns[2].history == (
        Message("user", "tell me"),
        Message("assistant", "Once upon a time there was a king."),
    )


# ---------------------------------------------------------------- what the system does by itself


def test_the_tools_of_the_system_are_shown_beside_the_protocol() -> None:
    call = ToolCall("c1", "timer", '{"minutes": 10}')
    system = Scripted([Heard("x"), call, ToolReturned("c1", "set"), Speech(sine(0.2, 440), "Done.")], [])

    async def scene(caller: Caller) -> None:
        done = await ask(caller)
        assert [item["type"] for item in done["output"]] == ["message"]
        private = [event["duologue"] for event in caller.events if "duologue" in event]
        assert private[0] == {"tool_call": {"call_id": "c1", "name": "timer", "arguments": '{"minutes": 10}'}}
        assert private[1] == {"tool_result": {"call_id": "c1", "output": "set"}}
        assert set(private[2]) == {"latency"}
        assert caller.text() == "Done."
        await ask(caller, "again")

    play(system, scene)
    assert system.turns[0].tools is None
    assert system.turns[1].history == (
        Message("user", "hello"),
        Message("assistant", tool_calls=(call,)),
        Message("tool", "set", call_id="c1"),
        Message("assistant", "Done."),
    )


def test_the_tools_of_the_client_do_not_hide_those_of_the_system() -> None:
    own, theirs = ToolCall("c1", "timer", "{}"), ToolCall("c2", "weather", "{}")
    system = Scripted([Heard("x"), own, ToolReturned("c1", "set"), theirs])

    async def scene(caller: Caller) -> None:
        await caller.configure(tools=[{"type": "function", "name": "weather"}])
        done = await ask(caller)
        assert [(item["type"], item.get("name")) for item in done["output"]] == [
            ("message", None),
            ("function_call", "weather"),
        ]
        private = [event["duologue"] for event in caller.events if "duologue" in event]
        assert [list(data) for data in private] == [["tool_call"], ["tool_result"], ["latency"]]

    play(system, scene)


def test_a_long_call_id_is_replaced_by_a_short_one() -> None:
    system = Scripted([ToolCall("x" * 50, "f", "{}")])

    async def scene(caller: Caller) -> None:
        await caller.configure(tools=[{"type": "function", "name": "f"}])
        done = await ask(caller)
        assert 0 < len(done["output"][0]["call_id"]) <= 32

    play(system, scene)


def test_tool_choice_none_leaves_no_tools() -> None:
    teller = Teller()

    async def scene(caller: Caller) -> None:
        await caller.configure(tools=[{"type": "function", "name": "f"}], tool_choice="none", instructions="Be brief.")
        await ask(caller)

    play(teller, scene)
    assert teller.turns[0].tools == ()
    assert teller.turns[0].instructions == "Be brief."


# ---------------------------------------------------------------- transcripts


class Listener(Teller):
    """Transcribes sound that nobody asks an answer to."""

    def transcribe(self, audio: Any) -> str:
        return f"{round(len(audio) / 16_000, 1)} seconds"


def test_sound_that_is_not_answered_is_transcribed_all_the_same() -> None:
    async def scene(caller: Caller) -> None:
        await caller.configure(
            audio={"input": {"turn_detection": None, "transcription": {"model": "any", "language": "en"}}}
        )
        await caller.say(speech(0.5, 0))
        await caller.send("input_audio_buffer.commit")
        told = await caller.until("conversation.item.input_audio_transcription.completed")
        assert told["transcript"] == "0.5 seconds"
        assert told["usage"] == {"type": "duration", "seconds": 0.5}
        await caller.send("conversation.item.retrieve", item_id=told["item_id"])
        item = (await caller.until("conversation.item.retrieved"))["item"]
        assert item["content"] == [{"type": "input_audio", "transcript": "0.5 seconds"}]

    play(Listener(), scene)


def test_a_transcript_that_fails_says_so() -> None:
    class Deaf(Teller):
        def transcribe(self, audio: Any) -> str:
            raise RuntimeError("no ears")

    async def scene(caller: Caller) -> None:
        await caller.configure(audio={"input": {"turn_detection": None, "transcription": {"model": "any"}}})
        await caller.say(speech(0.5, 0))
        await caller.send("input_audio_buffer.commit")
        failed = await caller.until("conversation.item.input_audio_transcription.failed")
        assert failed["error"] == {"type": "server_error", "message": "RuntimeError: no ears"}

    play(Deaf(), scene)


def test_transcripts_are_told_only_to_who_asks() -> None:
    async def scene(caller: Caller) -> None:
        await caller.say(speech(0.5))
        await caller.until("response.done")
        assert not [kind for kind in caller.kinds() if "transcription" in kind]

    play(Teller(), scene)


# ---------------------------------------------------------------- memory


def test_items_are_the_memory() -> None:
    teller = Teller(words=1)

    async def scene(caller: Caller) -> None:
        for number, item in enumerate(
            [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rule"}]},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "two"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "three"}]},
            ]
        ):
            await caller.send("conversation.item.create", item={**item, "id": f"i{number}"})
            await caller.until("conversation.item.done")
        await caller.send("conversation.item.delete", item_id="i3")
        assert (await caller.until("conversation.item.deleted"))["item_id"] == "i3"
        first = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "first"}]}
        await caller.send("conversation.item.create", item=first, previous_item_id="root")
        assert (await caller.until("conversation.item.added"))["previous_item_id"] is None
        middle = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one and a half"}]}
        await caller.send("conversation.item.create", item=middle, previous_item_id="i1")
        assert (await caller.until("conversation.item.added"))["previous_item_id"] == "i1"
        await ask(caller, "now")

    play(teller, scene)
    assert teller.turns[0].text == "now"
    assert [(message.role, message.text) for message in teller.turns[0].history] == [
        ("system", "first"),
        ("system", "rule"),
        ("user", "one"),
        ("user", "one and a half"),
        ("assistant", "two"),
    ]


@pytest.mark.parametrize(
    ("asked_ms", "answered_ms", "remembered"),
    [(0, 0, None), (340, 340, "word0"), (410, 410, "word0 word1"), (99_999, 800, "word0 word1 word2 word3 ")],
)
def test_truncation(asked_ms: int, answered_ms: int, remembered: str | None) -> None:
    teller = Teller()

    async def scene(caller: Caller) -> None:
        item_id = (await ask(caller))["output"][0]["id"]
        await caller.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=asked_ms)
        assert (await caller.until("conversation.item.truncated"))["audio_end_ms"] == answered_ms
        await caller.send("conversation.item.retrieve", item_id=item_id)
        item = (await caller.until("conversation.item.retrieved"))["item"]
        assert item["content"] == [{"type": "output_audio", "transcript": remembered or ""}]
        await ask(caller, "again")

    play(teller, scene)
    cut = asked_ms < 800
    kept = (Message("assistant", remembered, interrupted=cut),) if remembered else ()
    assert teller.turns[1].history == (Message("user", "hello"), *kept)


def test_a_response_beside_the_conversation() -> None:
    teller = Teller(words=1)

    async def scene(caller: Caller) -> None:
        await ask(caller, "in it")
        await caller.send("conversation.item.create", item={**HELLO, "id": "greeting"})
        await caller.until("conversation.item.done")
        await caller.send(
            "response.create",
            response={"conversation": "none", "input": [{"type": "item_reference", "id": "greeting"}]},
        )
        done = (await caller.until("response.done"))["response"]
        assert done["conversation_id"] is None
        await caller.send("conversation.item.retrieve", item_id=done["output"][0]["id"])
        with pytest.raises(AssertionError, match="item_retrieve_invalid_item_id"):
            await caller.until("conversation.item.retrieved")

    play(teller, scene)
    assert (teller.turns[1].text, teller.turns[1].history) == ("hello", ())


def test_settings_are_merged_and_shown() -> None:
    async def scene(caller: Caller) -> None:
        session = caller.events[0]["session"]
        assert session["audio"]["input"]["turn_detection"] == {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 500,
            "create_response": True,
            "interrupt_response": True,
            "idle_timeout_ms": None,
        }
        shown = await caller.configure(
            instructions="Speak.",
            tracing="auto",
            audio={
                "input": {
                    "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
                    "transcription": {"model": "whisper-1"},
                    "noise_reduction": None,
                },
                "output": {"voice": "marin"},
            },
        )
        session = shown["session"]
        assert session["instructions"] == "Speak."
        assert session["audio"]["input"]["turn_detection"]["eagerness"] == "low"
        assert session["audio"]["input"]["transcription"] == {"model": "system"}
        assert session["audio"]["output"]["voice"] != "marin"
        assert "tracing" not in session
        vad = {"type": "server_vad", "threshold": 0.7}
        shown = await caller.configure(audio={"input": {"turn_detection": vad}})
        vad = {"type": "server_vad", "silence_duration_ms": 800}
        shown = await caller.configure(audio={"input": {"turn_detection": vad}})
        detection = shown["session"]["audio"]["input"]["turn_detection"]
        assert (detection["threshold"], detection["silence_duration_ms"]) == (0.7, 800)
        assert shown["session"]["instructions"] == "Speak."
        shown = await caller.configure(
            instructions="", audio={"input": {"turn_detection": None, "transcription": None}}
        )
        assert shown["session"]["instructions"] == ""
        assert shown["session"]["audio"]["input"]["turn_detection"] is None

    play(Teller(), scene)


@pytest.mark.parametrize("law", ["audio/pcmu", "audio/pcma"])
def test_the_sound_of_telephones(law: str) -> None:
    teller = Teller(pitch_hz=500, said_hz=16_000)

    async def scene(caller: Caller) -> None:
        sound = {"input": {"format": {"type": law}, "turn_detection": None}, "output": {"format": {"type": law}}}
        shown = await caller.configure(audio=sound)
        assert shown["session"]["audio"]["output"]["format"] == {"type": law}
        told = base64.b64encode(g711.encode(sine(0.4, 500, 8_000), law)).decode()
        await caller.send("input_audio_buffer.append", audio=told)
        await caller.send("input_audio_buffer.commit")
        await caller.send("response.create")
        await caller.until("response.done")
        deltas = [event["delta"] for event in caller.events if event["type"] == "response.output_audio.delta"]
        heard = g711.decode(b"".join(map(base64.b64decode, deltas)), law)
        np.testing.assert_allclose(heard[100:6300], sine(0.8, 500, 8_000)[100:6300], atol=0.02)

    play(teller, scene)
    sound = teller.turns[0].audio
    assert sound is not None
    np.testing.assert_allclose(sound[200:6000], sine(0.4, 500, 16_000)[200:6000], atol=0.02)


def test_the_same_sound_gives_the_same_reply_in_pieces_of_any_size() -> None:
    def heard(chunk_ms: int) -> tuple[Any, Any]:
        teller, replies = Teller(), []

        async def scene(caller: Caller) -> None:
            await caller.say(speech(0.5), chunk_ms)
            await caller.until("response.done")
            replies.append(caller.audio())

        play(teller, scene)
        return teller.turns[0].audio, replies[0]

    (sound, reply), (same_sound, same_reply) = heard(7), heard(1200)
    np.testing.assert_array_equal(sound, same_sound)
    np.testing.assert_array_equal(reply, same_reply)


def test_a_client_may_give_sound_as_an_item() -> None:
    teller = Teller()

    async def scene(caller: Caller) -> None:
        part = {"type": "input_audio", "audio": pcm(speech(0.4, 0))}
        item = {
            "type": "message",
            "role": "user",
            "content": [part, {"type": "input_image", "image_url": "data:,"}],
        }
        await caller.send("conversation.item.create", item=item)
        shown = (await caller.until("conversation.item.done"))["item"]["content"]
        assert shown == [{"type": "input_audio", "transcript": None}, {"type": "input_image"}]
        await caller.send("response.create")
        await caller.until("response.done")

    play(teller, scene)
    sound = teller.turns[0].audio
    assert sound is not None
    assert abs(len(sound) - 6_400) < 32


def test_no_thread_of_a_reply_outlives_the_call() -> None:
    class Endless:
        said_hz = 24_000

        def reply(self, turn: Turn) -> Any:
            while True:
                yield Speech(sine(1.0, 440), "la ")

    async def scene(caller: Caller) -> None:
        await caller.say(speech(0.5))
        await caller.until("response.output_audio.delta")

    play(Endless(), scene, lead_ms=100)
    for thread in threading.enumerate():
        if thread.name.startswith("reply-"):
            thread.join(timeout=5)
            assert not thread.is_alive()
