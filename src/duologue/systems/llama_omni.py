"""LLaMA-Omni: a language model that answers speech with text and speech at once (Fang et al. 2024, arXiv 2409.06666).

    sound → ears → adapter ┐                        ┌ text
                           ├ prompt → language model ┤
    system, request as text┘                        └ states → CTC decoder → units → sound

The state from which a text token is chosen is turned into 25 labels at once (section 2.4), so that speech comes with
the text and never feeds back into it. Two stages of training: adapter and language model on text, then the speech
decoder on units, the rest frozen (2.5). `llama_omni_conversation` talks with it (2.6), `llama_omni_released` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from duologue.model.adapter import IGNORED, Ears, FrameStack, Fused, embedded, fused
from duologue.model.ctc import CtcLoss, SpeechDecoder, SpeechSizes
from duologue.model.prompt import SPEECH, Chat, ids_of
from duologue.model.words import END
from duologue.sound import Audio

# ---------------------------------------------------------------- prompt

LLAMA_3 = Chat(
    begin="<|begin_of_text|>",
    begins=2,
    header="<|start_header_id|>{role}<|end_header_id|>\n\n",
    end="<|eot_id|>",
    request=f"{SPEECH}\nPlease directly answer the questions in the user's speech.",
    system="You are a helpful language and speech assistant. You are able to understand the speech content that the "
    "user provides, and assist the user with a variety of tasks using natural language.",
)
"""As released: its first token comes twice, from the text and from the tokenizer."""
SMALL_WORLD = Chat(begin="", begins=0, header="<|{role}|>", end=END, request=SPEECH, system="")
"""For the words tokenizer."""

# ---------------------------------------------------------------- sizes


@dataclass(frozen=True)
class Config:
    """What is not the language model's or the ears' own.

    stacked        features that become one vector (section 2.3)
    adapter_width  of the adapter's inner layer
    states         what speaks a token: the state that predicts it, as the paper has it; or "consumed", the one that
                   has seen it, which costs a step of the language model before the first sound
    ctc_weight     of speech in a joint loss
    longest        positions of a row in training; more are cut
    chat           how a conversation is written
    """

    speech: SpeechSizes = field(default_factory=SpeechSizes)
    stacked: int = 5
    adapter_width: int = 2048
    states: Literal["predictive", "consumed"] = "predictive"
    ctc_weight: float = 1.0
    longest: int = 2048
    chat: Chat = LLAMA_3

    def __post_init__(self) -> None:
        if self.states not in ("predictive", "consumed"):
            raise ValueError(f"states {self.states!r}: choose 'predictive' or 'consumed'")


def released() -> Config:
    """Of Llama-3.1-8B-Omni."""
    return Config()


def nano() -> Config:
    """For a language model of width 256 whose tokens are words, ears that give a vector a word, and the nano codec's
    1000 units at 25 Hz: a word is 5.4 of them at the median, 11 at most, so that 12 labels leave as much room as the
    paper's 25."""
    speech = SpeechSizes(width=192, heads=3, ffn=576, labels_per_token=12, longest_tokens=256, places=True)
    return Config(speech, stacked=1, adapter_width=512, longest=512, chat=SMALL_WORLD)


# ---------------------------------------------------------------- the model


@dataclass(frozen=True)
class Losses:
    """Mean nats of a text token that is trained; what the units of the answers cost. None where not asked for."""

    text: Tensor | None
    speech: CtcLoss | None

    def joint(self, ctc_weight: float) -> Tensor:
        """One number of both."""
        parts = (self.text, None if self.speech is None else ctc_weight * self.speech.loss)
        return torch.stack([part for part in parts if part is not None]).sum()


class LlamaOmni(nn.Module):
    """Ears, adapter, a causal language model of transformers with its tokenizer, and a CTC decoder of speech."""

    def __init__(self, ears: Ears, lm: Any, words: Any, config: Config, seed: int = 0) -> None:
        """Adapter and decoder are drawn with `seed`, in the language model's precision."""
        super().__init__()
        width, self.config, self.words = lm.get_input_embeddings().embedding_dim, config, words
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.adapter = FrameStack(ears.width, config.stacked, config.adapter_width, width, lm.dtype)
            self.speech = SpeechDecoder(config.speech, width, rope_of(lm), lm.dtype)
        self.ears, self.lm = ears, lm

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens that end an answer: the chat's own, and those of the language model."""
        theirs = self.lm.config.eos_token_id
        theirs = theirs if isinstance(theirs, list) else [] if theirs is None else [theirs]
        return frozenset([*self.ids_of(self.config.chat.end), *theirs])

    # ------------------------------------------------------------ sound and text in (sections 2.2, 2.3)

    @torch.no_grad()
    def heard(self, audio: Audio) -> Tensor:
        """audio [N] at 16 kHz → vectors [V, D] in the place of a clip. Raises ValueError for sound of no vector."""
        vectors: Tensor = self.adapter(self.ears.features(audio).to(self.lm.device))
        if not len(vectors):
            least_ms = 1000 * self.config.stacked / self.ears.hz
            raise ValueError(f"{len(audio)} samples are no vector: give at least {least_ms:.0f} ms of sound")
        return vectors

    def ids_of(self, text: str) -> list[int]:
        """Text as `Chat` writes it, SPEECH_ID where sound is heard."""
        return ids_of(text, self.words)

    def embedded(self, ids: Sequence[int], clips: Sequence[Tensor] = ()) -> Tensor:
        """Ids with the vectors of clips in their places, [L, D]."""
        return embedded(self.lm.get_input_embeddings(), torch.tensor(ids, device=self.lm.device), clips)

    def fused(
        self,
        ids: Tensor,
        features: Sequence[Tensor],
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        padding: Literal["right", "left"] = "right",
    ) -> Fused:
        """Rows of ids [B, S] in which the features [T, D of the ears] of all clips, in order, were put."""
        clips = [self.adapter(own) for own in features]
        return fused(self.lm.get_input_embeddings(), ids, clips, labels, mask, self.config.longest, padding)

    # ------------------------------------------------------------ learning (section 2.5)

    def forward(self, rows: Fused, units: Tensor | None = None, text: bool = True) -> Losses:
        """What the answers in `rows` cost: as text, and as units [B, N] (filled up with -100) where they are given.

        Stage 1 asks for text alone, stage 2 for units alone. Parameters that a stage does not train are frozen.
        """
        hidden = self.hidden(rows)
        return Losses(
            self._text_loss(hidden, rows.labels) if text else None,
            None if units is None else self.speech.loss(self.spoken_states(hidden, rows.labels), units),
        )

    def hidden(self, rows: Fused) -> Tensor:
        """States of the language model after its final norm, [B, L, D]."""
        states: Tensor = self.lm.get_decoder()(
            inputs_embeds=rows.embeddings,
            attention_mask=rows.mask,
            position_ids=rows.positions,
            use_cache=False,
        ).last_hidden_state
        return states

    def spoken_states(self, hidden: Tensor, labels: Tensor) -> list[Tensor]:
        """The states [M, D] of each row that speak its answer, by `Config.states`."""
        said = labels != IGNORED
        if self.config.states == "predictive":
            said = torch.cat([said[:, 1:], torch.zeros_like(said[:, :1])], 1)
        return [own[chosen] for own, chosen in zip(hidden, said, strict=True)]

    def _text_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Only where something is trained: the rows of a large vocabulary are the dearest of all."""
        following = labels[:, 1:]
        asked = following != IGNORED
        logits = self.lm.get_output_embeddings()(hidden[:, :-1][asked])
        return functional.cross_entropy(logits.float(), following[asked])


def rope_of(lm: Any) -> Mapping[str, Any]:
    """Rotary positions of a language model, for the speech decoder; transformers' default where it has none."""
    rope: Mapping[str, Any] = getattr(lm.config.get_text_config(), "rope_parameters", None) or {}
    return rope if "rope_theta" in rope else {"rope_type": "default", "rope_theta": 10_000.0}
