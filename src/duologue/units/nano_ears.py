"""Ears of the nano size: sound at 16 kHz → a state each 40 ms that knows the words that were said.

    ears = nano_ears.load("ears.safetensors")
    state = ears.start(batch=1)
    states = ears.hear(audio, state)                 # as many as are complete, while the person still speaks
    ears.words(audio)                                # or: what is said in a whole recording
    WordEars(ears, vectors).features(audio)          # or: a vector for each word

What Whisper's encoder is to the large systems, trained from nothing: the front layers of the unit tokenizer, then a
small causal language model that is fed with sound and says, a little after the end of each word, which one it was.
Since it never looks ahead, hardly anything is left to do when the person stops.

Letters in shapes: B batch, N samples, T states at 25 Hz, D width, W words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from duologue import streaming
from duologue.model.backbone import backbone, nano
from duologue.sound import Audio
from duologue.streaming import Memory
from duologue.units.codec import CodecState
from duologue.units.nano_front import NanoFront
from duologue.whole import whole_file

MEMORY = Memory(slots=1000, sink=25, spare=200)
"""Of an utterance: what is said in 32 s at least. What is older is forgotten."""
LIKELY = 0.35
"""A word is told where two neighbours among the states hold it so likely together: not every end is sharp."""
AGAIN = 2
"""States after the last one that could tell a word, within which it cannot have been said again."""


@dataclass(frozen=True)
class EarsConfig:
    """Sizes; `vocabulary` are the words that it knows."""

    vocabulary: tuple[str, ...]
    width: int = 256
    layers: int = 6
    n_mels: int = 80
    front_width: int = 256
    front_blocks: int = 7
    front_taps: int = 9


@dataclass(frozen=True)
class EarsState:
    """What is remembered of B utterances."""

    front: CodecState
    body: streaming.State


@dataclass
class Told:
    """What has been told so far: at which of how many states each word was last, and how likely words were at the last
    one, [1, words]."""

    last: Tensor
    at: dict[int, int] = field(default_factory=dict)
    states: int = 0


class NanoEars(nn.Module):
    """`adapter.Ears`, of one utterance at a time or of many live ones."""

    def __init__(self, config: EarsConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.front = NanoFront(config.n_mels, config.front_width, config.front_blocks, config.front_taps)
        self.enter = nn.Sequential(nn.LayerNorm(config.front_width), nn.Linear(config.front_width, config.width))
        self.body = backbone(nano(len(config.vocabulary) + 1, config.width, config.layers), seed=seed)

    heard_hz = NanoFront.heard_hz
    hz = NanoFront.unit_hz

    @property
    def nothing(self) -> int:
        """What is written where no word has ended."""
        return len(self.config.vocabulary)

    # ------------------------------------------------------------ live

    def start(self, batch: int) -> EarsState:
        return EarsState(self.front.start_encoder(batch), streaming.start(self.body, batch, MEMORY))

    @torch.no_grad()
    def hear(self, audio: Tensor, state: EarsState, last: bool = False) -> Tensor:
        """[B, N] → the states that are complete, [B, T, D]; with `last`, the rest is filled up with silence. However
        the sound is cut, they are the same (to 1e-5)."""
        entered = self.enter(self.front.vectors(audio, state.front, last))
        return torch.cat([entered[:, :0], *(self._stepped(part, state) for part in entered.split(MEMORY.spare, 1))], 1)

    def _stepped(self, part: Tensor, state: EarsState) -> Tensor:
        return streaming.step(self.body, state.body, part) if part.shape[1] else part

    def whole(self, audio: Tensor) -> Tensor:
        """Of whole utterances [B, N]: [B, T, D]."""
        return self.hear(audio, self.start(len(audio)), last=True)

    def fewest(self, samples: int) -> int:
        """States that so many samples at 16 kHz have at least."""
        return int(samples * self.hz / self.heard_hz)

    def features(self, audio: Audio) -> Tensor:
        """An utterance [N] at 16 kHz → [T, D]. Raises ValueError for no sound, and for samples that are no numbers."""
        return self.whole(_utterance(audio))[0]

    def words(self, audio: Tensor) -> list[str]:
        """What is said in each of [B, N]."""
        return [self.read(states) for states in self.whole(audio)]

    def read(self, states: Tensor) -> str:
        """The words that states [T, D] tell of."""
        _, likely = self.told(self.likely(states), self.silent())
        return " ".join(self.config.vocabulary[word] for word in likely.argmax(-1).tolist())

    def written(self, states: Tensor) -> Tensor:
        """States [..., D] → which word has just ended there, or none, as logits [..., words + 1]."""
        logits: Tensor = self.body.get_output_embeddings()(states)
        return logits

    def likely(self, states: Tensor) -> Tensor:
        """States [..., D] → how likely each word has just ended there, [..., words]."""
        return self.written(states).float().softmax(-1)[..., : self.nothing]

    def silent(self) -> Told:
        """Nothing has been told."""
        return Told(torch.zeros(1, self.nothing))

    def told(self, likely: Tensor, before: Told) -> tuple[list[int], Tensor]:
        """At which of the states, `likely` [T, words], a word is told, and how likely it is each, [W, words]. What is
        told again at once is the same word. `before` goes along."""
        both = likely + torch.cat([before.last.to(likely), likely])[: len(likely)]
        most, words = both.max(-1)
        found = []
        for at in torch.nonzero(most >= LIKELY).ravel().tolist():
            word, now = int(words[at]), before.states + at
            if now - before.at.get(word, -AGAIN - 1) > AGAIN:
                found.append(at)
            before.at[word] = now
        before.states += len(likely)
        before.last = torch.cat([before.last.to(likely), likely])[-1:]
        return found, both[found]

    # ------------------------------------------------------------ learning

    def forward(self, vectors: Tensor) -> Tensor:
        """The front's vectors [B, T, front width] → what is written at each, [B, T, words + 1]."""
        return self.written(self.states(vectors))

    def states(self, vectors: Tensor) -> Tensor:
        """The front's vectors of utterances that fit into the model's positions → [B, T, D]."""
        hidden: Tensor = self.body.get_decoder()(inputs_embeds=self.enter(vectors), use_cache=False).last_hidden_state
        return hidden


def _utterance(audio: Audio) -> Tensor:
    """[1, N]."""
    sound = np.asarray(audio, np.float32)
    if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all():
        raise ValueError(f"sound of shape {list(sound.shape)}: give finite samples of one channel, [N] at 16 kHz")
    return torch.from_numpy(sound.copy())[None]


# ---------------------------------------------------------------- a vector for each word


@dataclass
class Telling:
    """Of an utterance: the words so far, whether there was any, and else what was most like one."""

    told: Told
    spoke: bool = False
    likeliest: tuple[float, Tensor] | None = None


@dataclass(frozen=True)
class WordsState:
    """What is remembered of an utterance."""

    sound: EarsState
    telling: Telling


class WordEars(nn.Module):
    """`NanoEars` that give a vector for each word that has ended, and nothing between them: a language model reads
    sound as it reads text. Frames without a label are left out as in CTC compression (Gaido et al., 2021); a word that
    was not clear is the mean of those that it may have been.

    vectors  of each word of the ears' vocabulary, [words, D]: the rows of a language model
    """

    heard_hz, hz = NanoEars.heard_hz, NanoEars.hz
    """States a second; there are fewer words."""
    vectors: Tensor

    def __init__(self, ears: NanoEars, vectors: Tensor) -> None:
        super().__init__()
        self.ears = ears
        self.register_buffer("vectors", vectors.detach().clone())
        self._number = {word: number for number, word in enumerate(ears.config.vocabulary)}

    @property
    def width(self) -> int:
        return self.vectors.shape[1]

    def start(self, batch: int = 1) -> WordsState:
        """Of one utterance. Raises ValueError for more: they have different numbers of words."""
        if batch != 1:
            raise ValueError(f"a batch of {batch}: word ears hear one utterance at a time")
        return WordsState(self.ears.start(1), self._telling())

    @torch.no_grad()
    def hear(self, audio: Tensor, state: WordsState, last: bool = False) -> Tensor:
        """[1, N] → the words that have ended, [1, W, D]. With `last`, at least one of an utterance: what is most like a
        word, if nothing was. However the sound is cut, they are the same."""
        return self._words(self.ears.hear(audio, state.sound, last)[0], state.telling, last)[None]

    def fewest(self, samples: int) -> int:
        """How many words are said, only hearing tells."""
        return 1

    def features(self, audio: Audio) -> Tensor:
        """An utterance [N] at 16 kHz → [W, D]. Raises ValueError as `NanoEars.features`."""
        return self.hear(_utterance(audio), self.start(), last=True)[0]

    def clearly(self, words: Sequence[str]) -> Tensor | None:
        """[W, D] as if each word were heard clearly; None where one of them is not known."""
        if not words or not all(word in self._number for word in words):
            return None
        return self.vectors[[self._number[word] for word in words]]

    @torch.no_grad()
    def words_in(self, states: Tensor) -> Tensor:
        """All states of an utterance [T, D] → [W, D]."""
        return self._words(states, self._telling(), last=True)

    def _telling(self) -> Telling:
        return Telling(self.ears.silent())

    def _words(self, states: Tensor, telling: Telling, last: bool) -> Tensor:
        likely = self.ears.likely(states)
        at, told = self.ears.told(likely, telling.told)
        telling.spoke = telling.spoke or bool(at)
        if not telling.spoke and len(likely):
            most, place = likely.sum(-1).max(0)
            if telling.likeliest is None or most > telling.likeliest[0]:
                telling.likeliest = float(most), likely[place]
        if last and not telling.spoke and telling.likeliest is not None:
            told = telling.likeliest[1][None]
        return (told / told.sum(-1, keepdim=True)) @ self.vectors


# ---------------------------------------------------------------- weights

VECTORS = "vectors"
"""Beside the ears' own tensors, those of `WordEars`."""


def save(ears: NanoEars | WordEars, path: str | Path) -> None:
    """Write sizes, words and weights (bfloat16) as safetensors: whole or not at all."""
    from safetensors.torch import save as as_bytes

    plain, more = (ears.ears, {VECTORS: ears.vectors}) if isinstance(ears, WordEars) else (ears, {})
    tied = "body.lm_head.weight"
    tensors = {n: value.to(torch.bfloat16) for n, value in {**plain.state_dict(), **more}.items() if n != tied}
    sizes = json.dumps(asdict(plain.config))
    whole_file(path, lambda file: file.write(as_bytes(tensors, {"nano_ears": sizes})))


def load(path: str | Path) -> NanoEars:
    """Ears that `save` wrote, in single precision and evaluation mode. Raises FileNotFoundError; ValueError for another
    file."""
    return _read(path)[0]


def load_words(path: str | Path) -> WordEars:
    """Word ears that `save` wrote, as `load`."""
    ears, tensors = _read(path)
    if VECTORS not in tensors:
        raise ValueError(f"{path}: ears without the words' vectors; the recipes of the systems put them in")
    return WordEars(ears, tensors[VECTORS]).eval()


def _read(path: str | Path) -> tuple[NanoEars, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file; recipes/nano_ears.py makes one")
    try:
        with safe_open(path, "pt") as file:
            sizes: dict[str, Any] = json.loads((file.metadata() or {})["nano_ears"])
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: no weights of nano ears ({error}); recipes/nano_ears.py makes some") from error
    ears = NanoEars(EarsConfig(**{**sizes, "vocabulary": tuple(sizes["vocabulary"])}))
    ears.load_state_dict(tensors, strict=False)
    return ears.eval(), tensors
