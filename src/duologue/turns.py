"""Turn-taking: a session out of any system that answers when it is asked to.

`TurnSession` listens, notices when the user's turn is over, lets the system reply, and gives way when the user
speaks over it. A reply is a generator that is pulled one frame ahead of the sound and no further: to give way is
to stop pulling, and to close it. A reply that was stopped by what turns out to be a back-channel ("mm-hm") goes on
at the very sample where it stopped.

`hear` takes a frame and only decides; `say` gives the reply's next frame. `step` is both, in lock-step; a server
calls them apart, to hear as fast as sound arrives and to speak at the loudspeaker's pace.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from duologue.dialogue import Message, ToolCall
from duologue.floor import BACKCHANNELS, Floor, Piece, is_backchannel
from duologue.reply import Latency, Reply
from duologue.session import (
    HEARD_HZ,
    Audio,
    Event,
    Failed,
    Heard,
    Overhears,
    Part,
    Said,
    Speech,
    ToolReturned,
    Turn,
    TurnTaker,
    Wrote,
)
from duologue.sound.utterance import Listener, Segment, UtteranceSettings
from duologue.sound.vad import WINDOW_MS, WINDOW_SAMPLES, Vad, silero

OVERHEARD_WINDOWS = 10
"""Every so many, a system may overhear what the user says: each 320 ms, and once in the silence that ends a turn."""


@dataclass(frozen=True)
class TurnSettings:
    """When the user has spoken, and what that does to a reply.

    confirm_ms          so much speech stops a reply (100 to 300)
    backchannel_max_ms  longer speech is no back-channel: the stopped reply is closed without waiting for its words
    interrupt           whether speech stops a reply at all
    auto_reply          whether a finished turn is answered by itself
    """

    utterance: UtteranceSettings = field(default_factory=UtteranceSettings)
    confirm_ms: int = 200
    backchannel_max_ms: int = 1000
    backchannels: frozenset[str] = BACKCHANNELS
    interrupt: bool = True
    auto_reply: bool = True


class TurnSession:
    """A `Session` over a `TurnTaker`. One per caller; not for use from two threads at once."""

    heard_samples = WINDOW_SAMPLES
    frame_s = WINDOW_MS / 1000

    def __init__(
        self,
        system: TurnTaker,
        vad: Vad | None = None,
        settings: TurnSettings | None = None,
        history: Iterable[Message] = (),
    ) -> None:
        self.system = system
        self.said_hz = system.said_hz
        self.said_samples = round(self.said_hz * self.frame_s)
        if self.said_samples * 1000 != self.said_hz * WINDOW_MS:
            raise ValueError(f"a frame of {WINDOW_MS} ms is no whole number of samples at {self.said_hz} Hz")
        self._settings = settings or TurnSettings()
        self._listener = Listener(vad or silero(), self._settings.utterance)
        self._floor = Floor(self.said_hz, history)
        self._reply: Reply | None = None
        self._stopped: Reply | None = None
        self._confirmed = False
        self._turns = 0
        self._unheard: list[Audio] = []
        self._waiting: tuple[Turn, Latency] | None = None
        self.sent = (0, 0)
        """The last turn whose reply sounded, and how many samples of it were given out."""
        self._spoken_latency: tuple[int, Latency] | None = None
        self.last_turn: Turn | None = None

    # ------------------------------------------------ what can be asked

    @property
    def settings(self) -> TurnSettings:
        return self._settings

    @settings.setter
    def settings(self, settings: TurnSettings) -> None:
        self._settings = settings
        self._listener.settings = settings.utterance

    @property
    def history(self) -> tuple[Message, ...]:
        """What both know: settled messages. A reply that still sounds is not among them."""
        return tuple(self._floor.history)

    @property
    def now_s(self) -> float:
        """Seconds of sound heard so far."""
        return self._listener.windows * self.frame_s

    @property
    def replying(self) -> bool:
        """Whether a reply is being made or said."""
        return self._reply is not None

    @property
    def listening(self) -> bool:
        """Whether an utterance is open, or a reply is stopped until it is known what was said."""
        return self._listener.start is not None or self._stopped is not None

    @property
    def busy(self) -> bool:
        return self.replying or self.listening

    @property
    def settles_s(self) -> float:
        """Silence that ends an utterance for sure."""
        return (-(-self.settings.utterance.min_silence_ms // WINDOW_MS) + 1) * self.frame_s

    # ------------------------------------------------ a frame

    def step(self, heard: Audio) -> Said:
        """Hear one frame [512] and say one; what is said is taken as heard."""
        events = self.hear(heard)
        said = self.say()
        self.played(*self.sent)
        return dataclasses.replace(said, events=events + said.events)

    def hear(self, heard: Audio) -> tuple[Event, ...]:
        """Take one frame [512] at 16 kHz and decide what it means. Raises ValueError if it is no such frame."""
        if heard.shape != (self.heard_samples,) or not np.isfinite(heard).all():
            raise ValueError(f"a frame is [{self.heard_samples}] finite samples at {HEARD_HZ} Hz, not {heard.shape}")
        ended = self._listener.push(np.asarray(heard, np.float32))
        events = list(self._attend())
        if ended is not None:
            events += self._utterance(*ended)
        elif self._confirmed and self._listener.windows % OVERHEARD_WINDOWS == 0:
            self._overhear()
        return tuple(events)

    def say(self) -> Said:
        """The next frame of the reply; silence when there is none."""
        if self._reply is None and self._waiting is not None:
            self._begin(*self._waiting)
        if self._reply is None:
            return Said(np.zeros(self.said_samples, np.float32))
        events = list(self._pull(self._reply))
        reply = self._reply
        before = reply.sent_samples
        audio, said = self._next_frame(reply)
        events += said
        if reply.exhausted and not reply.queue:
            events.append(self._finish(reply))
        return Said(audio, tuple(events), reply.turn.id if reply.sent_samples > before else None)

    def played(self, turn: int, samples: int) -> None:
        """So many samples of the reply to `turn` came out of the loudspeaker (at `said_hz`)."""
        self._floor.played(turn, samples, at_ms=self.now_s * 1000)
        for reply in (self._reply, self._stopped):
            if reply is not None and reply.turn.id == turn:
                reply.played(samples)

    # ------------------------------------------------ from outside

    def new_turn_id(self) -> int:
        self._turns += 1
        return self._turns

    def respond(self, turn: Turn) -> tuple[Event, ...]:
        """Reply to `turn` now, with the history it has. A reply in hand is cancelled first; one that speech has
        stopped goes on instead, if what is heard in `turn.audio` is no more than a back-channel."""
        events = () if self._reply is None else self.cancel()
        if turn.audio is None:
            self._give_up_stopped()
        self._begin(turn, self._latency_of(turn))
        return events

    def _latency_of(self, turn: Turn) -> Latency:
        spoken_turn, latency = self._spoken_latency or (None, Latency())
        return latency if turn.id == spoken_turn else Latency(end_point_s=self.now_s)

    def ask(self, text: str) -> tuple[Event, ...]:
        """The user types instead of speaking."""
        events = self.cancel()
        return events + self.respond(Turn(self.new_turn_id(), self.history, text=text))

    def cancel(self, reason: str = "cancelled") -> tuple[Event, ...]:
        """Stop the reply for good. The history keeps what was heard of it."""
        events = () if self._reply is None else (self._stop(reason),)
        self._waiting = None
        self._unheard.clear()
        self._give_up_stopped()
        self._floor.settle()
        return events

    def forget_sound(self) -> None:
        """Drop an utterance that is not over yet."""
        self._listener.clear()
        self._confirmed = False

    def flush(self) -> tuple[Event, ...]:
        """The user's sound has ended: an open utterance is over."""
        ended = self._listener.flush()
        return tuple(self._utterance(*ended)) if ended is not None else ()

    def close(self) -> None:
        """Close every generator; settle the history."""
        self.cancel()

    # ------------------------------------------------ the user speaks

    def _attend(self) -> Iterator[Event]:
        """Has the open utterance become speech? Has it become too long for a back-channel?"""
        if self._listener.start is None:
            return
        if not self._confirmed and self._listener.voiced_ms >= self._settings.confirm_ms:
            yield from self._confirm(self._listener.start)
        if self._listener.voiced_ms >= self._settings.backchannel_max_ms:
            self._give_up_stopped()

    def _overhear(self) -> None:
        """Nobody but the user has the floor: what is said will be a turn, and the system may begin to hear it."""
        if isinstance(self.system, Overhears) and self._reply is None and self._stopped is None:
            self.system.overhear(np.concatenate((*self._unheard, self._listener.sure)), self._known_history())

    def _confirm(self, start: int) -> Iterator[Event]:
        self._confirmed = True
        yield self._event("speech_started", start_s=start * self.frame_s)
        if self._waiting is not None:
            self._keep_unheard(self._waiting[0])
            self._waiting = None
        elif self._settings.interrupt and self._reply is not None:
            yield self._stop("speech")

    def _stop(self, reason: str) -> Event:
        """The reply falls silent. One that has understood nothing yet leaves its sound to the next turn."""
        reply, self._reply = self._reply, None
        assert reply is not None
        heard_text = ""
        if reply.heard:
            self._floor.stop(at_ms=self.now_s * 1000)
            heard_text, self._stopped = self._floor.heard_text, reply
        else:
            reply.close()
            self._keep_unheard(reply.turn)
        return self._event("stopped", turn=reply.turn.id, reason=reason, heard_text=heard_text)

    def _keep_unheard(self, turn: Turn) -> None:
        """Nobody has understood the turn's sound yet and the user speaks on: it belongs to the next turn."""
        self._give_up_stopped()
        if turn.audio is not None:
            self._unheard.append(turn.audio)

    def _give_up_stopped(self) -> None:
        """It was an interruption: nothing of the stopped reply will be made or said any more."""
        if self._stopped is not None:
            self._stopped.close()
            self._stopped = None

    def _known_history(self) -> tuple[Message, ...]:
        """The settled history and, if a reply is not settled yet, what was heard of that."""
        heard = self._floor.heard_text
        return (*self.history, Message("assistant", heard, interrupted=True)) if heard else self.history

    def _utterance(self, segment: Segment, sound: Audio) -> Iterator[Event]:
        confirmed, self._confirmed = self._confirmed, False
        if not (segment.passed_on or confirmed):
            return
        if not confirmed:
            yield from self._confirm(segment.start)
            self._confirmed = False
        yield self._event("speech_stopped", end_s=segment.end * self.frame_s)
        audio = np.concatenate((*self._unheard, sound))
        self._unheard.clear()
        turn = Turn(self.new_turn_id(), self._known_history(), audio=audio)
        self.last_turn = turn
        times = {"start_s": segment.start * self.frame_s, "end_s": segment.end * self.frame_s}
        yield self._event("turn", turn=turn.id, **times)
        latency = Latency(speech_end_s=(segment.last_voiced + 1) * self.frame_s, end_point_s=self.now_s)
        self._spoken_latency = turn.id, latency
        if self._settings.auto_reply:
            self._waiting = turn, latency

    # ------------------------------------------------ the assistant speaks

    def _begin(self, turn: Turn, latency: Latency) -> None:
        self._waiting = None
        self._reply = Reply(turn, iter(self.system.reply(turn)), latency)

    def _pull(self, reply: Reply) -> Iterator[Event]:
        """Let the system work until the next frame is full, or it has nothing yet, or it is done."""
        while not reply.exhausted and reply.waiting_samples < self.said_samples:
            try:
                part = next(reply.parts)
            except StopIteration:
                reply.exhausted = True
            except Exception as error:
                yield from self._take(reply, Failed(f"the system failed: {error}"))
            else:
                if part is None:
                    return
                yield from self._take(reply, part)

    def _take(self, reply: Reply, part: Part) -> Iterator[Event]:
        turn = reply.turn.id
        if isinstance(part, Heard):
            reply.latency.transcript_s = self.now_s
            if self._resumes(part.text):
                yield self._resume(reply, part.text)
                return
            yield self._event("heard", turn=turn, text=part.text)
        if not reply.heard:
            self._take_floor(reply, part)
        match part:
            case Wrote(text):
                if reply.latency.first_token_s is None:
                    reply.latency.first_token_s = self.now_s
                yield self._event("wrote", turn=turn, text=text)
            case Speech(audio, text, words, last):
                reply.queue.append(part)
                self._floor.make(turn, Piece(text, len(audio), words, last))
            case ToolCall(call_id, name, arguments):
                self._floor.record(Message("assistant", tool_calls=(part,)))
                yield self._event("tool_call", turn=turn, call_id=call_id, name=name, arguments=arguments)
            case ToolReturned(call_id, output):
                self._floor.record(Message("tool", output, call_id=call_id))
                yield self._event("tool_result", turn=turn, call_id=call_id, output=output)
            case Failed(message):
                reply.close()
                yield self._event("failed", turn=turn, message=message)

    def _resumes(self, text: str) -> bool:
        return self._stopped is not None and is_backchannel(text, self._settings.backchannels)

    def _resume(self, reply: Reply, heard: str) -> Event:
        """A back-channel: this turn never was; the stopped reply goes on with what was not played of it."""
        reply.close()
        self._reply, self._stopped = self._stopped, None
        assert self._reply is not None
        resumed = self._reply
        unheard = resumed.said_text[len(self._floor.heard_text) :]
        from_samples = self._floor.resume()
        resumed.rewind(from_samples)
        return self._event("resumed", turn=resumed.turn.id, from_samples=from_samples, text=unheard, heard=heard)

    def _take_floor(self, reply: Reply, first: Part) -> None:
        """The turn stands: what it cut is settled, the user's words are history, the reply has the floor."""
        reply.heard = True
        self._give_up_stopped()
        text = first.text if isinstance(first, Heard) else reply.turn.text
        if text or (reply.turn.audio is not None and not isinstance(first, Heard)):
            self._floor.user_said(text or "")
        self._floor.begin(reply.turn.id)

    def _next_frame(self, reply: Reply) -> tuple[Audio, list[Event]]:
        """[said_samples] of the reply, and the texts that begin in it."""
        before = reply.sent_samples
        frame, begun = reply.send(self.said_samples)
        if reply.sent_samples > before and reply.latency.first_audio_s is None:
            reply.latency.first_audio_s = self.now_s
        self._floor.sent(reply.turn.id, reply.sent_samples)
        self.sent = (reply.turn.id, reply.sent_samples)
        return frame, [self._said(reply, speech) for speech in begun]

    def _said(self, reply: Reply, speech: Speech) -> Event:
        samples = Piece(speech.text, len(speech.audio), whole=speech.last).samples_at(self.said_hz)
        return self._event("said", turn=reply.turn.id, text=speech.text, samples=samples, words=speech.words)

    def _finish(self, reply: Reply) -> Event:
        self._reply = None
        self._floor.complete(reply.turn.id)
        return self._event("done", turn=reply.turn.id, latency=dataclasses.asdict(reply.latency))

    def _event(self, kind: str, **data: object) -> Event:
        return Event(kind, round(self.now_s, 3), data)
