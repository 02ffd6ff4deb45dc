"""Greetings, thanks and small talk; what the desk says when it has no answer."""

from __future__ import annotations

from collections.abc import Callable

from duologue.desk.intents import Asked, Content, Intent, Solution
from duologue.desk.kinds import names
from duologue.desk.rules import Language

ABILITIES: dict[Language, str] = {
    "en": "I can do sums, tell the time, spell words, change units, take coffee orders and set timers.",
    "zh": "我会算数、报时、拼单词、换算单位、点咖啡和定时。",
}
NOT_MINE: dict[Language, str] = {
    "en": f"I'm sorry, I don't know about that. {ABILITIES['en']}",
    "zh": f"对不起，这个我不懂。{ABILITIES['zh']}",
}
NOT_HEARD: dict[Language, str] = {"en": "Sorry, I didn't catch that.", "zh": "对不起，我没听清。"}

HOUR = names("part_of_day", "morning = 早上; afternoon = 下午; evening = 晚上")


def _says(en: str, zh: str) -> Callable[[Asked], Solution]:
    def solve(asked: Asked) -> Solution:
        return Solution(asked.said(en, zh), Content("phrase", (asked.said(en, zh),)))

    return solve


def _good_time_of_day(asked: Asked) -> Solution:
    part = HOUR.say(asked.values["part"], asked.language)
    text = asked.said(f"Good {part}. How can I help you?", f"{part}好，有什么可以帮您？")
    return Solution(text, Content("phrase", (text,)))


def _chat(name: str, en: str, zh: str, answer_en: str, answer_zh: str) -> Intent:
    rules: dict[Language, tuple[str, ...]] = {"en": (en,), "zh": (zh,)}
    return Intent(name, "chat", rules, _says(answer_en, answer_zh), draw=lambda random: {})


SMALL_TALK = (
    _chat(
        "hello",
        "hello [there] | hi [there] | hey",
        "你好 | 您好",
        "Hello. How can I help you?",
        "你好，有什么可以帮您？",
    ),
    Intent(
        "good_day",
        "chat",
        {"en": ("good <part_of_day>{part}",), "zh": ("<part_of_day>{part} 好",)},
        _good_time_of_day,
        (HOUR,),
        lambda random: {"part": random.choice(HOUR.values)},
    ),
    _chat(
        "thanks",
        "thank you [very much | so much] | thanks [a lot]",
        "谢谢 [你 | 您] | 多谢 | 非常 感谢",
        "You're welcome.",
        "不客气。",
    ),
    _chat("goodbye", "goodbye | bye [bye] | see you [later]", "再见 | 拜拜 | 回头 见", "Goodbye.", "再见。"),
    _chat(
        "how_are_you",
        "how are you [today | doing]",
        "你 好 吗 | 你 怎么样 | 最近 好 吗",
        "I'm fine, thank you.",
        "我很好，谢谢。",
    ),
    _chat(
        "who_are_you",
        "who are you | what is your name | what's your name",
        "你 是 谁 | 你 叫 什么 [名字]",
        "I am the desk of duologue.",
        "我是对话台。",
    ),
    _chat(
        "what_can_you_do",
        "what can you do | what do you know | help [me] | can you help me",
        "你 会 什么 | 你 能 做 什么 | 帮帮我",
        ABILITIES["en"],
        ABILITIES["zh"],
    ),
    _chat(
        "robot",
        "are you (a robot | a machine | human | real)",
        "你 是 (机器人 | 真人 | 人) 吗",
        "I am a program that listens and speaks.",
        "我是一个会听会说的程序。",
    ),
    _chat(
        "nice_to_meet_you",
        "nice to meet you | pleased to meet you",
        "很 高兴 认识 你 | 幸会",
        "Nice to meet you too.",
        "我也很高兴认识您。",
    ),
    _chat(
        "well_done",
        "well done | good job | very good | great | that's right",
        "做得好 | 很 好 | 太 好 了 | 真 棒",
        "Thank you.",
        "谢谢。",
    ),
    _chat("sorry", "i'm sorry | sorry | excuse me", "对不起 | 不好意思 | 抱歉", "No problem.", "没关系。"),
)
