"""Clock and calendar."""

from __future__ import annotations

import datetime
from random import Random

from duologue.desk import numbers
from duologue.desk.intents import Asked, Content, Intent, Solution, sentence_case
from duologue.desk.kinds import NUMBER, Kind, Values, names
from duologue.desk.times import DURATION, HALF_DAY_MINUTES, TIME, say_time, write_time

WEEKDAY = names(
    "weekday",
    """
    Monday = 星期一, 周一, 礼拜一; Tuesday = 星期二, 周二, 礼拜二; Wednesday = 星期三, 周三, 礼拜三;
    Thursday = 星期四, 周四, 礼拜四; Friday = 星期五, 周五, 礼拜五; Saturday = 星期六, 周六, 礼拜六;
    Sunday = 星期天, 星期日, 周日, 礼拜天
    """,
)
MONTH = names(
    "month",
    """
    January = 一月; February = 二月; March = 三月; April = 四月; May = 五月; June = 六月; July = 七月;
    August = 八月; September = 九月; October = 十月; November = 十一月; December = 十二月
    """,
)
_DAYS = dict(zip(MONTH.values, (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
SIDE = names("side", "after = 后, 以后, 之后; before = 前, 以前, 之前")
_ORDINALS = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
    fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
"""


# ---------------------------------------------------------------- answering


def _time_after(asked: Asked) -> Solution:
    minutes = asked.number("duration") // 60
    result = (asked.number("time") + (minutes if asked.values["side"] == "after" else -minutes)) % HALF_DAY_MINUTES
    said = say_time(result, asked.language)
    sign = "+" if asked.values["side"] == "after" else "-"
    reasoning = f"{write_time(asked.values['time'], 'en')} {sign} {minutes} minutes = {write_time(result, 'en')}"
    text = sentence_case(asked.said(f"{said}.", f"{said}。"))
    return Solution(text, Content("minutes", (result,)), reasoning=reasoning)


def _step(asked: Asked, kind: Kind, slot: str, steps: int) -> Solution:
    """The day or month some steps away."""
    at = kind.values.index(asked.values[slot]) + (steps if asked.values["side"] == "after" else -steps)
    result = kind.values[at % len(kind.values)]
    text = kind.write(result, asked.language) + asked.said(".", "。")
    reasoning = f"{asked.values[slot]}, {steps} {asked.values['side']}, is {result}"
    return Solution(text, Content("name", (result,)), reasoning=reasoning)


def _days_away(asked: Asked) -> Solution:
    return _step(asked, WEEKDAY, "weekday", int(asked.values.get("days", 1)))


def _next_month(asked: Asked) -> Solution:
    return _step(asked, MONTH, "month", int(asked.values.get("months", 1)))


def _days_in(asked: Asked) -> Solution:
    month = asked.values["month"]
    days, name = numbers.say(_DAYS[month], asked.language), MONTH.write(month, asked.language)
    text = asked.said(f"{name} has {days} days.", f"{name}有{days}天。")
    if month == "february":
        text = asked.said(f"{text[:-1]}, and one more in a leap year.", f"{text[:-1]}，闰年多一天。")
    return Solution(text, Content("number", (_DAYS[month],)), reasoning=f"{month} has {_DAYS[month]} days")


def _time_now(asked: Asked) -> Solution:
    now = asked.now()
    value = (60 * now.hour + now.minute) % HALF_DAY_MINUTES
    said = say_time(value, asked.language)
    return Solution(asked.said(f"It is {said}.", f"现在是{said}。"), Content("minutes", (value,)))


def _day(asked: Asked) -> Solution:
    offset = {"today": 0, "tomorrow": 1, "yesterday": -1}[str(asked.values["when"])]
    weekday = WEEKDAY.values[(asked.now().weekday() + offset) % 7]
    name, when = WEEKDAY.write(weekday, asked.language), WHEN.write(asked.values["when"], asked.language)
    verb = {0: "is", 1: "will be", -1: "was"}[offset]
    return Solution(asked.said(f"{when} {verb} {name}.", f"{when}是{name}。"), Content("name", (weekday,)))


def _date(asked: Asked) -> Solution:
    today: datetime.datetime = asked.now()
    month, weekday = MONTH.values[today.month - 1], WEEKDAY.values[today.weekday()]
    names_said = MONTH.write(month, asked.language), WEEKDAY.write(weekday, asked.language)
    day = numbers.say(today.day, "zh")
    en = f"Today is {names_said[1]}, {names_said[0]} {say_ordinal(today.day)}."
    return Solution(
        asked.said(en, f"今天是{names_said[0]}{day}日，{names_said[1]}。"), Content("name", (weekday, month))
    )


def say_ordinal(number: int) -> str:
    """1 to 99: "first", "twenty second"."""
    if number <= 20:
        return _ORDINALS.split()[number - 1]
    tens, ones = divmod(number, 10)
    name = numbers.say(10 * tens)
    return f"{name} {_ORDINALS.split()[ones - 1]}" if ones else f"{name[:-1]}ieth"


# ---------------------------------------------------------------- what can be asked


def _some_time(random: Random) -> Values:
    minutes = random.choice((random.randrange(1, 12) * 60, random.randrange(5, 60, 5), random.randrange(65, 300, 5)))
    return {"time": random.choice(TIME.values), "duration": 60 * minutes, "side": random.choice(SIDE.values)}


def _some_day(random: Random) -> Values:
    day = random.choice(WEEKDAY.values)
    return {"days": random.randrange(2, 60), "weekday": day, "side": random.choice(SIDE.values)}


def _some_month(random: Random) -> Values:
    return {
        "months": random.randrange(2, 24),
        "month": random.choice(MONTH.values),
        "side": random.choice(SIDE.values),
    }


WHEN = names("when", "Today = 今天; Tomorrow = 明天; Yesterday = 昨天")
_SIDE, _DAY, _MONTH = "<side>{side}", "<weekday>{weekday}", "<month>{month}"

CLOCK = (
    Intent(
        "time_after",
        "clock",
        {
            "en": (f"what time (is it | will it be) <duration>{{duration}} {_SIDE} <time>{{time}}",),
            "zh": (f"<time>{{time}} 的 <duration>{{duration}} {_SIDE} 是 几点",),
        },
        _time_after,
        (DURATION, SIDE, TIME),
        _some_time,
    ),
    Intent(
        "days_away",
        "clock",
        {
            "en": (f"(what | which) day (is | comes) <number>{{days}} days {_SIDE} {_DAY}",),
            "zh": (f"{_DAY} 的 <number>{{days}} 天 {_SIDE} 是 星期几",),
        },
        _days_away,
        (NUMBER, SIDE, WEEKDAY),
        _some_day,
    ),
    Intent(
        "next_day",
        "clock",
        {
            "en": (f"(what | which) day (is | comes) {_SIDE} {_DAY}",),
            "zh": (f"{_DAY} 的 {_SIDE} 一 天 是 星期几",),
        },
        _days_away,
        (SIDE, WEEKDAY),
        lambda random: {"weekday": random.choice(WEEKDAY.values), "side": random.choice(SIDE.values)},
    ),
    Intent(
        "months_away",
        "clock",
        {
            "en": (f"(what | which) month (is | comes) <number>{{months}} months {_SIDE} {_MONTH}",),
            "zh": (f"{_MONTH} 的 <number>{{months}} 个 月 {_SIDE} 是 几月",),
        },
        _next_month,
        (NUMBER, SIDE, MONTH),
        _some_month,
    ),
    Intent(
        "next_month",
        "clock",
        {
            "en": (f"(what | which) month (is | comes) {_SIDE} {_MONTH}",),
            "zh": (f"{_MONTH} 的 {_SIDE} 一 个 月 是 几月",),
        },
        _next_month,
        (SIDE, MONTH),
        lambda random: {"month": random.choice(MONTH.values), "side": random.choice(SIDE.values)},
    ),
    Intent(
        "days_in",
        "clock",
        {
            "en": (f"how many days (are in | are there in) {_MONTH}", f"how many days does {_MONTH} have"),
            "zh": (f"{_MONTH} 有 (多少 | 几) 天",),
        },
        _days_in,
        (MONTH,),
        lambda random: {"month": random.choice(MONTH.values)},
    ),
    Intent(
        "time_now",
        "clock",
        {
            "en": ("what time is it [now]", "what's the time [now]", "what is the time [now]"),
            "zh": ("[现在] 几点 [了 | 钟]", "现在 是 几点"),
        },
        _time_now,
    ),
    Intent(
        "day",
        "clock",
        {
            "en": (
                "(what | which) day (is it | is | was | will be) <when>{when} [be]",
                "(what | which) day will it be <when>{when}",
            ),
            "zh": ("<when>{when} [是] 星期几",),
        },
        _day,
        (WHEN,),
    ),
    Intent(
        "date",
        "clock",
        {
            "en": (
                "what is the date [today]",
                "what's the date [today]",
                "what is today's date",
                "what date is it [today]",
            ),
            "zh": ("今天 [是] 几月 几 [号 | 日]", "今天 [是] 几 号"),
        },
        _date,
    ),
)
