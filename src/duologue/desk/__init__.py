"""The desk: a closed spoken world, in English and Mandarin, whose every answer a program can check."""

from duologue.desk.answering import Answer, Desk
from duologue.desk.checking import check
from duologue.desk.doing import Timer
from duologue.desk.jsgf import grammar
from duologue.desk.knowledge import statements
from duologue.desk.questions import Question, questions
from duologue.desk.rules import Language
from duologue.desk.world import TOPICS

__all__ = ["TOPICS", "Answer", "Desk", "Language", "Question", "Timer", "check", "grammar", "questions", "statements"]
