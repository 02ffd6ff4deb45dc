"""Mini-Omni's table: what is timed, and from when on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from duologue.sound import Audio
from duologue.systems.mini_omni_decoding import Decoding
from duologue.systems.mini_omni_model import MiniOmni
from duologue.systems.mini_omni_turns import Talker, nano
from small_mini import kept
from test_mini_omni_turns import answer as told
from test_mini_omni_turns import sound
from test_recipes import recipe


def test_first_sound_is_timed_from_the_end_of_the_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last turn: hearing takes 100 s here, a prompt 10, any other step 1."""
    table, seconds, embedded = recipe("mini_omni_table"), [0.0], MiniOmni.embedded
    kept(tmp_path / "model")
    talking = nano(tmp_path / "model")
    talking.model.added.books.embedding.weight.data[talking.model.config.marks.eoa] = 0  # it always has a sound to say

    def hears(audio: Audio) -> Tensor:
        seconds[0] += 100
        return talking.hears(audio)

    def slowly(model: MiniOmni, tokens: Tensor, *more: Tensor) -> Tensor:
        seconds[0] += 10 if tokens.shape[1] > 1 else 1
        return embedded(model, tokens, *more)

    monkeypatch.setattr(MiniOmni, "embedded", slowly)
    turns = [sound(seed=1), sound(seed=2)]
    made = table.said(replace(talking, hears=hears), turns[1:], "A1A2", True, lambda: seconds[0])
    assert made.first_ms == 1000 * (100 + 10 + made.first_steps)
    again = table.said(replace(talking, hears=hears), turns, "A1A2", True, lambda: seconds[0])
    assert again.first_ms == 1000 * (100 + 10 + again.first_steps)
    text, _ = told(Talker(talking, how=Decoding(parallel=True, most_steps=table.MOST_STEPS)), 0, (), seed=2)
    assert talking.text_of(made.ids, ())[0] == text
