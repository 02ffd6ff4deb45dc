"""What the user was understood to say, told to a client that asked for transcripts.

As a rule the reply itself finds out, and the words come with it. Sound that nobody asks an answer to is transcribed
by itself, where the system can do that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from duologue.serve.ahead import Ahead
from duologue.serve.conversation import Conversation
from duologue.serve.response import Emit
from duologue.session import Audio

PATIENCE_S = 0.5
"""Sound that nobody has asked an answer to for so long is transcribed by itself."""

_EVENT = "conversation.item.input_audio_transcription"


class Transcripts:
    """The transcripts of one session. `wanted` says whether the client asked for them."""

    def __init__(self, conversation: Conversation, ahead: Ahead, emit: Emit) -> None:
        self.wanted = False
        self._conversation, self._ahead, self._emit = conversation, ahead, emit
        self._durations_s: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def expect(self, item_id: str, duration_s: float) -> None:
        """An item of so much sound was added."""
        self._durations_s[item_id] = duration_s
        if self.wanted and self._ahead.can_transcribe:
            self._waiting[item_id] = asyncio.create_task(self._transcribe_later(item_id))

    def asked(self, item_ids: Iterable[str]) -> None:
        """A reply to these items begins; it will tell what was said."""
        for item_id in item_ids:
            if task := self._waiting.pop(item_id, None):
                task.cancel()

    def understood(self, item_ids: Sequence[str], text: str) -> None:
        """The sound of these items, taken together, is `text`. It is told as the transcript of the last one."""
        for item_id in item_ids:
            item, transcript = self._conversation.get(item_id), text if item_id == item_ids[-1] else ""
            if item is not None:
                self._conversation.put(item.with_transcript(transcript))
            self._tell(item_id, transcript)

    async def close(self) -> None:
        for task in self._waiting.values():
            task.cancel()
        await asyncio.gather(*self._waiting.values(), return_exceptions=True)

    # ------------------------------------------------ telling

    def _tell(self, item_id: str, transcript: str) -> None:
        duration_s = self._durations_s.pop(item_id, None)
        if self.wanted and duration_s is not None:
            usage = {"type": "duration", "seconds": round(duration_s, 3)}
            self._emit(
                {"type": f"{_EVENT}.completed", "item_id": item_id, "content_index": 0}
                | {"transcript": transcript, "usage": usage}
            )

    def _fail(self, item_id: str, error: Exception) -> None:
        failure = {"type": "server_error", "message": f"{type(error).__name__}: {error}"}
        self._emit({"type": f"{_EVENT}.failed", "item_id": item_id, "content_index": 0, "error": failure})

    # ------------------------------------------------ sound that nobody asks about

    async def _transcribe_later(self, item_id: str) -> None:
        await asyncio.sleep(PATIENCE_S)
        item = self._conversation.get(item_id)
        if item is not None and item.audio is not None:
            await self._transcribe(item_id, item.audio)
        self._waiting.pop(item_id, None)

    async def _transcribe(self, item_id: str, audio: Audio) -> None:
        try:
            text = await asyncio.to_thread(self._ahead.transcribe, audio)
        except Exception as error:
            self._fail(item_id, error)
        else:
            self.understood([item_id], text)
