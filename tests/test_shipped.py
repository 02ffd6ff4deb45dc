"""The weights that come along: small enough, and they converse."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

import duologue
from duologue.systems import omni_flatten
from spoken import spoken

WEIGHTS = Path(duologue.__file__).parent / "weights"


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 40 * 10**6


def test_omni_flatten_hears_a_request_and_answers_it_aloud() -> None:
    session = omni_flatten.session(now=lambda: datetime(2026, 1, 5, 9))
    conversation = duologue.converse(session, spoken("say the red bird dances in the forest"))
    heard, wrote = (
        "".join(event.data["text"] for event in conversation.events if event.kind == kind).strip()
        for kind in ("heard", "wrote")
    )
    assert heard == "Say the red bird dances in the forest"
    assert wrote == "The red bird dances in the forest."
    assert np.abs(conversation.sound[:, 1]).max() > 0.1
