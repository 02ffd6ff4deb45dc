"""Full-Duplex-Bench with the benchmark's own figures and ours side by side, sample by sample and over many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from duologue.evaluate import full_duplex_bench as ours
from duologue.evaluate import full_duplex_bench_official as official
from duologue.evaluate.delay import Response, Yielding
from duologue.evaluate.distribution import Spread
from duologue.evaluate.full_duplex_bench import TimedWord
from duologue.evaluate.timing import Span

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Scores:
    """One sample under both rules; None where a figure does not exist."""

    official: Figures
    corrected: Figures


def pause(words: Sequence[TimedWord], pauses_s: Sequence[official.Segment], user_end_s: float | None) -> Scores:
    """`pauses_s`: the user's pauses, start and end in seconds."""
    score = ours.pause(words, [Span.of_seconds(*p) for p in pauses_s], user_end_s)
    return Scores(
        {"tor": official.pause_tor(words)},
        {"tor": score.tor, "spoke_before": score.spoke_before, "spoke_after": score.spoke_after},
    )


def smooth_turn(words: Sequence[TimedWord], turn_end_s: float) -> Scores:
    return Scores(_official_turn(words, turn_end_s), _answer(ours.smooth_turn(words, turn_end_s)))


def interruption(
    words: Sequence[TimedWord], words_after: Sequence[TimedWord], interruption_s: official.Segment
) -> Scores:
    """`words` of the whole output; `words_after` as an ASR hears the output cut off before the interruption's end,
    which is all that the official scorer sees."""
    gives_way, answer = ours.interruption(words, Span.of_seconds(*interruption_s))
    return Scores(_official_turn(words_after, interruption_s[1]), _stop(gives_way) | _answer(answer))


def backchannel(
    segments_s: Sequence[official.Segment],
    words: Sequence[TimedWord],
    duration_s: float,
    reference: Sequence[float],
) -> Scores:
    theirs = official.backchannel(segments_s, words, duration_s, reference)
    score = ours.backchannel([Span.of_seconds(*s) for s in segments_s], words, duration_s, reference)
    return Scores(
        {"tor": theirs.tor, "per_minute": 60 * theirs.frequency_hz, "jsd": theirs.jsd},
        {"tor": score.tor, "per_minute": score.per_minute, "js_bits": score.js_bits, "skill": score.skill},
    )


def timing(
    user_s: Sequence[official.Segment], model_s: Sequence[official.Segment], event_s: official.Segment
) -> Scores:
    """v1.5, from the segments of a VAD on both channels; `event_s` is what the user says over the model."""
    theirs = official.timing(user_s, model_s)
    gives_way, answer = ours.timing([Span.of_seconds(*s) for s in model_s], Span.of_seconds(*event_s))
    return Scores(
        {"stop_s": _mean_length_s(theirs.stop), "latency_s": _mean_length_s(theirs.response)},
        _stop(gives_way) | _answer(answer),
    )


def _official_turn(words: Sequence[TimedWord], turn_end_s: float) -> dict[str, float | None]:
    return {"tor": official.turn_tor(words), "latency_s": official.latency_s(words, turn_end_s)}


def _answer(answer: Response) -> dict[str, float | None]:
    """Early and late answers are counted, and kept out of the latency."""
    on_time = answer.verdict == "on_time" and answer.latency_ms is not None
    return {
        "tor": on_time,
        "early": answer.verdict == "early",
        "late": answer.verdict == "late",
        "latency_s": answer.latency_ms / 1000 if on_time and answer.latency_ms is not None else None,
    }


def _stop(gives_way: Yielding) -> dict[str, float | None]:
    stop_s = None if gives_way.stop_ms is None else gives_way.stop_ms / 1000
    return {"was_talking": gives_way.was_talking, "yielded": gives_way.yielded, "stop_s": stop_s}


def _mean_length_s(segments: Sequence[official.Segment]) -> float | None:
    return sum(end_s - start_s for start_s, end_s in segments) / len(segments) if segments else None


# ---------------------------------------------------------------- over many samples


@dataclass(frozen=True)
class SideBySide:
    """Each figure over the samples in which it exists: `n` of them, mean and quantiles."""

    samples: int
    official: Mapping[str, Spread]
    corrected: Mapping[str, Spread]


def side_by_side(scores: Sequence[Scores]) -> SideBySide:
    """The table of one task. Raises nothing where no sample has a figure: its mean is None."""
    return SideBySide(len(scores), _spreads([s.official for s in scores]), _spreads([s.corrected for s in scores]))


def _spreads(samples: Sequence[Figures]) -> dict[str, Spread]:
    names = samples[0] if samples else ()
    return {name: Spread.of([v for s in samples if (v := s[name]) is not None]) for name in names}
