"""Recognisers hear what was said, the same whatever was heard before, and fail with one clear reason."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.desk import grammar
from duologue.engines import EngineError
from duologue.engines.asr import OpenAITranscriber, PocketSphinx, Whisper
from duologue.engines.asr_grammar import bigram, unmarked
from duologue.engines.asr_sound import full_band, with_floor
from duologue.session import HEARD_HZ, Audio
from duologue.sound.wav import read, resample

CARDS = "#JSGF V1.0; grammar cards; public <card> = <n> of (clubs | spades | hearts); <n> = ten | seven | four | two;"
WALKS = "#JSGF V1.0; grammar walks; public <walk> = go (forward | back) (ten | two | five) meters;"
BAD_GRAMMARS = {
    "what is no grammar": "ten of clubs",
    "a rule that is nowhere": "#JSGF V1.0; grammar g; public <a> = <b>;",
    "a word that nobody can say": "#JSGF V1.0; grammar g; public <a> = xqzzt;",
}


@pytest.fixture(scope="module")
def ears() -> PocketSphinx:
    return PocketSphinx([CARDS, WALKS])


@pytest.fixture(scope="module")
def said(shared: Path) -> dict[str, Audio]:
    folder = shared / "data" / "audio" / "fixtures"
    return {name: read(folder / f"{name}.flac", HEARD_HZ) for name in ("goforward", "cards_001", "cards_003")}


# ---------------------------------------------------------------- pocketsphinx


@pytest.mark.parametrize(
    ("recording", "text"),
    [("goforward", "go forward ten meters"), ("cards_001", "ten of clubs"), ("cards_003", "seven of clubs")],
)
def test_what_fits_a_grammar_is_heard_with_it(
    ears: PocketSphinx, said: dict[str, Audio], recording: str, text: str
) -> None:
    assert ears.transcribe(said[recording]).text == text


def test_what_does_not_fit_the_grammar_is_not_forced_into_it(said: dict[str, Audio]) -> None:
    ears = PocketSphinx([grammar("en", [topic]) for topic in ("order", "sums")])
    assert ears.transcribe(said["goforward"]).text == PocketSphinx().transcribe(said["goforward"]).text


@pytest.mark.parametrize("sound", [np.zeros(0), np.zeros(HEARD_HZ), np.full(5, 0.1), np.zeros(1)], ids=len)
def test_in_silence_nothing_is_heard(ears: PocketSphinx, sound: Audio) -> None:
    assert ears.transcribe(sound.astype(np.float32)).text == ""


def test_in_noise_nothing_is_heard(ears: PocketSphinx) -> None:
    noise = 0.05 * np.random.default_rng(1).standard_normal(2 * HEARD_HZ)
    assert ears.transcribe(noise.astype(np.float32)).text == ""


def test_the_transcript_does_not_depend_on_what_was_heard_before(said: dict[str, Audio]) -> None:
    fresh = PocketSphinx(WALKS).transcribe(said["goforward"])
    used = PocketSphinx(WALKS)
    loud = np.random.default_rng(0).uniform(-1, 1, HEARD_HZ).astype(np.float32)
    for before in (said["cards_003"], loud, said["goforward"]):
        used.transcribe(before)
        assert used.transcribe(said["goforward"]) == fresh


def test_callers_at_once_hear_what_each_would_hear_alone(ears: PocketSphinx, said: dict[str, Audio]) -> None:
    asked = [*said.values()] * 3
    with ThreadPoolExecutor(len(asked)) as callers:
        together = list(callers.map(ears.transcribe, asked))
    assert together == [ears.transcribe(audio) for audio in asked]


def test_a_recogniser_that_died_fails_one_utterance_and_hears_the_next(said: dict[str, Audio]) -> None:
    ears = PocketSphinx(CARDS)
    expected = ears.transcribe(said["cards_001"])
    process = ears._process._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(EngineError, match="next utterance"):
        ears.transcribe(said["cards_001"])
    assert ears.transcribe(said["cards_001"]) == expected


@pytest.mark.parametrize("rules", BAD_GRAMMARS.values(), ids=BAD_GRAMMARS)
def test_a_grammar_that_cannot_be_used_is_named(rules: str) -> None:
    with pytest.raises(EngineError, match=r"grammar|pronunciation"):
        PocketSphinx(rules).transcribe(np.full(HEARD_HZ, 0.1, np.float32))


@pytest.mark.parametrize(
    ("sound", "reason"),
    [(np.zeros((2, 160)), "mono"), (np.array([0.0, np.nan]), "finite"), (np.array([np.inf]), "finite")],
)
def test_sound_that_is_none_is_refused(ears: PocketSphinx, sound: Audio, reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        ears.transcribe(sound)


# ---------------------------------------------------------------- the grammar as a bigram

ORDERS = "#JSGF V1.0; grammar g; public <a> = [go] (ten | two <b>)+ [meters]; <b> = clubs | ten spades;"


def pairs(model: str) -> dict[str, dict[str, float]]:
    """word: {what may follow: how likely}"""
    rows = [line.split() for line in model.split("\\2-grams:")[1].splitlines()]
    found: dict[str, dict[str, float]] = {}
    for log_p, first, second in (row for row in rows if len(row) == 3):
        found.setdefault(first, {})[second] = 10 ** float(log_p)
    return found


def sentences(followers: dict[str, dict[str, float]], longest: int) -> set[str]:
    """All that may be said in at most `longest` words."""
    found = set()
    open_ends: list[tuple[str, ...]] = [("<s>",)]
    while open_ends:
        path = open_ends.pop()
        for follower in followers.get(path[-1], ()):
            if follower == "</s>":
                found.add(unmarked(" ".join(path[1:])))
            elif len(path) <= longest:
                open_ends.append((*path, follower))
    return found


def test_the_bigram_allows_what_the_grammar_allows_and_nothing_else() -> None:
    model = bigram((CARDS, WALKS)).arpa
    cards = {f"{n} of {suit}" for n in ("ten", "seven", "four", "two") for suit in ("clubs", "spades", "hearts")}
    walks = {f"go {way} {n} meters" for way in ("forward", "back") for n in ("ten", "two", "five")}
    assert sentences(pairs(model), 9) == cards | walks


def test_repeated_and_optional_parts_are_kept() -> None:
    model = bigram((ORDERS,)).arpa
    allowed = re.compile(r"(go )?((ten|two (clubs|ten spades)) ?)+( ?meters)?")
    said = sentences(pairs(model), 5)
    assert {"ten", "go two clubs", "ten two ten spades meters", "go ten ten ten meters"} <= said
    assert all(allowed.fullmatch(sentence) for sentence in said)


def test_what_follows_a_word_adds_up_to_one() -> None:
    for rules in (CARDS, WALKS, ORDERS):
        for following in pairs(bigram((rules,)).arpa).values():
            assert sum(following.values()) == pytest.approx(1, abs=2e-3)


def test_topics_are_equally_likely() -> None:
    first = pairs(bigram((CARDS, WALKS)).arpa)["<s>"]
    assert sum(p for word, p in first.items() if unmarked(word) == "go") == pytest.approx(0.5, abs=1e-3)


def test_equal_endings_are_one() -> None:
    endings = [word for word in pairs(bigram((CARDS,)).arpa) if unmarked(word) in ("clubs", "spades", "hearts")]
    assert len(endings) == 3


def test_leaps_are_counted_where_words_leave_the_grammar() -> None:
    found = bigram((CARDS, WALKS))
    follows = pairs(found.arpa)
    card = ["<s>"]
    while card[-1] != "</s>":
        card.append(min(follows[card[-1]]))
    assert found.leaps(card[1:-1]) == 0
    assert found.leaps(card[1:-2]) == 1
    assert found.leaps(card[1:-1] * 2) == 1
    assert found.leaps(card[-2:0:-1]) == len(card) - 1


def test_the_same_grammars_give_the_same_bigram() -> None:
    assert bigram((CARDS, WALKS)) == bigram((CARDS, WALKS))


# ---------------------------------------------------------------- sound


def test_sound_with_its_upper_band_is_left_as_it_is() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)
    assert full_band(noise) is noise


def test_the_upper_band_of_a_telephone_is_filled_and_the_lower_band_kept() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    narrow = resample(noise, 8000, HEARD_HZ)
    before, after = (np.abs(np.fft.rfft(x)) for x in (narrow, full_band(narrow)))
    middle = len(before) // 2
    assert after[middle + 500 :].mean() > 20 * before[middle + 500 :].mean()
    assert after[: middle - 1000] == pytest.approx(before[: middle - 1000], abs=6)


@given(st.lists(st.floats(-1, 1, width=32), max_size=600))
def test_the_floor_is_faint_and_always_the_same(samples: list[float]) -> None:
    sound = np.array(samples, np.float32)
    heard = with_floor(sound)
    assert heard.dtype == np.float32
    assert np.array_equal(heard, with_floor(sound))
    assert np.abs(heard - sound).max(initial=0) <= 0.02 * np.abs(sound).max(initial=0)


# ---------------------------------------------------------------- whisper


@pytest.fixture(scope="module")
def little_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, one layer, a vocabulary of bytes: all of the real loading and writing, none of the size."""
    import torch
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder = tmp_path_factory.mktemp("whisper")
    letters = [*bytes_to_unicode().values()]
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    tokenizer = WhisperTokenizer(vocab={t: i for i, t in enumerate([*letters, *special])}, merges=[])
    end, start, plain = (tokenizer.convert_tokens_to_ids(token) for token in special)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_target_positions": 16}
    heads = {
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
    }
    ids = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=len(letters) + 3, **sizes, **heads, **ids))
    model.generation_config.update(is_multilingual=False, no_timestamps_token_id=plain, max_length=12, **ids)
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def test_whisper_writes_the_same_for_the_same_sound(little_whisper: Path) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(HEARD_HZ).astype(np.float32)
    first = Whisper(str(little_whisper)).transcribe(sound)
    assert first.text
    assert Whisper(str(little_whisper)).transcribe(sound) == first


def test_a_whisper_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no Whisper model at"):
        Whisper(str(tmp_path)).transcribe(np.zeros(160, np.float32))


# ---------------------------------------------------------------- an endpoint


class Ear(BaseHTTPRequestHandler):
    """Answers every transcription with "good morning"; those for the model "broken" with an error."""

    asked: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, body))
        broken = b"broken" in body
        answer = b'{"error": {"message": "no such model"}}' if broken else b'{"text": " good morning "}'
        self.send_response(400 if broken else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def base_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_an_endpoint_is_sent_the_sound_as_wav(base_url: str) -> None:
    sound = np.linspace(-1, 1, 1600, dtype=np.float32)
    assert OpenAITranscriber("ear-1", base_url, "key").transcribe(sound).text == "good morning"
    path, body = Ear.asked[-1]
    assert path == "/v1/audio/transcriptions"
    assert b"ear-1" in body
    header = body.index(b"RIFF")
    sent = np.frombuffer(body[header + 44 : header + 44 + 3200], "<i2")
    assert sent / 32768 == pytest.approx(sound, abs=1e-4)


def test_an_endpoint_that_fails_is_named(base_url: str) -> None:
    with pytest.raises(EngineError, match="transcription endpoint .* no such model"):
        OpenAITranscriber("broken", base_url, "key").transcribe(np.zeros(160, np.float32))
