"""Voices: the same text gives the same sound, and a voice that fails says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import need
from duologue.engines import EngineError, tts
from duologue.engines.tts import TTS, EmbeddedVoice, Espeak, Flite, OpenAISpeech, TransformersVits
from endpoint import Endpoint


def said(voice: TTS, text: str) -> tts.Audio:
    return np.concatenate([np.zeros(0, np.float32), *voice.speak(text)])


@pytest.fixture(params=["flite", "espeak-ng"])
def program(request: pytest.FixtureRequest) -> TTS:
    need(shutil.which(request.param) is not None, request.param)
    return Flite() if request.param == "flite" else Espeak()


def test_a_program_speaks_the_same_way_every_time(program: TTS) -> None:
    first = said(program, "Twelve plus seven is nineteen.")
    assert 1.0 < len(first) / program.hz < 4.0
    assert 0.05 < np.abs(first).max() <= 1.0
    np.testing.assert_array_equal(first, said(program, "Twelve plus seven is nineteen."))


def test_a_voice_begins_at_once_and_does_not_linger(program: TTS) -> None:
    sound = said(program, "Twelve plus seven is nineteen.")
    loud = np.flatnonzero(np.abs(sound) > 0.05 * np.abs(sound).max())
    assert loud[0] / program.hz < 0.08
    assert 0.1 < (len(sound) - loud[-1]) / program.hz < 0.3


@pytest.mark.parametrize("text", ["-o /tmp/x", "--help", "'; rm -rf /", "a\nb", '"quoted" $HOME `ls`', "é € 你"])
def test_text_is_never_an_option_or_a_command(program: TTS, text: str) -> None:
    assert len(said(program, text)) > 0


def test_the_wheel_speaks_where_no_program_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    bundled = Espeak()
    assert len(said(bundled, "Hello there.")) > 0.4 * bundled.hz


def test_no_voice_at_all_is_said_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(tts, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="apt-get install espeak-ng"):
        EmbeddedVoice()


def test_a_voice_of_another_rate_speaks_at_the_same_pace() -> None:
    need(shutil.which("flite") is not None, "flite")
    half, full = (len(said(Flite(voice), "Twelve plus seven is nineteen.")) for voice in ("kal", "kal16"))
    assert 0.8 < half / full < 1.25


def test_an_unknown_voice_is_refused() -> None:
    need(shutil.which("espeak-ng") is not None, "espeak-ng")
    with pytest.raises(EngineError, match="espeak-ng failed"):
        said(Espeak("zz-nobody"), "Hello.")


def test_the_embedded_voice_speaks_both_languages_at_one_rate() -> None:
    voice = EmbeddedVoice()
    for text in ("Good morning.", "早上好。"):
        assert 0.4 < len(said(voice, text)) / voice.hz < 3.0
    assert len(said(voice, "…!")) == 0


def test_a_vits_model_of_transformers_speaks(tmp_path: Path) -> None:
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    small = {
        "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 16,
        "flow_size": 16, "spectrogram_bins": 9, "posterior_encoder_num_wavenet_layers": 1,
        "prior_encoder_num_wavenet_layers": 1, "prior_encoder_num_flows": 1, "duration_predictor_num_flows": 1,
        "depth_separable_num_layers": 1, "upsample_initial_channel": 16, "upsample_rates": [4, 4],
        "upsample_kernel_sizes": [8, 8], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]],
    }  # fmt: skip
    VitsModel(VitsConfig(**small)).save_pretrained(tmp_path)
    vocabulary = tmp_path / "vocab.json"
    vocabulary.write_text('{"' + '": 0, "'.join("abcdefghijklmnopqrstuvwxyz ") + '": 1, "<unk>": 2, "<pad>": 3}')
    VitsTokenizer(str(vocabulary), phonemize=False).save_pretrained(tmp_path)
    voice = TransformersVits(str(tmp_path))
    first = said(voice, "hello there")
    assert len(first) > 0
    np.testing.assert_array_equal(first, said(voice, "hello there"))


def test_a_missing_model_is_named() -> None:
    with pytest.raises(EngineError, match="no VITS model at '/no/such/model'"):
        TransformersVits("/no/such/model")


def test_an_endpoint_speaks_and_its_failure_is_told() -> None:
    endpoint, samples = Endpoint(), np.arange(-3000, 3000, dtype="<i2")
    endpoint.pcm = samples.tobytes()
    with endpoint.running() as url:
        voice = OpenAISpeech("tts", base_url=url, api_key="k")
        np.testing.assert_allclose(said(voice, "Hello."), samples / 32768, atol=1e-6)
        assert endpoint.asked[0]["input"] == "Hello."
        endpoint.fails = True
        with pytest.raises(EngineError, match="speech endpoint .* failed"):
            said(voice, "Hello.")
