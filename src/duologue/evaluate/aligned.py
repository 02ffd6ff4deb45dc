"""What alignment has taught: recognition and speaking by the language model alone (OmniFlatten, table 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from duologue.evaluate.quality import ErrorRate, error_rate
from duologue.model.greedy import continued
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import resample
from duologue.systems.omni_flatten import OmniFlatten
from duologue.units.codec import UnitDecoder, decode_whole

BATCH = 32


def recognised(model: OmniFlatten, units: Sequence[Sequence[int]]) -> Iterator[str]:
    """The words in each row of units."""
    tags, texts = model.tags, torch.tensor(model.texts)
    for first in range(0, len(units), BATCH):
        rows = units[first : first + BATCH]
        prompts = [[tags.asr, tags.sos, *model.unit_ids(row), tags.eos, tags.sot] for row in rows]
        for ids in continued(model.lm, prompts, tags.eot, texts, most=60):
            yield model.words.decode(ids)


def spoken(model: OmniFlatten, texts: Sequence[str]) -> Iterator[list[int]]:
    """The units of each text."""
    tags, span = model.tags, model.ids["units"]
    for first in range(0, len(texts), BATCH):
        rows = texts[first : first + BATCH]
        prompts = [[tags.tts, tags.sot, *model.text_ids(text), tags.eot, tags.sos] for text in rows]
        for ids in continued(model.lm, prompts, tags.eos, torch.tensor(span.ids), most=300):
            yield [token - span.offset for token in ids]


def recognition_errors(model: OmniFlatten, units: Sequence[Sequence[int]], said: Sequence[str]) -> ErrorRate:
    return error_rate(zip(said, recognised(model, units), strict=True))


def speaking_errors(
    model: OmniFlatten, decoder: UnitDecoder, texts: Sequence[str], ears: Callable[[Audio], str]
) -> ErrorRate:
    """Of what a recogniser hears of the model's units."""
    heard = (ears(_sound(decoder, units)) for units in spoken(model, texts))
    return error_rate(zip(texts, heard, strict=True))


def _sound(decoder: UnitDecoder, units: Sequence[int]) -> Audio:
    if not units:
        return np.zeros(0, np.float32)
    return resample(decode_whole(decoder, torch.tensor(units)[None, None])[0].numpy(), decoder.said_hz, HEARD_HZ)
