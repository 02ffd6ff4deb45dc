"""pocketsphinx (Huggins-Daines et al. 2006), in a process of its own.

The binding keeps Python's lock while it decodes, and ends the process on what it thinks fatal. In its own process it
stops nobody's frames and breaks nothing but the one answer. `SphinxProcess` is the near end; this file run as a
program is the far end: sound in, (text, confidence) or the reason of a failure out, until its input closes.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from duologue.engines import EngineError
from duologue.engines.asr_grammar import Bigram, bigram, unmarked
from duologue.engines.asr_sound import full_band, with_floor
from duologue.session import Audio

if TYPE_CHECKING:
    from pocketsphinx import Decoder

WORDS_A_LEAP = 5
"""An utterance belongs to the grammar if it leaves it at most once in so many words ..."""
FITS = 0.02
"""... with at least this confidence."""
UNDERSTOOD = 0.15
"""Confidence of the language model below which nothing was said, or nothing that was understood."""


@dataclass(frozen=True)
class Heard:
    """`confidence` is the geometric mean over the words of the best path's posterior among the paths searched."""

    text: str
    confidence: float


class Sphinx:
    """Decodes one utterance after the other. What was decoded before leaves no trace: the cepstral mean is that of the
    whole utterance, the noise tracked is forgotten before each, and there is no dither."""

    def __init__(self, grammars: tuple[str, ...] | Bigram) -> None:
        self._grammars = grammars

    def load(self) -> None:
        """Make ready now rather than at the first utterance. Raises EngineError."""
        _ = self._by_grammar if self._grammars else self._by_language_model

    def hear(self, audio: Audio) -> Heard:
        """The words in `audio`, [N] at 16 kHz: the grammar's where they fit, else the language model's."""
        pcm = (with_floor(full_band(audio)) * 32767).astype("<i2").tobytes()
        if self._grammars:
            words, confidence = _decoded(self._by_grammar, pcm)
            if confidence >= FITS and self._bigram.leaps(words) * WORDS_A_LEAP <= len(words):
                return Heard(unmarked(" ".join(words)), confidence)
        words, confidence = _decoded(self._by_language_model, pcm)
        return Heard(" ".join(words), confidence) if confidence >= UNDERSTOOD else Heard("", 0.0)

    @cached_property
    def _bigram(self) -> Bigram:
        return self._grammars if isinstance(self._grammars, Bigram) else bigram(self._grammars)

    @cached_property
    def _by_grammar(self) -> Decoder:
        with tempfile.TemporaryDirectory() as folder:
            lm, words = Path(folder, "grammar.arpa"), Path(folder, "grammar.dict")
            lm.write_text(self._bigram.arpa, encoding="utf-8")
            words.write_text(self._bigram.dictionary, encoding="utf-8")
            return _decoder(lm=str(lm), dict=str(words))

    @cached_property
    def _by_language_model(self) -> Decoder:
        return _decoder()


def _decoder(**settings: Any) -> Decoder:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise EngineError("the embedded recogniser is missing; pip install pocketsphinx") from error
    return Decoder(loglevel="FATAL", **settings)


def _decoded(decoder: Decoder, pcm: bytes) -> tuple[list[str], float]:
    """(words, confidence) of the best path through the utterance."""
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    words = best.hypstr.split() if best is not None else []
    return words, float(best.prob) ** (1 / len(words)) if words else 0.0


# ---------------------------------------------------------------- near end


class SphinxProcess:
    """A `Sphinx` elsewhere. Starts when told, else at the first question, and again after it broke; one question at a
    time."""

    def __init__(self, grammars: tuple[str, ...] | Bigram) -> None:
        self._grammars = grammars
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Let it load, without waiting for it."""
        with self._lock:
            self._running()

    def hear(self, audio: Audio) -> Heard:
        """Raises EngineError."""
        with self._lock:
            process = self._running()
            try:
                answer = _asked(process, audio)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                _stop(process)
                self._process = None
                raise EngineError(
                    "the recogniser's process ended unexpectedly; the next utterance starts it anew"
                ) from error
        if isinstance(answer, str):
            raise EngineError(answer)
        return Heard(*answer)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = self._started()
        return self._process

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        weakref.finalize(self, _stop, process)
        assert process.stdin is not None
        _send(process.stdin, self._grammars)
        return process


def _asked(process: subprocess.Popen[bytes], audio: Audio) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    _send(process.stdin, audio)
    return pickle.load(process.stdout)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _send(pipe: IO[bytes], message: Any) -> None:
    pickle.dump(message, pipe)
    pipe.flush()


# ---------------------------------------------------------------- far end


def main() -> None:
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sphinx = Sphinx(pickle.load(questions))
    with contextlib.suppress(EngineError):
        sphinx.load()
    while True:
        try:
            audio: Audio = np.asarray(pickle.load(questions))
        except EOFError:
            return
        try:
            _send(answers, astuple(sphinx.hear(audio)))
        except (EngineError, RuntimeError, ValueError) as error:
            _send(answers, str(error))


if __name__ == "__main__":
    main()
