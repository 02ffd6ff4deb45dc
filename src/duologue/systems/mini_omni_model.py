"""The network of Mini-Omni (section 3, figure 2): a language model, and beside it what makes it talk.

Letters in shapes: B rows, S steps, K = 8 lanes, F width of the features, D width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM

from duologue.systems.mini_omni import BOOKS, LANES, Config
from duologue.train.loss import Tensors, asked

# ---------------------------------------------------------------- parts


class Rows(nn.Module):
    """Rows of embedding and head for tokens that the language model does not have; tied where its own are."""

    def __init__(self, tokens: int, width: int, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.head = nn.Linear(width, tokens, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


class SwiGLU(nn.Module):
    """Features [..., F] → [..., D]."""

    def __init__(self, width_in: int, inner: int, width_out: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width_in, inner, bias=False)
        self.up = nn.Linear(width_in, inner, bias=False)
        self.down = nn.Linear(inner, width_out, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        vectors: Tensor = self.down(functional.silu(self.gate(features)) * self.up(features))
        return vectors


class Added(nn.Module):
    """What makes a language model talk."""

    def __init__(self, config: Config, lm: Any) -> None:
        super().__init__()
        width, tied = lm.get_input_embeddings().embedding_dim, bool(lm.config.tie_word_embeddings)
        self.asr = SwiGLU(config.features, config.adapter, width)
        self.marks = Rows(config.text_marks, width, tied)
        self.books = Rows(BOOKS * config.book, width, tied)
        self.tts: Any = _tts_adapter(config, lm.config) if config.tts_blocks else None
        self.speakers = _speakers(config.speakers, width) if config.speakers else None

    @property
    def books_head(self) -> Any:
        """Of all books, one behind the other."""
        return self.books.head if self.tts is None else self.tts.get_output_embeddings()


def _tts_adapter(config: Config, lm: Any) -> Any:
    """More blocks like those of the language model, with a norm and a head of their own. Its table of embeddings is
    that head: it is fed states."""
    blocks = deepcopy(lm)
    blocks.num_hidden_layers, blocks.vocab_size = config.tts_blocks, BOOKS * config.book
    blocks.tie_word_embeddings = True
    if getattr(lm, "layer_types", None):
        blocks.layer_types = lm.layer_types[: config.tts_blocks]
    return AutoModelForCausalLM.from_config(blocks)


def _speakers(count: int, width: int) -> nn.Embedding:
    """A vector of each, from 1 on; 0 stays nobody's. They begin as nothing."""
    return nn.Embedding(count + 1, width, padding_idx=0, _weight=torch.zeros(count + 1, width))


Feed = Callable[[Any, Tensor], Tensor]
"""A causal language model and embeddings [B, S, D] → its states [B, S, D] after the final norm."""


class MiniOmni(nn.Module):
    """`lm` is any causal language model of transformers; it stays as it is. What is new lies in `added`."""

    def __init__(self, lm: Any, config: Config) -> None:
        super().__init__()
        rows = lm.get_input_embeddings().num_embeddings
        if config.text != rows:
            raise ValueError(f"a Config of {config.text} tokens for a model of {rows}: make it Config(text={rows}, …)")
        self.config, self.lm = config, lm
        self.added = Added(config, lm).to(lm.dtype)

    @classmethod
    def grown(cls, lm: Any, config: Config, seed: int = 0) -> Self:
        """Of a text model. New rows start about the mean of its own."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = cls(lm, config).eval()
            own = lm.get_input_embeddings().weight.detach().float()
            for rows in (model.added.marks, model.added.books):
                for weight in dict.fromkeys((rows.embedding.weight, rows.head.weight)):
                    weight.data.copy_(own.mean(0) + own.std() * torch.randn(weight.shape))
        return model

    @classmethod
    def grown_whole(cls, lm: Any, config: Config, words_as: Mapping[str, int], seed: int = 0) -> Self:
        """Of a text model that goes on to write as it did, before anything is learnt; `lm` is changed.

        Its text is one of eight lanes, of which the mean is taken: so its embeddings become eight times as large, and
        where they are its head too, the norm before it an eighth. The pads of all lanes are silent.

        words_as   for marks by their name, the word of the text model whose place each takes
        """
        model, own = cls.grown(lm, config, seed), lm.get_input_embeddings().weight
        with torch.no_grad():
            own.mul_(len(LANES))
            if lm.config.tie_word_embeddings:
                lm.get_decoder().norm.weight.div_(len(LANES))
            for mark, word in words_as.items():
                place = getattr(config.marks, mark) - config.text
                model.added.marks.embedding.weight[place] = own[word]
                model.added.marks.head.weight[place] = lm.get_output_embeddings().weight[word]
            model.added.books.embedding.weight[config.marks.pad_a :: config.book] = 0
            model.added.marks.embedding.weight[config.marks.pad_t - config.text] = 0
        return model

    def embedded(self, tokens: Tensor, heard: Tensor, features: Tensor, speaker: Tensor | None = None) -> Tensor:
        """The mean of the lanes: [B, S, D].

        tokens     [B, S, K], of each book and of text
        heard      [B, S], true where the books' lanes are replaced by what was heard
        features   [cells, F], of those steps in their order
        speaker    [B, S], whose vector is added in the books' lanes; 0, or None: nobody's
        """
        codes = tokens[..., :BOOKS] + self.config.book * torch.arange(BOOKS, device=tokens.device)
        books = self.added.books.embedding(codes).sum(-2)
        if self.added.speakers is not None and speaker is not None:
            books = books + BOOKS * self.added.speakers(speaker)
        books[heard] = BOOKS * self.added.asr(features.to(books.dtype)).to(books.dtype)
        embedded: Tensor = (books + self._text(tokens[..., BOOKS])) / len(LANES)
        return embedded

    def _text(self, ids: Tensor) -> Tensor:
        words, own = self.config.text, self.lm.get_input_embeddings()(ids.clamp(max=self.config.text - 1))
        return torch.where((ids < words)[..., None], own, self.added.marks.embedding((ids - words).clamp(min=0)))

    def states(self, embedded: Tensor, feed: Feed) -> tuple[Tensor, Tensor]:
        """What text and books are told from, each [B, S, D]: the same, where there is no TTS adapter."""
        if self.added.tts is None:
            states = feed(self.lm, embedded)
            return states, states
        with before_norm(self.lm) as seen:
            states = feed(self.lm, embedded)
        return states, feed(self.added.tts, seen[0])

    def text_logits(self, states: Tensor) -> Tensor:
        """[..., D] → [..., ids of text]."""
        return torch.cat((self.lm.get_output_embeddings()(states), self.added.marks.head(states)), -1)

    def audio_logits(self, states: Tensor) -> Tensor:
        """[..., D] → [..., books, ids of a book]."""
        logits: Tensor = self.added.books_head(states).unflatten(-1, (BOOKS, self.config.book))
        return logits

    # ------------------------------------------------------------ learning

    def forward(self, batch: Tensors) -> Tensor:
        """Nats of each cell that is asked for, 0 elsewhere: [B, S - 1, K]. Logits are made of those cells alone.

        Rows are filled up on their right; nobody looks ahead, so no mask is needed.
        """
        heard = batch["heard"]
        embedded = self.embedded(batch["tokens"], heard, batch["features"][heard], batch.get("speaker"))
        text, audio = self.states(embedded, whole)
        cells, targets = asked(batch), batch["tokens"][:, 1:]
        nats = torch.zeros(cells.shape, device=cells.device)
        for lane in range(len(LANES)):
            here = cells[..., lane]
            logits = self._lane_logits(lane, (text if lane == BOOKS else audio)[:, :-1][here])
            nats[..., lane][here] = functional.cross_entropy(logits.float(), targets[..., lane][here], reduction="none")
        return nats

    def _lane_logits(self, lane: int, states: Tensor) -> Tensor:
        if lane == BOOKS:
            return self.text_logits(states)
        first = lane * self.config.book
        return functional.linear(states, self.added.books_head.weight[first : first + self.config.book])


def whole(lm: Any, embedded: Tensor) -> Tensor:
    """The states of whole sequences, [B, S, D] → [B, S, D]."""
    states: Tensor = lm.get_decoder()(inputs_embeds=embedded, use_cache=False).last_hidden_state
    return states


@contextmanager
def before_norm(lm: Any) -> Iterator[list[Tensor]]:
    """What goes into the final norm while the block runs."""
    seen: list[Tensor] = []
    watch = lm.get_decoder().norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        watch.remove()


@dataclass(frozen=True)
class EachLane:
    """The objective of what `MiniOmni.forward` gives: the loss of text and of each book is told apart."""

    def cells(self, batch: Tensors) -> Tensors:
        return dict(zip(LANES, asked(batch).sum((0, 1)), strict=True))

    def nats(self, output: Tensor, batch: Tensors) -> Tensors:
        del batch
        return dict(zip(LANES, output.sum((0, 1)), strict=True))
