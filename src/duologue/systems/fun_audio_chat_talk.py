"""Conversations with Fun-Audio-Chat: hear, answer at two rates, be interrupted, go on. Many at once, in lock-step.

    talk = Talk(model, batch=8)
    talk.instruct(0, TEXT_AND_SPEECH)
    talk.hear(0, audio)                              # as it comes in; what is ready is encoded
    talk.catch_up()                                  # and read
    talk.hear(0, audio, last=True)
    talk.ask(0)
    while talk.asked():
        for said in talk.step():                     # 200 ms: a token of text, and perhaps a group of units
            ...
    talk.end(0)

A row in a crowd says what it says alone. All state is in `talk.rows`. Nothing is ever read anew but what has to be: an
answer of which only the text is remembered, sound that was heard otherwise after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from duologue.layout import Ask, Tokens
from duologue.model.omni_ears import checked
from duologue.model.picking import Pick, Picking
from duologue.sound import Audio
from duologue.streaming import Memory
from duologue.systems.fun_audio_chat import HEARD_HZ, MEMORY, STREAMS, UNIT_HZ
from duologue.systems.fun_audio_chat_history import hushed
from duologue.systems.fun_audio_chat_model import FunAudioChat
from duologue.systems.fun_audio_chat_rows import Call, Rows, Utterance

TEXT, SPEECH = Picking(), Picking(temperature=0.8, top_p=0.9, penalty=1.2)
"""As released: the likeliest text, drawn speech."""


class Said(NamedTuple):
    """A step of a row. `units`: the group beside the text, its ends included; `last`: the answer ended."""

    row: int
    text: int
    units: tuple[int, ...]
    last: bool


class Talk:
    def __init__(
        self,
        model: FunAudioChat,
        batch: int = 1,
        memory: Memory = MEMORY,
        speaks: bool = True,
        opens: bool = True,
        text: Pick = TEXT,
        speech: Pick = SPEECH,
        seed: int = 0,
        instead: Sequence[int] = (),
    ) -> None:
        """Conversations in which nobody has said anything.

        speaks   without it, answers are text alone
        opens    answers begin to speak at once; else when the model wants to
        instead  tokens that they may open with instead, where one of these is likelier: calls of tools
        """
        self.model, self._opens, self._text, self._seed = model, speaks and opens, text, seed
        self._openings = [model.marks.opens, *instead]
        self.rows = Rows(model, batch, memory, speaks, speech)

    @property
    def calls(self) -> list[Call]:
        return self.rows.calls

    # ------------------------------------------------------------ a user's turn

    def instruct(self, row: int, system: str | Sequence[int] | None = None) -> None:
        """What stands before the first turn, in text or its ids; without `system`, the chat's own."""
        chat = self.model.config.chat
        if system := chat.system if system is None else system:
            opening, end = (self.model.text_ids(text) for text in (chat.header.format(role="system"), chat.end))
            self.rows.give(row, [*opening, *self._ids(system), *end])

    def hear(self, row: int, audio: Audio, last: bool = False) -> Tensor:
        """Samples of the user's [N] at 16 kHz, as they come in. `catch_up` reads what they tell. Returns what is made
        of the utterance so far, groups [places, W'].

        Raises ValueError for what is no sound, for an utterance of less than 40 ms, and for one that memory has no room
        for; of the last two, the turn is forgotten.
        """
        audio = checked(audio)
        utterance = self.calls[row].utterance or self._opened(row)
        utterance.samples += len(audio)
        places = self.model.places(utterance.samples)
        self._room(row, places, f"{utterance.samples} samples")
        if last and not places:
            self._forget(row, f"{utterance.samples} samples of sound: give at least {HEARD_HZ // UNIT_HZ}")
        heard = utterance.hearing.push(audio, last)
        utterance.states = torch.cat([utterance.states[: heard.stand], heard.states])
        slots = self.model.grouped(utterance.states, places if last else None)
        self._place(row, utterance, slots, heard.stand // self.model.config.stacked)
        if last:
            self._closed(row)
        return slots

    def heard(self, row: int, slots: Tensor) -> None:
        """An utterance of which the ears' states are there already, as groups of them [places, W']."""
        utterance = self._opened(row)
        self._room(row, len(slots), f"{len(slots)} groups of sound")
        self._place(row, utterance, slots, 0)
        self._closed(row)

    def forget(self, row: int) -> None:
        """Take a user's turn back that is not answered yet: it never began."""
        if self.calls[row].open:
            self.rows.back(row, 0)
            self.calls[row].open, self.calls[row].utterance = False, None

    def ask(self, row: int, text: str | Sequence[int] = "") -> None:
        """The user's turn is over: what was heard, and perhaps text (or its ids), is to be answered."""
        if self.calls[row].utterance is not None:
            raise ValueError(f"row {row} is still heard: hear it out with last=True before it is answered")
        opening = self._begun(row) or ("\n" if text else "")
        opened, end = (self.model.text_ids(mark) if mark else [] for mark in (opening, self.model.config.chat.end))
        self.rows.give(row, [*opened, *self._ids(text), *end, *self.model.marks.answer])

    @torch.no_grad()
    def catch_up(self, rows: Sequence[int] | None = None) -> None:
        """Read what was given and not read yet: the less is left when a turn ends, the sooner comes the answer."""
        rows = range(len(self.calls)) if rows is None else rows
        self.rows.read(rows)
        if self.rows.speaks:
            self.rows.refine(rows)

    def _begun(self, row: int) -> str:
        """How a turn begins, where it has not yet."""
        self.end(row)
        if self.calls[row].open:
            return ""
        self.rows.turn(row)
        return self.model.config.chat.header.format(role="user")

    def _opened(self, row: int) -> Utterance:
        begun = self._begun(row)
        self.rows.give(row, [*(self.model.text_ids(begun) if begun else []), self.model.marks.opens])
        self.catch_up([row])
        states, slots = (
            torch.zeros(0, width, device=self.model.lm.device)
            for width in (self.model.ears.width, self.model.heard_width)
        )
        call = self.calls[row]
        call.utterance = Utterance(self.model.ears.start(), call.driver.columns, states, slots)
        return call.utterance

    def _place(self, row: int, utterance: Utterance, slots: Tensor, stand: int) -> None:
        """The groups of an utterance that are full. Those that were placed before stand up to number `stand`."""
        placed = min(stand, len(utterance.slots))
        if placed < len(utterance.slots):
            self.rows.back(row, utterance.start + placed)
        utterance.slots = slots
        self.rows.give(row, [self.model.marks.heard] * (len(slots) - placed))

    def _closed(self, row: int) -> None:
        self.catch_up([row])
        self.calls[row].utterance = None
        self.rows.give(row, [self.model.marks.closes])

    def _room(self, row: int, places: int, what: str) -> None:
        """Memory has to hold an utterance whole."""
        call, memory = self.calls[row], self.rows.lm.memory
        used = call.before + (call.utterance.start if call.utterance else 0)
        room = memory.slots - (used if memory.sink is None else memory.sink + memory.spare)
        if places > room:
            self._forget(row, f"{what} are {places} steps, but memory has room for {room}: say less, or give it more")

    def _forget(self, row: int, why: str) -> None:
        self.forget(row)
        raise ValueError(f"row {row}: {why}")

    def _ids(self, text: str | Sequence[int]) -> list[int]:
        """In text that somebody gave, marks are letters."""
        return self.model.plain_ids(text) if isinstance(text, str) else list(text)

    # ------------------------------------------------------------ an answer

    def asked(self) -> list[int]:
        """Rows that have an answer to give, or to go on with."""
        return [row for row, call in enumerate(self.calls) if call.driver.ask() is not None]

    @torch.no_grad()
    def step(self, rows: Sequence[int] | None = None) -> list[Said]:
        """200 ms of each row's answer; all that are asked, or some of them."""
        rows = self.asked() if rows is None else list(rows)
        if not rows:
            return []
        for row in rows:
            self._begin_answer(row)
        self.rows.read(rows)
        texts = self._texts(rows)
        speaking = [row for row in rows if STREAMS[2] in self._ask(row).streams]
        groups = dict(zip(speaking, self.rows.spoken(speaking), strict=True))
        return [self._answered(row, text, groups.get(row, [])) for row, text in zip(rows, texts, strict=True)]

    def _begin_answer(self, row: int) -> None:
        call = self.calls[row]
        self._ask(row)
        if call.began is None:
            call.began, call.opened = call.driver.columns, None
            call.units, call.unit = [], self.model.unit_ids.bos
            call.draw.manual_seed(self._seed)

    def _ask(self, row: int) -> Ask:
        ask = self.calls[row].driver.ask()
        if ask is None:
            raise ValueError(f"row {row} has nothing to answer: ask it first")
        return ask

    def _texts(self, rows: Sequence[int]) -> list[int]:
        """The token that each row writes."""
        logits = self.model.lm.get_output_embeddings()(torch.stack([self.calls[row].hidden for row in rows]))
        return [self._written(self.calls[row], of_one) for row, of_one in zip(rows, logits, strict=True)]

    def _written(self, call: Call, logits: Tensor) -> int:
        if self._opens and call.driver.columns == call.began:
            return self._openings[int(logits[self._openings].argmax())]
        return self._text(logits, lambda: call.columns().tokens[:, 0].tolist(), call.draw)

    def _answered(self, row: int, text: int, group: list[int]) -> Said:
        """Place what a row says. Where its speech ends, so does the text beside it."""
        call, marks, units = self.calls[row], self.model.marks, self.model.unit_ids
        if units.eos in group and text != marks.ends[0]:
            text = marks.closes
        if units.eos in group and self.model.config.last_group == "pad":
            group = [units.eos] * len(group)
        if text == marks.opens and not group:
            self.rows.opens(row)
        call.driver.answer([text, *group])
        call.units += group
        last = text == marks.ends[0]
        for token in marks.ends[1:] if last else ():
            call.driver.place([token])
        return Said(row, text, tuple(group), last)

    # ------------------------------------------------------------ what is remembered of it

    def end(
        self,
        row: int,
        groups: int | None = None,
        text: str | Sequence[int] | None = None,
        words: int | None = None,
    ) -> None:
        """The answer is over, whether it had ended or not. The next turn does this, too.

        groups   of its speech that were heard; the rest is forgotten. None: all
        text     what was heard of it: this alone is remembered. None: its text up to there, or how it was said
        words    tokens of its text that were heard: beside speech, silence takes the place of the others; where there
                 is none beside them, the answer ends. None: all
        """
        call = self.calls[row]
        if call.began is None:
            return
        said = call.driver.placed(call.began).tokens
        kept = len(said) if groups is None else self._columns(said, groups)
        if text is not None or (self.model.config.history == "text" and self.rows.speaks):
            kept_text = self._words(said[:kept, 0].tolist()) if text is None else self._ids(text)
            self.rows.back(row, call.began)
            for token in kept_text:
                call.driver.place([token])
        elif words is not None:
            stand, instead = hushed(call.driver.placed(call.began), kept, words, self.model.marks)
            self.rows.back(row, call.began + stand)
            for column in instead:
                call.driver.place(column)
        elif kept < len(said):
            self.rows.back(row, call.began + kept)
        self._close(call)

    def remember(self, row: int, text: str | Sequence[int]) -> None:
        """An answer that was given elsewhere, as text or its ids."""
        self._begin_answer(row)
        for token in self._ids(text):
            self.calls[row].driver.place([token])
        self._close(self.calls[row])

    def _columns(self, said: Tokens, groups: int) -> int:
        """Columns of an answer up to the last group that was heard."""
        spoken = (said[:, 1:] != self.model.unit_ids.pad).any(1)
        return int((spoken.cumsum() <= groups).sum())

    def _words(self, tokens: Sequence[int]) -> list[int]:
        """Those that are no marks."""
        marks = self.model.marks
        text = tokens[: tokens.index(marks.ends[0])] if marks.ends[0] in tokens else tokens
        return [token for token in text if token not in (marks.opens, marks.closes, marks.silent)]

    def _close(self, call: Call) -> None:
        """Place the ends that are missing."""
        marks, units, driver = self.model.marks, self.model.unit_ids, call.driver
        ends = iter(marks.ends)
        while (ask := driver.ask()) is not None:
            speaks = STREAMS[2] in ask.streams
            driver.place([marks.closes, *[units.eos] * (len(ask.streams) - 1)] if speaks else [next(ends)])
        call.open, call.began, call.opened = False, None, None
