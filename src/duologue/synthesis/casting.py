"""From a plan and a script to a scene: voices, times, noise and room are drawn, all of one generator."""

from __future__ import annotations

from dataclasses import replace

from numpy.random import Generator

from duologue.desk.rules import Language
from duologue.dialogue import Speaker
from duologue.synthesis.mix import Noise, Room
from duologue.synthesis.placing import Event, Who, place
from duologue.synthesis.plan import Plan
from duologue.synthesis.scene import ASSISTANT_DB, Scene, said_ms
from duologue.synthesis.script import Script
from duologue.synthesis.timing import TIMINGS
from duologue.synthesis.voice import Manner

TAIL_S = 0.8
"""Of a dialogue, after its last sound."""
EDGE_S = (0.1, 0.4)
"""Of an utterance, before and after it."""
SIDE_TALK: dict[Language, tuple[str, ...]] = {
    "en": (
        "did you lock the front door",
        "dinner is almost ready",
        "where did you put my keys",
        "the bus is late again",
        "can somebody open the window",
        "I talked to my brother yesterday",
        "we should leave soon",
        "this music is too loud",
    ),
    "zh": (
        "你锁门了没有",
        "饭快做好了",
        "我的钥匙放哪儿了",
        "公交车又晚点了",
        "谁把窗户打开",
        "我们该走了",
        "音乐太吵了",
    ),
}
"""Said to somebody else: the assistant has no part in it."""


def dialogue(plan: Plan, script: Script, noises: tuple[str, ...], rng: Generator) -> Scene:
    """A dialogue of the script, with a bystander in some."""
    manners: dict[Who, Manner] = {
        "user": _manner(plan, script.language, rng),
        "assistant": _assistant(plan, script.language),
    }

    def length_ms(speaker: Speaker, text: str) -> int:
        return said_ms(manners[speaker], text)

    events = place(script, TIMINGS[plan.timing](), length_ms, rng)
    duration_s = round(max(event.end_s for event in events) + TAIL_S, 3)
    scene = _heard(plan, Scene(duration_s, manners, events, 0.0), noises, rng)
    return _with_side_talk(plan, scene, script.language, rng) if rng.random() < plan.side_talk_share else scene


def utterance(plan: Plan, script: Script, noises: tuple[str, ...], rng: Generator) -> Scene:
    """One sentence of a script with one question: that in a user's voice, or its answer in the assistant's."""
    by_user = plan.says == "questions"
    turn = script.asked_in[0] + (0 if by_user else 1)
    line = script.lines[turn]
    manner = _manner(plan, script.language, rng) if by_user else _assistant(plan, script.language)
    start_s, tail_s = (round(float(rng.uniform(*EDGE_S)), 3) for _ in range(2))
    end_s = round(start_s + said_ms(manner, line.spoken) / 1000, 3)
    event = Event(line.speaker, start_s, end_s, line.text, line.spoken, turn=turn)
    scene = Scene(round(end_s + tail_s, 3), {line.speaker: manner}, (event,), ASSISTANT_DB)
    return _heard(plan, scene, noises, rng) if by_user else scene


# ---------------------------------------------------------------- draws


def _manner(plan: Plan, language: Language, rng: Generator) -> Manner:
    return Manner(
        voice=str(rng.choice(plan.users(language))),
        pitch=round(float(rng.uniform(*plan.pitch)), 3),
        words_per_minute=int(rng.integers(*plan.words_per_minute, endpoint=True)),
    )


def _assistant(plan: Plan, language: Language) -> Manner:
    return Manner(plan.assistant_in(language))


def _heard(plan: Plan, scene: Scene, noises: tuple[str, ...], rng: Generator) -> Scene:
    """The scene with the user's level, room and noise."""
    return replace(
        scene,
        level_db=round(float(rng.uniform(*plan.level_db)), 2),
        room=_room(plan, rng) if rng.random() < plan.room_share else None,
        noise=_noise(plan.snr_db, noises, rng) if plan.snr_db else None,
    )


def _room(plan: Plan, rng: Generator) -> Room:
    reverb_s, direct_db = (round(float(rng.uniform(*span)), 3) for span in (plan.reverb_s, plan.direct_db))
    return Room(reverb_s, direct_db, _seed(rng))


def _noise(snr_db: tuple[float, float], noises: tuple[str, ...], rng: Generator) -> Noise:
    drawn_db = round(float(rng.uniform(*snr_db)), 2)
    if not noises:
        return Noise(drawn_db, colour=round(float(rng.uniform(0, 2)), 2), seed=_seed(rng))
    return Noise(drawn_db, str(rng.choice(noises)), round(float(rng.uniform(0, 60)), 3))


def _with_side_talk(plan: Plan, scene: Scene, language: Language, rng: Generator) -> Scene:
    """The scene with another voice that talks to somebody else, at any time."""
    text = str(rng.choice(SIDE_TALK[language]))
    manner = _manner(plan, language, rng)
    lasts_s = said_ms(manner, text) / 1000
    start_s = round(float(rng.uniform(0, max(0.0, scene.duration_s - lasts_s))), 3)
    end_s = round(min(start_s + lasts_s, scene.duration_s), 3)
    spoken = Event("bystander", start_s, end_s, text, text, "side_talk", cut=end_s < start_s + lasts_s)
    return replace(
        scene,
        manners={**scene.manners, "bystander": manner},
        events=(*scene.events, spoken),
        side_talk_db=round(float(rng.uniform(*plan.side_talk_db)), 2),
    )


def _seed(rng: Generator) -> int:
    return int(rng.integers(2**31))
