"""CleanS2S: a cascade that can be interrupted (Lu et al. 2025, arXiv 2506.01268).

    sound → recogniser → language model → sentences → voice → sound

Each step is a generator over the one before, pulled by the frame that is about to be said: nothing runs further
ahead, and closing the last closes them all. Beyond the paper: speech over a reply stops it at its onset, not after
the user has finished, and the history keeps what was heard, not what was written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

import numpy as np

from duologue.desk import Desk
from duologue.dialogue import Message, ToolCall
from duologue.engines import EngineError, named
from duologue.engines.asr import ASR
from duologue.engines.llm import LLM, Toolbox
from duologue.engines.sentences import SentenceCutter
from duologue.engines.tts import TTS, resampled
from duologue.session import Audio, Failed, Heard, Part, Speech, ToolReturned, Turn, Wrote

SAID_HZ = 24_000
MOST_TOOL_ROUNDS = 5
SORRY = "Sorry, something went wrong on my side. Please say that again."


def cascade(
    asr: str = "pocketsphinx",
    llm: str = "desk",
    tts: str = "embedded",
    now: Callable[[], datetime] = datetime.now,
) -> CleanS2S:
    """The cascade for one caller, its engines by name (`engines.named`). The desk's tools are the caller's own; a
    mind other than the desk may call them too. Raises EngineError for an engine that cannot be had."""
    desk = Desk(now)
    return CleanS2S(named.recogniser(asr), named.mind(llm, desk), named.voice(tts), desk)


@dataclass
class CleanS2S:
    """The cascade of one caller. The engines may be shared; the toolbox is the caller's own.

    `spoken_apology` is said when an engine fails; the turn then ends, the call goes on.
    """

    asr: ASR
    llm: LLM
    tts: TTS
    toolbox: Toolbox | None = None
    first_comma_after: int | None = None
    spoken_apology: str = SORRY

    said_hz = SAID_HZ

    def reply(self, turn: Turn) -> Iterator[Part]:
        try:
            text = self.hear(turn)
            if text is not None:
                yield Heard(text)
            if text != "":
                yield from self.speak(self.think(turn, text))
        except EngineError as error:
            yield from self._apologise()
            yield Failed(str(error))

    def hear(self, turn: Turn) -> str | None:
        """The user's words; None where there are none and the history asks: it ends in the result of a tool."""
        if turn.text is not None or turn.audio is None:
            return turn.text
        return self.transcribe(turn.audio)

    def transcribe(self, audio: Audio) -> str:
        """The words in [N] samples at 16 kHz; "" for none. Raises EngineError."""
        return self.asr.transcribe(audio).text

    def think(self, turn: Turn, text: str | None) -> Iterator[Part]:
        """What the language model writes; tools are run in between, the caller's end the reply."""
        messages = [*turn.history, Message("user", text)] if text else list(turn.history)
        if turn.instructions:
            messages.insert(0, Message("system", turn.instructions))
        theirs = {tool.name for tool in turn.tools or ()}
        ours = () if self.toolbox is None else self.toolbox.tools
        for _ in range(MOST_TOOL_ROUNDS):
            calls = []
            for written in self.llm.think(messages, (*(turn.tools or ()), *ours)):
                if isinstance(written, ToolCall):
                    calls.append(written)
                    yield written
                else:
                    yield Wrote(written)
            if not calls or any(call.name in theirs for call in calls):
                return
            messages.append(Message("assistant", tool_calls=tuple(calls)))
            for call in calls:
                result = self._run(call)
                messages.append(Message("tool", result, call_id=call.call_id))
                yield ToolReturned(call.call_id, result)
        raise EngineError(f"the language model called tools {MOST_TOOL_ROUNDS} times without an answer")

    def speak(self, parts: Iterator[Part]) -> Iterator[Part]:
        """Each written sentence, said as soon as it is complete. What is written before a tool call is said before."""
        cutter, said = SentenceCutter(self.first_comma_after), 0
        for part in chain(parts, (None,)):
            if isinstance(part, Wrote):
                yield part
            for piece in cutter.push(part.text) if isinstance(part, Wrote) else cutter.flush():
                yield from self._say(piece, first=said == 0)
                said += 1
            if part is not None and not isinstance(part, Wrote):
                yield part

    def _say(self, piece: str, first: bool) -> Iterator[Speech]:
        """One piece as sound; its text goes with the first of it. A space parts it from the one before."""
        text = piece if first or not piece[:1].isascii() else f" {piece}"
        chunks = (chunk for chunk in resampled(self.tts, piece, SAID_HZ) if len(chunk))
        held = next(chunks, np.zeros(0, np.float32))
        for chunk in chunks:
            yield Speech(held, text, last=False)
            held, text = chunk, ""
        yield Speech(held, text)

    def _run(self, call: ToolCall) -> str:
        if self.toolbox is None:
            return json.dumps({"error": f"there is no tool {call.name}"})
        return self.toolbox.run(call)

    def _apologise(self) -> Iterator[Part]:
        """Say that something failed; if the voice is what failed, the words alone must do."""
        yield Wrote(self.spoken_apology)
        try:
            yield from self._say(self.spoken_apology, first=True)
        except EngineError:
            yield Speech(np.zeros(0, np.float32), self.spoken_apology)
