"""The network of Fun-Audio-Chat (sections 2.2 and 2.3): ears, a language model at 5 Hz, a head at 25 Hz.

Letters in shapes: B rows, S steps, H steps of sound, k units of a group, W width of the ears, W' of a group of their
states, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from math import ceil
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from duologue.layout import Layout
from duologue.model.adapter import FrameStack
from duologue.model.omni_ears import LiveEars
from duologue.model.plain_text import plain_ids
from duologue.model.refined_head import GroupedUnits, RefinedHead
from duologue.model.tokens import Group, add_tokens
from duologue.systems.fun_audio_chat import (
    HEARD_HZ,
    TAG_TOKENS,
    UNIT_HZ,
    Config,
    Marks,
    UnitIds,
    half_duplex,
    marks_of,
    unit_ids,
)
from duologue.train.loss import Tensors, asked


class FunAudioChat(nn.Module):
    """Ears, a causal language model of transformers with its tokenizer, a table of units, and a head that speaks."""

    def __init__(
        self,
        ears: LiveEars,
        lm: Any,
        words: Any,
        marks: Marks,
        units: UnitIds,
        head: PreTrainedConfig,
        config: Config,
        seed: int = 0,
    ) -> None:
        """What lies between ears, words and units is drawn with `seed`, in the language model's precision."""
        super().__init__()
        width = lm.get_input_embeddings().embedding_dim
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.adapter = _adapter(config, ears.width, width, lm.dtype)
            self.units = GroupedUnits(units.rows, units.pad, width, lm.dtype)
            self.head = RefinedHead(head, config.group, width, lm.dtype)
        self.ears, self.lm, self.words = ears, lm, words
        self.marks, self.unit_ids, self.config = marks, units, config

    @classmethod
    def grown(
        cls,
        ears: LiveEars,
        lm: Any,
        words: Any,
        codes: int,
        config: Config,
        head: PreTrainedConfig,
        seed: int = 0,
    ) -> Self:
        """Of a text model: tags are added to it and to its tokenizer, in place."""
        tags = add_tokens(lm, words, [Group("tags", TAG_TOKENS, special=True)], seed)["tags"].ids
        return cls(ears, lm, words, marks_of(words, config.chat, tags), unit_ids(codes), head, config, seed).eval()

    def layout(self, speaks: bool = True) -> Layout:
        return half_duplex(self.marks, self.unit_ids, self.config.group, speaks)

    def text_ids(self, text: str) -> list[int]:
        """Of the chat's own text and of lessons: marks are marks."""
        ids: list[int] = self.words(text, add_special_tokens=False).input_ids
        return ids

    def plain_ids(self, text: str) -> list[int]:
        """Of what somebody says or writes: marks are letters."""
        return plain_ids(self.words, text)

    def codes(self, units: Sequence[int]) -> list[int]:
        """Those units that are sound."""
        return [unit for unit in units if unit < self.unit_ids.codes]

    # ------------------------------------------------------------ hearing

    @property
    def heard_group(self) -> int:
        """States of the ears that are one step."""
        return self.config.heard_group or self.config.group

    @property
    def heard_width(self) -> int:
        """W' of what is heard in one step."""
        return self.ears.width * (self.heard_group if self.config.hears == "stacked" else 1)

    def places(self, samples: int) -> int:
        """Groups of so much sound at 16 kHz: the last one may be part full."""
        return ceil(int(samples / HEARD_HZ * UNIT_HZ) / self.heard_group)

    def grouped(self, states: Tensor, places: int | None = None) -> Tensor:
        """States of the ears [T, W] → groups of them [places, W'], means or stacks, the states cut or filled up with
        zeros to as many groups; without `places`, those of full groups. Words are groups as they are."""
        if self.config.hears == "words":
            return states
        group = self.heard_group
        whole = len(states) // group if places is None else places
        states = functional.pad(states[: whole * group], (0, 0, 0, max(0, whole * group - len(states))))
        groups = states.reshape(whole, group, states.shape[1])
        return groups.mean(1) if self.config.hears == "mean" else groups.flatten(1)

    # ------------------------------------------------------------ the language model's input (equations 1, 5)

    def embedded(self, tokens: Tensor, sound: Tensor, heard: Tensor, share: float = 1.0) -> Tensor:
        """Columns [..., 1 + k] → vectors [..., D].

        sound   which columns are placeholders of sound, [...]
        heard   groups of what the ears hear there, in order [n, W']
        share   of them that counts
        """
        text, units = tokens[..., 0], tokens[..., 1:]
        vectors: Tensor = self.lm.get_input_embeddings()(text)
        spoken = (units != self.unit_ids.pad).any(-1) & (units != self.unit_ids.eos).all(-1)
        both = (vectors[spoken] + self.units(units[spoken])) / 2
        vectors = vectors.index_put((spoken,), both.to(vectors))
        heard_there: Tensor = share * self.adapter(heard.to(vectors).reshape(-1, self.ears.width))
        return vectors.index_put((sound,), heard_there.to(vectors))

    # ------------------------------------------------------------ the head's input (equation 2)

    def head_states(self, hidden: Tensor, tokens: Tensor, sound: Tensor | None = None) -> Tensor:
        """What the head makes speech of: states [..., D] and the text that was read there, but where there was `sound`;
        nothing is learnt of text this way."""
        read = self.lm.get_input_embeddings()(tokens[..., 0]).detach()
        if sound is not None:
            read = read.masked_fill(sound[..., None], 0)
        told: Tensor = hidden + read
        return told

    def before(self, units: Tensor) -> Tensor:
        """Groups of units by step [..., S, k] → the unit before each that a step's state is to speak: those of the next
        step but the last, and its own last one."""
        group = self.config.group
        return units.flatten(-2).roll(1 - group, -1).reshape(units.shape)

    # ------------------------------------------------------------ learning

    def forward(self, batch: Tensors) -> Tensor:
        """Nats of the cells that are asked for, in the order of `asked`: [cells].

        tokens, said   [B, S, 1 + k]
        position       [B, S]
        heard          [B, H, W'], of each row as many groups as it has placeholders; or
        mel            [B, H, 4 * k + 4, M] and mel_frames [B, H]: spectra cut into groups, for ears that learn
        """
        tokens, cells = batch["tokens"], asked(batch)
        text, speech = cells[..., 0], cells[..., 1:]
        words, units = self.logits(batch)
        nats = torch.zeros(cells.shape, device=tokens.device)
        nats[..., 0][text] = _nats(words, tokens[:, 1:, 0][text])
        nats[..., 1:][speech] = _nats(units, tokens[:, 1:, 1:][speech])
        return nats[cells]

    def logits(self, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Of the cells that are asked for, in order: of those of text [cells, words], of those of speech
        [cells, units]."""
        cells, hidden = asked(batch), self.states(batch)
        words: Tensor = self.lm.get_output_embeddings()(hidden[:, :-1][cells[..., 0]])
        return words, self.units.logits(self.head.leave(self._spoken(batch, hidden, cells[..., 1:])))

    def states(self, batch: Tensors) -> Tensor:
        """Of the language model, [B, S, D]."""
        tokens, sound = batch["tokens"], batch["tokens"][..., 0] == self.marks.heard
        heard = self._placed(batch["heard"], sound) if "heard" in batch else self._heard(batch)
        vectors = self.embedded(tokens, sound, heard, 0.5 if self.config.halve_heard else 1.0)
        decoder = self.lm.get_decoder()
        hidden: Tensor = decoder(
            inputs_embeds=vectors, position_ids=batch["position"], use_cache=False
        ).last_hidden_state
        return hidden

    def _spoken(self, batch: Tensors, hidden: Tensor, speech: Tensor) -> Tensor:
        """Of the head, at the cells of the speech that is asked for: [cells, inner]."""
        read = self.head_inputs(batch, hidden)
        if self.config.head_reads == "all":
            every: Tensor = self.head(*read, batch["position"])
            return every[:, :-1][speech]
        groups = speech.any(-1)
        run, place = _runs(groups)
        size = [1 + max([0, *of.tolist()]) for of in (run, place)]
        alone = [each.new_zeros(*size, *each.shape[2:]).index_put((run, place), each[:, :-1][groups]) for each in read]
        position = torch.arange(size[1], device=hidden.device).expand(size)
        spoken: Tensor = self.head(*alone, position)
        return spoken[run, place][speech[groups]]

    def head_inputs(self, batch: Tensors, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """What the head is told at each step [B, S, D], and of the units before those that follow [B, S, k, D]."""
        tokens = batch["tokens"]
        told = self.head_states(hidden, tokens, tokens[..., 0] == self.marks.heard)
        return told, self.units.table(self.before(tokens[..., 1:]))

    def _placed(self, heard: Tensor, sound: Tensor) -> Tensor:
        """Those of [B, H, ...] that have a place, in order."""
        return heard[torch.arange(heard.shape[1], device=heard.device) < sound.sum(1, keepdim=True)]

    def _heard(self, batch: Tensors) -> Tensor:
        """What ears that learn hear of all utterances of a batch: a group for each placeholder."""
        spectra = list(self._utterances(batch))
        states = self.ears([torch.cat(parts) for parts in spectra])  # type: ignore[operator]
        groups = [self.grouped(s, len(parts)) for s, parts in zip(states, spectra, strict=True)]
        return torch.cat([*groups, torch.zeros(0, self.heard_width, device=batch["mel"].device)])

    def _utterances(self, batch: Tensors) -> Iterator[list[Tensor]]:
        """The spectra of each utterance, in the pieces of its placeholders."""
        for text, mel, frames in zip(batch["tokens"][..., 0], batch["mel"], batch["mel_frames"], strict=True):
            pieces = (piece[:count] for piece, count in zip(mel, frames, strict=True))
            for here, places in groupby((text == self.marks.heard).tolist()):
                if here:
                    yield list(islice(pieces, len(list(places))))


def _runs(there: Tensor) -> tuple[Tensor, Tensor]:
    """Of the steps [B, S] that are there, in order: which run of neighbours each belongs to, and its place in it."""
    begins = there.clone()
    begins[:, 1:] &= ~there[:, :-1]
    run = begins[there].cumsum(0) - 1
    steps = torch.arange(len(run), device=there.device)
    return run, steps - steps[begins[there]][run]


def _adapter(config: Config, heard: int, width: int, dtype: torch.dtype) -> nn.Module:
    """From W of a mean, or of each of the states of a group, to D."""
    if config.hears == "mean":
        return nn.Linear(heard, width, bias=False, dtype=dtype)
    return FrameStack(heard, config.stacked, 2 * width, width, dtype)


def _nats(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="none")
