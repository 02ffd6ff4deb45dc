"""Spectra: Whisper's log-mel as recorded by LLaMA-Omni, Kaldi's filter bank as recorded by MooER."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from duologue.sound.mel import KaldiFbank, whisper_log_mel


def whisper(path: Path) -> None:
    golden = load_file(path)
    n_frames, n_mels = golden["log_mel"].shape
    ours = whisper_log_mel(golden["audio"], n_mels)
    assert len(ours) == golden["num_frames"].item()
    np.testing.assert_allclose(ours[:n_frames], golden["log_mel"], atol=1e-5)
    np.testing.assert_allclose(ours[n_frames:], golden["tail_value"].item(), atol=1e-5)


def kaldi(path: Path) -> None:
    golden = load_file(path)
    waves = {name.removeprefix("wav."): wave for name, wave in golden.items() if name.startswith("wav.")}
    assert waves
    for name, wave in waves.items():
        for n_mels in (8, 80):
            ours = KaldiFbank(n_mels).push(wave.astype(np.float32) / 32768)
            np.testing.assert_allclose(ours, golden[f"fbank{n_mels}.{name}"], atol=2e-3, err_msg=name)


READERS = {"mel.safetensors": whisper, "features.safetensors": kaldi}
