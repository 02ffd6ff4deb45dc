"""A model that hears while it speaks, one frame at a time: a session by a layout.

    session = LayoutSession(talking, toolbox)
    said = session.step(frame)               # one unit of sound in, one unit of sound out

A frame is one unit of the codec. What was heard goes into the layout's `user` stream; the model is asked for what its
columns say as late as it can be: one unit of speech a frame, so that work is spread evenly and nothing runs ahead. It
is the model alone that takes turns; who speaks when is read off its streams, and told as events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from duologue.dialogue import Tool, ToolCall
from duologue.engines.llm import Toolbox
from duologue.layout import Driver, Layout
from duologue.model.greedy import likeliest
from duologue.session import Audio, Event, Said
from duologue.streaming import Memory, start, step
from duologue.units.codec import Codec, refuse_unless_live
from duologue.units.speaking import Voice

TURN_ENDS_UNITS = 12
"""Silent units of the assistant's after which its turn is over."""
LATEST_ANSWER_S = 1.5
"""After which an answer counts as none (OmniFlatten, version 2)."""
BACK_CHANNEL_S = 1.5
"""What was heard so long before a turn was over, and did not end it, was no turn ("mm-hm")."""
CHARACTERS_PER_S = 15.0
"""Of the assistant's speech: text is written ahead of it, and what was heard of a text is told by the time."""


@dataclass(frozen=True)
class Talking:
    """All that callers share of a duplex system.

    layout          hears "user", says "speech" and, where it has them, "text" and "heard"
    chunk_units     units of the user's that are heard before the model writes those of the same time
    may_hold        ids that a stream may hold, by its name
    first_unit      id of unit 0; `silent` of silence in "speech", `silent_text` of silence in texts
    text_of         ids of a text → what is said of it, and the calls in it (those that are complete)
    """

    lm: Any
    codec: Codec
    layout: Layout
    chunk_units: int
    may_hold: Mapping[str, Tensor]
    first_unit: int
    silent: int
    silent_text: int
    text_of: Callable[[Sequence[int], Sequence[Tool]], tuple[str, tuple[ToolCall, ...]]]
    memory: Memory


class LayoutSession:
    """A conversation of one caller, a `session.Session`.

    The sound of a unit is said `delay_frames` after the frame in which the user's sound of the same time was heard:
    a chunk has to be whole before it is answered, and the decoder looks ahead.

    Raises ValueError where it is begun with a codec that cannot be used live.
    """

    def __init__(self, talking: Talking, toolbox: Toolbox | None = None) -> None:
        refuse_unless_live(talking.codec)
        self.talking, codec = talking, talking.codec
        self.said_hz, self.said_samples = codec.said_hz, codec.unit_samples
        self.heard_samples = round(codec.heard_hz / codec.unit_hz)
        self.frame_s = 1 / codec.unit_hz
        self.delay_frames = talking.chunk_units - 1 + codec.ahead_units
        self.frames = 0
        self._mind = Minds(talking)
        self._hearing = codec.start_encoder(1)
        self._voice = Voice(codec)
        self._teller = _Teller(talking, toolbox)

    @torch.inference_mode()
    def step(self, heard: Audio) -> Said:
        """Hear [heard_samples] at 16 kHz, say [said_samples]. Raises ValueError for what is not one finite frame."""
        if np.shape(heard) != (self.heard_samples,) or not np.isfinite(heard).all():
            raise ValueError(f"a frame is {self.heard_samples} finite samples, not {np.shape(heard)}")
        audio = torch.from_numpy(np.ascontiguousarray(heard, np.float32))[None]
        self._mind.hear(self.talking.codec.encode(audio, self._hearing)[:, 0, 0].tolist())
        self.frames += 1
        due = self.frames - self.talking.chunk_units
        token, sound, events = self.talking.silent, np.zeros(self.said_samples, np.float32), list[Event]()
        if due >= 0:
            ((token, written),) = self._mind.say_unit()
            sound = self._voice.say(None if token == self.talking.silent else token - self.talking.first_unit)
            events = self._teller.tell(self.frames * self.frame_s, token, written)
        return Said(sound, tuple(events), self._teller.speaking)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What it may call."""
        return self._teller.tools

    @property
    def busy(self) -> bool:
        """Whether it is speaking."""
        return self._teller.speaking is not None

    @property
    def settles_s(self) -> float:
        """Silence by which it would have begun to answer."""
        return self.delay_frames * self.frame_s + LATEST_ANSWER_S

    def close(self) -> None:
        """Nothing is held beside memory."""


class Minds:
    """The language model of conversations in step with each other, B of them, and the layout they follow."""

    def __init__(self, talking: Talking, batch: int = 1) -> None:
        self._talking, self._drivers = talking, [Driver(talking.layout) for _ in range(batch)]
        self._state = start(talking.lm, batch, talking.memory)

    def hear(self, units: Sequence[int]) -> None:
        """The user's next unit in each conversation, [B]."""
        for driver, unit in zip(self._drivers, units, strict=True):
            driver.hear("user", [self._talking.first_unit + unit])

    @torch.inference_mode()
    def say_unit(self) -> list[tuple[int, dict[str, list[int]]]]:
        """Of each, the next token of speech, and the text that is written before it, by stream. Raises RuntimeError
        where no speech is due: a chunk has to be heard first."""
        written: list[dict[str, list[int]]] = [{} for _ in self._drivers]
        while asks := [ask for driver in self._drivers if (ask := driver.ask()) is not None]:
            stream = asks[0].streams[0]
            tokens = self._chosen(np.stack([ask.given.tokens[:, 0] for ask in asks]), stream)
            for driver, token in zip(self._drivers, tokens, strict=True):
                driver.answer([token])
            if stream == "speech":
                for driver in self._drivers:
                    driver.forget()
                return list(zip(tokens, written, strict=True))
            for texts, token in zip(written, tokens, strict=True):
                texts.setdefault(stream, []).append(token)
        raise RuntimeError("no speech is due: the next chunk has not been heard yet")

    def _chosen(self, given: NDArray[np.int64], stream: str) -> list[int]:
        """The likeliest tokens that the stream may hold, after the given ones [B, N]: [B]."""
        hidden = step(self._talking.lm, self._state, torch.from_numpy(given).to(self._state.keys.device))[:, -1]
        return likeliest(self._talking.lm, hidden, self._talking.may_hold[stream])


class _Teller:
    """What happens, as events: read off the streams that the model writes."""

    def __init__(self, talking: Talking, toolbox: Toolbox | None) -> None:
        self._talking, self._toolbox = talking, toolbox
        self.tools = () if toolbox is None else toolbox.tools
        self.speaking: int | None = None
        """The turn that sounds."""
        self._turn, self._silent_units, self._spoken_units = 0, 0, 0
        self._heard, self._text = list[int](), list[int]()
        self._heard_from_s, self._heard_to_s = 0.0, 0.0
        self._told_text, self._told_calls = "", 0
        self._over = False

    def tell(self, at_s: float, token: int, written: Mapping[str, Sequence[int]]) -> list[Event]:
        """The events of a frame in which the model wrote this."""
        events: list[Event] = []
        if words := self._words(written, "heard"):
            self._heard_from_s = self._heard_from_s if self._heard else at_s - self._chunk_s
            self._heard_to_s = at_s
            self._heard += words
            self._over = self._over or self.speaking is not None
        sounds = token != self._talking.silent
        begins = sounds and self.speaking is None
        if begins:
            events += self._begun(at_s)
        words = self._words(written, "text")
        self._text += words
        if words or begins:
            events += self._wrote(at_s)
        if self.speaking is not None:
            self._spoken_units += 1
            self._silent_units = 0 if sounds else self._silent_units + 1
            if self._silent_units >= TURN_ENDS_UNITS:
                events += self._ended(at_s)
        return events

    @property
    def _chunk_s(self) -> float:
        return self._talking.chunk_units / self._talking.codec.unit_hz

    def _words(self, written: Mapping[str, Sequence[int]], stream: str) -> list[int]:
        return [token for token in written.get(stream, ()) if token != self._talking.silent_text]

    def _begun(self, at_s: float) -> list[Event]:
        """The assistant begins to speak: the user's turn is over."""
        self._turn += 1
        self.speaking, self._spoken_units, self._silent_units, self._over = self._turn, 0, 0, False
        text, _ = self._talking.text_of(self._heard, ())
        if not self._heard:
            self._heard_from_s = self._heard_to_s = at_s
        times = {"start_s": round(self._heard_from_s, 3), "end_s": round(self._heard_to_s, 3)}
        self._heard.clear()
        self._told_text, self._told_calls = "", 0
        turn = Event("turn", at_s, {"turn": self._turn, **times})
        return [turn, *([Event("heard", at_s, {"turn": self._turn, "text": text})] if text else [])]

    def _wrote(self, at_s: float) -> list[Event]:
        """What was newly written of the turn; calls as soon as they are complete."""
        if self.speaking is None or not self._text:
            return []
        events, turn = list[Event](), {"turn": self._turn}
        text, calls = self._talking.text_of(self._text, self.tools)
        if new := text[len(self._told_text) :]:
            words = {**turn, "text": new, "samples": 0, "words": ()}
            events += [Event("wrote", at_s, {**turn, "text": new}), Event("said", at_s, words)]
            self._told_text = text
        for call in calls[self._told_calls :]:
            named = {"call_id": f"{call.call_id}_{self._turn}", "name": call.name, "arguments": call.arguments}
            events.append(Event("tool_call", at_s, {**turn, **named}))
            if self._toolbox is not None:
                result = {"call_id": named["call_id"], "output": _returned(self._toolbox, call)}
                events.append(Event("tool_result", at_s, {**turn, **result}))
        self._told_calls = len(calls)
        return events

    def _ended(self, at_s: float) -> list[Event]:
        """The assistant has been silent for a while: it was done, or it gave way."""
        spoken_s = (self._spoken_units - self._silent_units) / self._talking.codec.unit_hz
        heard = _as_far(self._told_text, round(spoken_s * CHARACTERS_PER_S))
        cut = self._over and heard != self._told_text
        turn, self.speaking = self._turn, None
        self._text.clear()
        if not cut and at_s - self._heard_to_s > BACK_CHANNEL_S:
            self._heard.clear()
        if cut:
            return [Event("stopped", at_s, {"turn": turn, "reason": "speech", "heard_text": heard})]
        return [Event("done", at_s, {"turn": turn, "latency": {}})]


def _returned(toolbox: Toolbox, call: ToolCall) -> str:
    """What the tool gives; why it failed where it did: the call goes on."""
    try:
        return toolbox.run(call)
    except Exception as error:
        return json.dumps({"error": f"the tool failed: {error}"})


def _as_far(text: str, characters: int) -> str:
    """The whole words among so many characters; all of a text that is hardly longer."""
    return text if len(text) <= characters * 1.25 + 6 else text[:characters].rpartition(" ")[0]
