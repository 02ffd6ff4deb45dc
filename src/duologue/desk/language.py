"""Spelling words and repeating phrases."""

from __future__ import annotations

from random import Random

from duologue.desk.intents import Asked, Content, Intent, Solution, sentence_case
from duologue.desk.kinds import Kind, Values, composed, names

_WORDS = """
    apple banana bread butter candle carpet castle chair cheese circle cloud coffee cotton desert dinner doctor
    dragon engine family farmer feather finger flower forest friend garden giraffe guitar hammer harbor honey horse
    island jacket jungle kitchen kitten ladder lemon letter lion market mirror monkey mother mountain music needle
    number orange paper pencil pepper picture planet pocket potato queen rabbit river rocket salad school season
    shadow silver sister soldier spoon square station summer sunset table teacher thunder ticket tiger tomato travel
    turtle umbrella valley village violin voice water weather window winter wizard yellow zebra
"""
WORD = names("word", "; ".join(f"{word} = {word}" for word in _WORDS.split()), open=r"[a-z']+")

_ADJECTIVE = names(
    "adjective",
    """
    the red = 红色的; the blue = 蓝色的; the green = 绿色的; the white = 白色的; the little = 小小的;
    the old = 老; the happy = 快乐的; the quiet = 安静的
    """,
)
_ACTOR = names(
    "actor",
    """
    bird = 鸟; horse = 马; rabbit = 兔子; monkey = 猴子; lion = 狮子; turtle = 乌龟; king = 国王;
    teacher = 老师
    """,
)
_PLACE = names(
    "place",
    """
    in the garden = 在花园里; on the table = 在桌子上; under the bridge = 在桥下; by the river = 在河边;
    at the station = 在车站; in the forest = 在森林里; behind the school = 在学校后面
    """,
)
_DEED = names("deed", "sleeps = 睡觉; sings = 唱歌; dances = 跳舞; waits = 等待; smiles = 微笑")
PHRASE = composed("phrase", (_ADJECTIVE, _ACTOR, _DEED, _PLACE), order_zh=(0, 1, 3, 2))


def _spell(asked: Asked) -> Solution:
    letters = str(asked.values["word"]).replace("'", "").upper()
    text = ", ".join(letters) + asked.said(".", "。")
    return Solution(text, Content("letters", (letters.lower(),)), reasoning=" then ".join(letters.lower()))


def _repeat(asked: Asked) -> Solution:
    phrase = PHRASE.say(asked.values["phrase"], asked.language)
    text = sentence_case(phrase) + asked.said(".", "。")
    return Solution(text, Content("phrase", (phrase,)), reasoning=f"the phrase is: {phrase}")


def _some_phrase(random: Random) -> Values:
    return {"phrase": random.choice(PHRASE.values)}


def _alphabetical(asked: Asked) -> Solution:
    first, second, third = sorted(str(asked.values[slot]) for slot in "abc")
    text = asked.said(f"{first}, then {second}, then {third}.", f"先是{first}，然后是{second}，最后是{third}。")
    return Solution(
        sentence_case(text), Content("words", (first, second, third)), reasoning=f"{first} {second} {third}"
    )


def _three_words(random: Random) -> Values:
    return dict(zip("abc", random.sample(WORD.values, 3), strict=True))


_KINDS: tuple[Kind, ...] = (WORD, PHRASE)
_W, _P = "<word>{word}", "<phrase>{phrase}"
LANGUAGE = (
    Intent(
        "spell",
        "spelling",
        {
            "en": (f"(how do you spell | spell) [the word] {_W}", f"how is {_W} spelled"),
            "zh": (f"(拼 一下 | 怎么 拼) [单词] {_W}", f"[单词] {_W} 怎么 (拼 | 拼写)"),
        },
        _spell,
        _KINDS,
        lambda random: {"word": random.choice(WORD.values)},
        held_out=True,
    ),
    Intent(
        "repeat",
        "repeating",
        {
            "en": (
                f"(repeat | say) after me {_P}",
                f"(repeat | say) the (words | phrase | sentence) {_P}",
                f"(repeat | say) {_P}",
            ),
            "zh": (f"(请 跟 我 说 | 跟 我 说 | 重复 一遍 | 重复) {_P}",),
        },
        _repeat,
        _KINDS,
        _some_phrase,
        held_out=True,
    ),
    Intent(
        "alphabetical",
        "ordering",
        {
            "en": ("(put | sort) [the words] <word>{a} <word>{b} and <word>{c} in alphabetical order",),
            "zh": ("把 <word>{a} 和 <word>{b} 和 <word>{c} 按 字母 顺序 (排列 | 排序)",),
        },
        _alphabetical,
        (WORD,),
        _three_words,
    ),
)
