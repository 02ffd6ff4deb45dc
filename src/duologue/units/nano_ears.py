"""Ears of the nano size: sound at 16 kHz → a state each 40 ms that knows the words that were said.

    ears = nano_ears.load("ears.safetensors")
    state = ears.start(batch=1)
    states = ears.hear(audio, state)                 # as many as are complete, while the person still speaks
    ears.words(audio)                                # or: what is said in a whole recording

What Whisper's encoder is to the large systems, trained from nothing: the front layers of the unit tokenizer, then a
small causal language model that is fed with sound and says, a little after the end of each word, which one it was.
Since it never looks ahead, hardly anything is left to do when the person stops.

Letters in shapes: B batch, N samples, T states at 25 Hz, D width.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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
AGAIN = 3
"""States after a word within which it cannot have been said again."""


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

    def features(self, audio: Audio) -> Tensor:
        """An utterance [N] at 16 kHz → [T, D]. Raises ValueError for no sound, and for samples that are no numbers."""
        sound = np.asarray(audio, np.float32)
        if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all():
            raise ValueError(f"sound of shape {list(sound.shape)}: give finite samples of one channel, [N] at 16 kHz")
        return self.whole(torch.from_numpy(sound.copy())[None])[0]

    def words(self, audio: Tensor) -> list[str]:
        """What is said in each of [B, N]."""
        return [self.read(states) for states in self.whole(audio)]

    def read(self, states: Tensor) -> str:
        """The words that states [T, D] tell of. What is told again at once is the same word: its end is not sharp."""
        written = self.body.get_output_embeddings()(states).argmax(-1).tolist()
        words, before, ended = list[str](), self.nothing, 0
        for at, word in enumerate(written):
            if word == self.nothing:
                continue
            if word != before or at - ended > AGAIN:
                words.append(self.config.vocabulary[word])
            before, ended = word, at
        return " ".join(words)

    # ------------------------------------------------------------ learning

    def forward(self, vectors: Tensor) -> Tensor:
        """The front's vectors [B, T, front width] → what is written at each, [B, T, words + 1]."""
        logits: Tensor = self.body.get_output_embeddings()(self.states(vectors))
        return logits

    def states(self, vectors: Tensor) -> Tensor:
        """The front's vectors of utterances that fit into the model's positions → [B, T, D]."""
        hidden: Tensor = self.body.get_decoder()(inputs_embeds=self.enter(vectors), use_cache=False).last_hidden_state
        return hidden


# ---------------------------------------------------------------- weights


def save(ears: NanoEars, path: str | Path) -> None:
    """Write sizes, words and weights (bfloat16) as safetensors: whole or not at all."""
    from safetensors.torch import save as as_bytes

    tied = "body.lm_head.weight"
    tensors = {name: value.to(torch.bfloat16) for name, value in ears.state_dict().items() if name != tied}
    sizes = json.dumps(asdict(ears.config))
    whole_file(path, lambda file: file.write(as_bytes(tensors, {"nano_ears": sizes})))


def load(path: str | Path) -> NanoEars:
    """What `save` wrote, in single precision and evaluation mode. Raises FileNotFoundError; ValueError for another
    file."""
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
    return ears.eval()
