"""The nano codec: tokenizer and decoder together, in one file of weights."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from duologue.units.codec import CodecState
from duologue.units.nano_decoder import DecoderConfig, NanoDecoder
from duologue.units.nano_tokenizer import NanoTokenizer, TokenizerConfig
from duologue.whole import whole_file

if TYPE_CHECKING:
    from duologue.model.one_vocabulary import Codes

CODEC = "nano_units.safetensors"
"""Its file in the folder of a model that speaks with it."""


class NanoCodec:
    """A `Codec` of one book at 25 Hz: any voice in, the assistant's voice out. On the CPU, in evaluation mode."""

    books = 1

    def __init__(self, tokenizer: NanoTokenizer, decoder: NanoDecoder) -> None:
        """Raises ValueError where the two were not trained together."""
        if (theirs := decoder.fsq.codes) != tokenizer.codes:
            raise ValueError(
                f"the tokenizer has {tokenizer.codes} codes, the decoder {theirs}: take two of one training"
            )
        self.tokenizer, self.decoder = tokenizer.eval(), decoder.eval()
        self.heard_hz, self.said_hz = tokenizer.heard_hz, decoder.said_hz
        self.unit_hz, self.codes = tokenizer.unit_hz, tokenizer.codes
        self.heard_ahead_s, self.ahead_units = tokenizer.heard_ahead_s, decoder.ahead_units
        self.unit_samples = decoder.unit_samples
        self.silence: tuple[int, ...] = decoder.silence

    def start_encoder(self, batch: int) -> CodecState:
        return self.tokenizer.start_encoder(batch)

    def encode(self, audio: Tensor, state: CodecState, last: bool = False) -> Tensor:
        return self.tokenizer.encode(audio, state, last)

    def start_decoder(self, batch: int) -> CodecState:
        return self.decoder.start_decoder(batch)

    def decode(self, codes: Tensor, state: CodecState) -> Tensor:
        return self.decoder.decode(codes, state)


# ---------------------------------------------------------------- weights


def save(codec: NanoCodec, path: str | Path) -> None:
    """Write sizes and weights (half precision) as safetensors: whole or not at all."""
    from safetensors.torch import save as as_bytes

    parts: dict[str, NanoTokenizer | NanoDecoder] = {"tokenizer": codec.tokenizer, "decoder": codec.decoder}
    tensors = {
        f"{name}.{key}": value.half() if value.is_floating_point() else value
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }
    sizes = {name: asdict(part.config) for name, part in parts.items()} | {"silence": codec.silence}
    whole_file(path, lambda file: file.write(as_bytes(tensors, {"nano_codec": json.dumps(sizes)})))


def load(path: str | Path) -> NanoCodec:
    """The codec that `save` wrote, in single precision. Raises FileNotFoundError; ValueError for another file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file; recipes/nano_units.py makes one")
    try:
        with safe_open(path, "pt") as file:
            sizes = json.loads((file.metadata() or {})["nano_codec"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path}: not the weights of a nano codec ({error}); make them by recipes/nano_units.py"
        ) from error
    return _built(sizes, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})


def _built(sizes: dict[str, Any], tensors: dict[str, Tensor]) -> NanoCodec:
    tokenizer = NanoTokenizer(TokenizerConfig(**_tuples(sizes["tokenizer"])))
    decoder = NanoDecoder(DecoderConfig(**_tuples(sizes["decoder"])), tuple(sizes["silence"]))
    for name, part in (("tokenizer", tokenizer), ("decoder", decoder)):
        own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        with torch.no_grad():
            part.load_state_dict(own)
    return NanoCodec(tokenizer, decoder)


def _tuples(sizes: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(size) if isinstance(size, list) else size for name, size in sizes.items()}


def codes_of(path: str | Path) -> Codes:
    """The units of the codec in a file, as a language model is given them: with what the codec knows of each. Raises as
    `load`."""
    from duologue.model.one_vocabulary import Codes

    fsq = load(path).tokenizer.fsq
    return Codes(fsq.codes, fsq.one_hot())
