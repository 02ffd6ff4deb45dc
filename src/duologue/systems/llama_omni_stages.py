"""How LLaMA-Omni learns (section 2.5): to answer in text what it hears, then, frozen, to speak what it answers.

The second stage needs of the language model only its states, and the language model does not change: they are made
once, and the speech decoder learns from them alone.

Letters in shapes: B rows, L positions, F features, V vectors of sound, M text tokens, N units, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from duologue.data.tensors import Example, collate
from duologue.model.adapter import IGNORED, SPEECH_ID
from duologue.model.ctc import BlankWatch, SpeechDecoder
from duologue.systems.llama_omni import LlamaOmni
from duologue.train.loss import Tensors, asked
from duologue.train.stage import Stage

PAD = {"units": IGNORED}
"""What rows are filled up with in the second stage (`train(..., pad=PAD)`)."""


def _stage(name: str, trains: tuple[str, ...], rate: float) -> Stage:
    return Stage(name, rate, batch_tokens=16_000, epochs=3, trains=trains, warmup_steps=500, final_rate=0.0)


STAGES: tuple[Stage, ...] = (
    _stage("answering", ("adapter.*", "lm.*"), 2e-5),
    _stage("speaking", ("speech.*",), 2e-4),
)

# ---------------------------------------------------------------- answering


@dataclass(frozen=True)
class Exchange:
    """What is asked, as features of the ears [F, D] or as text; what is answered, as text and, where it is spoken, as
    units."""

    asked: NDArray[np.float16] | str
    answer: str
    units: tuple[int, ...] = ()


def answering_example(model: LlamaOmni, exchanges: Sequence[Exchange]) -> Example:
    """A conversation: `tokens` [L], SPEECH_ID at each vector of sound; `said`, where an answer is; `features` [F, D] of
    all its sound, as many as fill the vectors."""
    config, tokens, said, heard = model.config, list[int](), list[bool](), list[NDArray[np.float16]]()
    for first, exchange in zip((True, *[False] * len(exchanges)), exchanges, strict=False):
        typed = isinstance(exchange.asked, str)
        question = model.ids_of(config.chat.question(str(exchange.asked) if typed else config.chat.request))
        given = (model.ids_of(config.chat.opening()) if first else []) + question
        if not isinstance(exchange.asked, str):
            vectors = len(exchange.asked) // config.stacked
            heard.append(exchange.asked[: vectors * config.stacked])
            place = given.index(SPEECH_ID)
            given[place : place + 1] = [SPEECH_ID] * vectors
        answer = [*model.ids_of(exchange.answer), *model.ids_of(config.chat.end)]
        tokens += given + answer
        said += [False] * len(given) + [True] * len(answer)
    none = np.zeros((0, model.ears.width), np.float16)
    return {"tokens": np.array(tokens), "said": np.array(said), "features": np.concatenate((none, *heard))}


class AnsweringLessons(nn.Module):
    """Adapter and language model, as the loop calls them: logits of the asked cells alone, [cells, words]."""

    def __init__(self, model: LlamaOmni) -> None:
        super().__init__()
        self.adapter, self.lm = model.adapter, model.lm

    def forward(self, batch: Tensors) -> Tensor:
        hidden = self.states(batch)
        logits: Tensor = self.lm.get_output_embeddings()(hidden[:, :-1][asked(batch)])
        return logits

    def states(self, batch: Tensors) -> Tensor:
        """[B, L, D]."""
        places = batch["tokens"] == SPEECH_ID
        embedded = self.lm.get_input_embeddings()(batch["tokens"].clamp_min(0))
        vectors = self.adapter(batch["features"].to(embedded.dtype))
        real = torch.arange(vectors.shape[1], device=places.device) < places.sum(1, keepdim=True)
        embedded = embedded.masked_scatter(places[..., None], vectors[real].to(embedded.dtype))
        states: Tensor = self.lm.get_decoder()(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return states


# ---------------------------------------------------------------- speaking


def speaking_examples(
    model: LlamaOmni, conversations: Iterable[Sequence[Exchange]], batch: int = 32
) -> Iterator[Example]:
    """Of each spoken answer its tokens [M], the states [M, D] that speak them, in half precision, and its units [N].
    The language model reads so many conversations at once. Raises ValueError for units that CTC cannot say."""
    left, end = iter(conversations), model.ids_of(model.config.chat.end)
    while together := list(islice(left, batch)):
        for exchanges, states in zip(together, _spoken_states(model, together), strict=True):
            answers = [np.array([*model.ids_of(exchange.answer), *end]) for exchange in exchanges]
            each = torch.split(states, [len(tokens) for tokens in answers])
            for exchange, tokens, own in zip(exchanges, answers, each, strict=True):
                if exchange.units:
                    _check_labels(model.speech, len(tokens), exchange.units, f"the answer {exchange.answer[:40]!r}")
                    units, said = np.array(exchange.units), np.ones(len(own), bool)
                    yield {"tokens": tokens, "states": own.half().numpy(), "units": units, "said": said}


@torch.no_grad()
def _spoken_states(model: LlamaOmni, conversations: Sequence[Sequence[Exchange]]) -> list[Tensor]:
    """Of each conversation the states [M, D] of all its answers."""
    laid = collate([[answering_example(model, exchanges)] for exchanges in conversations])
    labels = laid["tokens"].masked_fill(~laid["said"], IGNORED)
    return model.spoken_states(AnsweringLessons(model).eval().states(laid), labels)


def _check_labels(speech: SpeechDecoder, tokens: int, units: Sequence[int], of: str) -> None:
    """CTC learns nothing from what it cannot say, and is silent about it."""
    labels = max(speech.sizes.labels_per_token * tokens, len(units))
    if (needed := len(units) + sum(one == other for one, other in pairwise(units))) > labels:
        raise ValueError(
            f"{of} has {len(units)} units for {tokens} text tokens: they need {needed} labels, as equal ones need a "
            f"blank between, and there are {labels}; leave it out, merge equal units, or give more labels_per_token "
            f"than {speech.sizes.labels_per_token}"
        )


class SpeakingLessons(nn.Module):
    """The speech decoder, as the loop calls it (objective `OwnLoss`): nats of a unit. Raises AllBlankError where it
    says nothing for long, ValueError for units that CTC cannot say."""

    def __init__(self, model: LlamaOmni, watch: BlankWatch | None = None) -> None:
        super().__init__()
        self.speech, self._watch = model.speech, watch or BlankWatch()

    def forward(self, batch: Tensors) -> Tensor:
        lengths = batch["said"].sum(1).tolist()
        states = [own[:length] for own, length in zip(batch["states"].float(), lengths, strict=True)]
        found = self.speech.loss(states, batch["units"])
        for row in found.infeasible:
            units = batch["units"][row]
            _check_labels(self.speech, lengths[row], units[units != IGNORED].tolist(), f"row {row} of a batch")
        if self.training:
            self._watch.see(found.blank_share)
        return found.loss
