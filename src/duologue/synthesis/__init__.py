"""Conversations of the desk, spoken: script -> voice -> timing -> mix -> screen, and the corpus made of them."""

from duologue.synthesis.corpus import Made, check_plan, synthesise
from duologue.synthesis.plan import Plan
from duologue.synthesis.scene import Scene, dialogue_of, remake
from duologue.synthesis.timing import TIMINGS
from duologue.synthesis.voice import VOICES, voices

__all__ = ["TIMINGS", "VOICES", "Made", "Plan", "Scene", "check_plan", "dialogue_of", "remake", "synthesise", "voices"]
