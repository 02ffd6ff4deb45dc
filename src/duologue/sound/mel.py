"""The two spectra that released speech encoders were trained on: Whisper's log-mel and Kaldi's filter bank."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import kaldi_native_fbank
import numpy as np
from numpy.typing import NDArray

from duologue.sound import Audio

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor
Features = NDArray[np.float32]

MEL_HZ = 16_000
"""Both spectra take 16 kHz and give 100 frames a second."""


def whisper_log_mel(audio: Audio, n_mels: int = 80, padded_s: float = 30.0) -> Features:
    """Whisper's log-mel spectrogram (Radford et al. 2022, section 2.2), by transformers' own extractor.

    audio [N] at 16 kHz, cut or padded with silence to `padded_s` → [100 * padded_s, n_mels].
    """
    length = round(padded_s * MEL_HZ)
    extracted = _whisper_extractor(n_mels)(
        audio,
        sampling_rate=MEL_HZ,
        padding="max_length",
        max_length=length,
        truncation=True,
        return_tensors="np",
    )
    return np.ascontiguousarray(extracted["input_features"][0].T, dtype=np.float32)


@lru_cache
def _whisper_extractor(n_mels: int) -> WhisperFeatureExtractor:
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(feature_size=n_mels)


class KaldiFbank:
    """Kaldi's log filter bank as Paraformer uses it, fed in chunks: Hamming window, 25 ms every 10 ms, no dither,
    whole frames only, samples scaled to 16-bit integers. The frames do not depend on the chunks."""

    def __init__(self, n_mels: int = 80, window: str = "hamming") -> None:
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = MEL_HZ
        options.frame_opts.dither = 0.0
        options.frame_opts.window_type = window
        options.frame_opts.snip_edges = True
        options.mel_opts.num_bins = n_mels
        options.energy_floor = 0.0
        self._n_mels = n_mels
        self._given = 0
        self._fbank = kaldi_native_fbank.OnlineFbank(options)

    def push(self, audio: Audio) -> Features:
        """Take [n] samples at 16 kHz in [-1, 1], give the frames that are complete: [T, n_mels]."""
        self._fbank.accept_waveform(MEL_HZ, (audio * 32768).tolist())
        ready = self._fbank.num_frames_ready
        frames = [self._fbank.get_frame(i).copy() for i in range(self._given, ready)]
        self._fbank.pop(ready - self._given)
        self._given = ready
        return np.asarray(frames, np.float32).reshape(-1, self._n_mels)
