"""Units spoken in any pieces are the utterance spoken at once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.units.codec import decode_whole
from duologue.units.speaking import Speaking
from small_units import UNIT, decoder


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 59), max_size=4), max_size=6), st.sampled_from([0, 2]))
def test_spoken_in_pieces_is_spoken_at_once(pieces: list[list[int]], ahead: int) -> None:
    speaking, units = Speaking(decoder(ahead)), [unit for piece in pieces for unit in piece]
    sounds = [speaking.say(piece) for piece in pieces]
    final = sum(map(len, sounds))
    assert final == max(0, len(units) - ahead) * UNIT
    sound = np.concatenate([*sounds, speaking.say([], last=True)])
    whole = decode_whole(decoder(ahead), torch.tensor([[units]], dtype=torch.int64))[0].clamp(-1, 1).numpy()
    assert sound.shape == whole.shape
    np.testing.assert_allclose(sound, whole, atol=1e-5)
