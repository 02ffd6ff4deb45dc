"""What the nano units reached: on voices and people that were kept out of training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import jiwer
import numpy as np
import torch
from torch import Tensor

from duologue.desk import questions
from duologue.engines.named import recogniser, voice
from duologue.engines.tts import resampled
from duologue.sound import Audio
from duologue.units.codec import Codec, decode_whole, encode_whole
from duologue.units.nano_tokenizer import NanoTokenizer
from duologue.units.quantize import usage
from nano_units_speech import ASSISTANT, HZ, TEST_VOICES, Speech

PEOPLE = {"fsdd, two people not trained on": "person:fsdd", "barista, every fifth clip": "person:barista"}


def tokenizer_table(tokenizer: NanoTokenizer, speech: Speech) -> Iterator[str]:
    """Letters wrong, of the units alone, for each held-out voice; then how the book is used by all of them."""
    heard = list[Tensor]()
    for name, start in {**{v: v for v in (ASSISTANT, *TEST_VOICES)}, **PEOPLE}.items():
        numbers = speech.numbers("test", start)
        if numbers:
            codes = [encode_whole(tokenizer, torch.from_numpy(speech.audio(n))[None]) for n in numbers]
            heard += [c.flatten() for c in codes]
            read = [tokenizer.read(c)[0] for c in codes]
            said = [speech.clips[n][0].text for n in numbers]
            letters, words = jiwer.cer(said, read), jiwer.wer(said, read)
            yield f"{name:34}  {len(said):4} clips   CER {letters:6.1%}   WER {words:6.1%}"
    used = usage(torch.cat(heard), tokenizer.codes)
    yield f"codes in use on these: {used.share:.1%} of {tokenizer.codes}, perplexity {used.perplexity:.0f}"


def codec_table(codec: Codec, clips: int) -> Iterator[str]:
    """Words that the embedded recogniser gets wrong in held-out desk questions, before and after the codec."""
    asked = [q.text for q in islice(questions(3, "test", "en"), clips)]
    for name in (ASSISTANT, *TEST_VOICES):
        original = [np.concatenate(list(resampled(voice(name), text, HZ))) for text in asked]
        made = (through(codec, audio) for audio in original)
        before, after = wer(asked, original), wer(asked, made)
        yield f"{name:34}  {clips:4} clips   WER {before:6.1%}   through the units {after:6.1%}"


def through(codec: Codec, audio: Audio) -> Audio:
    """The sound of its units."""
    return decode_whole(codec, encode_whole(codec, torch.from_numpy(audio)[None]))[0].numpy()


def wer(asked: list[str], sounds: Iterable[Audio]) -> float:
    asr = recogniser("pocketsphinx")
    quiet = np.zeros(HZ // 4, np.float32)
    return float(jiwer.wer(asked, [asr.transcribe(np.concatenate([quiet, s, quiet])).text for s in sounds]))
