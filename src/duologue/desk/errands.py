"""Timers, notes, dialling, and what was ordered: asked for in words, done by tools."""

from __future__ import annotations

from random import Random
from typing import Any

from duologue.desk.digits import some_digits
from duologue.desk.intents import Asked, Call, Content, Intent, Solution, out_of_context
from duologue.desk.kinds import DIGITS, Values, composed, names
from duologue.desk.orders import CHANGE_ORDER, ORDER_DRINK
from duologue.desk.times import DURATION
from duologue.dialogue import Tool


def _tool(name: str, description: str, **properties: Any) -> Tool:
    return Tool(name, description, {"type": "object", "properties": properties, "required": list(properties)})


CANCELLABLE = names("cancellable", "order = 订单, 咖啡; timer = 定时器, 闹钟, 计时器; note = 便条, 笔记, 备忘")
READABLE = names(
    "readable",
    """
    notes, note = 便条, 笔记, 备忘; timers, timer = 定时器, 计时器, 闹钟; orders, order = 订单
    """,
)
TOOLS: tuple[Tool, ...] = (
    ORDER_DRINK,
    CHANGE_ORDER,
    _tool("set_timer", "Ring after some time.", seconds={"type": "integer", "minimum": 1}),
    _tool("take_note", "Write something down.", text={"type": "string"}),
    _tool("dial", "Dial a telephone number.", number={"type": "string", "pattern": "^[0-9]+$"}),
    _tool("read_back", "Read what there is.", what={"type": "string", "enum": list(READABLE.values)}),
    _tool("cancel", "Undo the last one.", what={"type": "string", "enum": list(CANCELLABLE.values)}),
)

_ERRAND = names(
    "errand",
    """
    buy milk = 买牛奶; buy bread = 买面包; call the doctor = 给医生打电话; call my sister = 给妹妹打电话;
    water the flowers = 浇花; feed the cat = 喂猫; clean the kitchen = 打扫厨房; pay the rent = 交房租;
    book a table = 订座位; send the letter = 寄信; fix the window = 修窗户; return the books = 还书
    """,
)
_WHEN = names(
    "errand_day",
    """
    today = 今天; tomorrow = 明天; tonight = 今晚; on monday = 星期一; on tuesday = 星期二;
    on wednesday = 星期三; on thursday = 星期四; on friday = 星期五; on saturday = 星期六;
    on sunday = 星期天
    """,
)
NOTE = composed("note", (_ERRAND, _WHEN), order_zh=(1, 0))


# ---------------------------------------------------------------- the call; what is said follows its result


def _set_timer(asked: Asked) -> Solution:
    seconds = asked.number("duration")
    call = Call("set_timer", {"seconds": seconds})
    return Solution("", Content("seconds", (seconds,)), (call,), f"that is {seconds} seconds")


def _take_note(asked: Asked) -> Solution:
    text = NOTE.say(asked.values["note"], asked.language)
    return Solution("", Content("phrase", (text,)), (Call("take_note", {"text": text}),), f"the note is: {text}")


def _dial(asked: Asked) -> Solution:
    number = str(asked.values["digits"])
    return Solution("", Content("digits", (number,)), (Call("dial", {"number": number}),), f"the number is {number}")


def _read_back(asked: Asked) -> Solution:
    return Solution("", None, (Call("read_back", {"what": asked.values["readable"]}),))


def _cancel(asked: Asked) -> Solution:
    what = asked.values["cancellable"]
    return Solution(
        "", Content("name", (what, "cancelled")), (Call("cancel", {"what": what}),), f"the last was: {what}"
    )


def _some_duration(random: Random) -> Values:
    seconds = random.choice(
        (random.randrange(1, 60), random.randrange(60, 3600, 60), random.randrange(3600, 6 * 3600, 300))
    )
    return {"duration": seconds}


_TIMER, _DIGITS = "<duration>{duration}", "<digits>{digits}"
_WHAT, _NOTE = "<cancellable>{cancellable}", "<note>{note}"
TOOL_INTENTS = (
    Intent(
        "set_timer",
        "timers",
        {
            "en": (f"((set | start) (a | the) timer for | (wake | remind | call) me in | timer) {_TIMER}",),
            "zh": (
                f"(定 | 设 | 设置) [一 个] {_TIMER} [的] (定时器 | 计时器)",
                f"{_TIMER} [以] 后 (提醒 | 叫) 我",
            ),
        },
        _set_timer,
        (DURATION,),
        _some_duration,
        held_out=True,
    ),
    Intent(
        "read_back",
        "notes",
        {
            "en": (
                "(read | read me | what are | show me) my <readable>{readable}",
                "how long is left on my <readable>{readable}",
                "what did i <readable>{readable}",
            ),
            "zh": (
                "(读 | 念 | 看看) [一下] 我 的 <readable>{readable}",
                "我 的 <readable>{readable} (有 什么 | 有 哪些)",
            ),
        },
        _read_back,
        (READABLE,),
    ),
    Intent(
        "take_note",
        "notes",
        {
            "en": (f"(take | make) a note [to | that] {_NOTE}", f"(note | write down | remember to) {_NOTE}"),
            "zh": (f"(记 一下 | 记下 | 写下 | 记 个 便条) {_NOTE}",),
        },
        _take_note,
        (NOTE,),
        lambda random: {"note": random.choice(NOTE.values)},
        held_out=True,
    ),
    Intent(
        "dial",
        "dialling",
        {
            "en": (f"(dial | call | phone) [the number] {_DIGITS}",),
            "zh": (f"(拨打 | 拨 | 打 电话 给) {_DIGITS}",),
        },
        _dial,
        (DIGITS,),
        some_digits,
        held_out=True,
    ),
    Intent(
        "cancel",
        "timers",
        {
            "en": (f"(cancel | delete | stop) (my | the) [last] {_WHAT}",),
            "zh": (f"取消 [我 的] {_WHAT}", f"(删掉 | 删除) [我 的] {_WHAT}"),
        },
        _cancel,
        (CANCELLABLE,),
    ),
)


# ---------------------------------------------------------------- follow-ups

_MADE = {"order": "order", "change": "order", "set_timer": "timer", "take_note": "note"}


def _cancel_last(asked: Asked, before: Asked) -> Asked | None:
    """ "cancel that": whatever was made last."""
    if before.intent.name not in _MADE:
        return None
    cancel = next(intent for intent in TOOL_INTENTS if intent.name == "cancel")
    return Asked(cancel, {"cancellable": _MADE[before.intent.name]}, asked.language, asked.now)


FOLLOW_UPS = (
    Intent(
        "cancel_last",
        "follow-ups",
        {
            "en": ("(cancel | delete | forget | undo) (that | it)", "never mind"),
            "zh": ("取消 | 算 了 | 不要 了",),
        },
        out_of_context,
        (),
        lambda random: {},
        _cancel_last,
    ),
)
