"""What LLaMA-Omni's speech decoder cannot learn is told before it tries: CTC itself would be silent."""

from __future__ import annotations

import pytest
import torch

from duologue.data.tensors import collate
from duologue.systems.llama_omni_stages import PAD, Exchange, SpeakingLessons, speaking_examples
from small_llama import tiny

SAID = (
    "{} has 4 units for 2 text tokens: they need 7 labels, as equal ones need a blank between, and there are 4; "
    "leave it out, merge equal units, or give more labels_per_token than 2"
)


def test_units_that_cannot_be_said_are_told_before_training() -> None:
    """Four equal units need three blanks between."""
    told = [[Exchange("what is two", "two", (1, 2, 3, 4))], [Exchange("what is four", "four", (3, 3, 3, 3))]]
    with pytest.raises(ValueError, match=SAID.format("the answer 'four'")):
        list(speaking_examples(tiny(labels=2), told))
    assert len(list(speaking_examples(tiny(labels=4), told))) == 2


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_in_which_they_are_is_refused(training: bool) -> None:
    told = [[Exchange("what is two", "two", (1, 2, 3))], [Exchange("what is four", "four", (3, 3, 3, 3))]]
    batch = collate([[example] for example in speaking_examples(tiny(labels=4), told)], PAD)
    assert torch.isfinite(SpeakingLessons(tiny(labels=4)).train(training)(batch))
    with pytest.raises(ValueError, match=SAID.format("row 1 of a batch")):
        SpeakingLessons(tiny(labels=2)).train(training)(batch)
