"""What a corpus shall be: everything that its sound depends on, in one value."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from duologue.desk.questions import Split
from duologue.desk.rules import LANGUAGES, Language
from duologue.desk.world import chosen_topics
from duologue.synthesis.timing import TIMINGS
from duologue.synthesis.voice import voices

Says = Literal["questions", "answers"]
RecordKind = Literal["dialogues", "utterances"]
Range = tuple[float, float]
RANGES = ("snr_db", "pitch", "words_per_minute", "level_db", "reverb_s", "direct_db", "side_talk_db")


@dataclass(frozen=True)
class Plan:
    """`count` recordings, made anew from this alone. Ranges are (least, most), drawn evenly.

    kind               two-channel dialogues (user left, assistant right), or single utterances
    says               which side's sentences the utterances are; answers are in the assistant's voice, clean
    split              of the desk's combinations, of the voices and of the noises
    language, topics   None: all that the desk has
    exchanges          questions in a dialogue
    timing             a key of `TIMINGS`
    voices             the users', of the split's; None: all of them
    assistant          its one voice in English and in Mandarin
    noises             folder with a manifest.jsonl of noises; None: synthetic noise
    snr_db             None: no noise
    pitch, words_per_minute, level_db   how users speak
    room_share, reverb_s, direct_db     users in rooms, and how much of them is heard
    side_talk_share, side_talk_db       dialogues in which somebody else talks, against the user's level
    asr                name of a recogniser (`engines.named`) that has to follow the user's turns; None: rules only
    """

    count: int
    kind: RecordKind = "dialogues"
    seed: int = 0
    split: Split = "train"
    language: Language | None = "en"
    topics: tuple[str, ...] | None = None
    says: Says = "questions"
    exchanges: tuple[int, int] = (2, 4)
    timing: str = "human"
    voices: tuple[str, ...] | None = None
    assistant: tuple[str, str] = ("flite:slt", "espeak:cmn")
    noises: str | None = None
    snr_db: Range | None = (15.0, 30.0)
    pitch: Range = (0.92, 1.1)
    words_per_minute: tuple[int, int] = (140, 190)
    level_db: Range = (-32.0, -20.0)
    room_share: float = 0.5
    reverb_s: Range = (0.1, 0.5)
    direct_db: Range = (5.0, 20.0)
    side_talk_share: float = 0.1
    side_talk_db: Range = (-20.0, -10.0)
    asr: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be made."""
        if self.count < 1:
            raise ValueError(f"a corpus has at least one recording, not {self.count}")
        if not 1 <= self.exchanges[0] <= self.exchanges[1]:
            raise ValueError(f"a dialogue has at least one question, least before most, not {self.exchanges}")
        for name in RANGES:
            least, most = getattr(self, name) or (0, 0)
            if not -math.inf < least <= most < math.inf:
                raise ValueError(f"{name} is two numbers, least before most, not {least} and {most}")
        chosen_topics(self.topics)
        for name, value, known in (
            ("kind", self.kind, get_args(RecordKind)),
            ("split", self.split, get_args(Split)),
            ("says", self.says, get_args(Says)),
            ("language", self.language, (None, *LANGUAGES)),
            ("timing", self.timing, tuple(TIMINGS)),
        ):
            if value not in known:
                raise ValueError(f"{name} {value!r} is unknown; choose one of {', '.join(map(str, known))}")
        for language in self.languages:
            self.users(language)
            voices("train", language, (self.assistant_in(language),))

    @property
    def languages(self) -> tuple[Language, ...]:
        return LANGUAGES if self.language is None else (self.language,)

    def assistant_in(self, language: Language) -> str:
        """Name of the assistant's voice: the same in both splits, never one for testing only."""
        return self.assistant[LANGUAGES.index(language)]

    def users(self, language: Language) -> tuple[str, ...]:
        """Names of the users' voices."""
        return voices(self.split, language, self.voices)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
