"""What the desk understands, answers and does."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from duologue.desk import Answer, Desk
from duologue.desk.facts import COUNTRY
from duologue.dialogue import Message, ToolCall

NOON = datetime.datetime(2025, 3, 4, 15, 15)
MANIFEST = Path(__file__).parents[2] / "shared" / "data" / "manifest.jsonl"


def talk(desk: Desk, *said: str) -> tuple[list[str], list[Message]]:
    """One conversation, the desk's calls executed: what it answered, and the messages."""
    messages: list[Message] = []
    answers = []
    for text in said:
        messages.append(Message("user", text))
        answer = desk.answer(messages)
        if answer.tool_calls:
            messages.append(Message("assistant", answer.text, tool_calls=answer.tool_calls))
            messages += [Message("tool", desk.run(call), call_id=call.call_id) for call in answer.tool_calls]
            answer = desk.answer(messages)
        messages.append(Message("assistant", answer.text))
        answers.append(answer.text)
    return answers, messages


def a_desk() -> Desk:
    return Desk(now=lambda: NOON)


def answer_to(*said: str) -> str:
    return talk(a_desk(), *said)[0][-1]


# ---------------------------------------------------------------- one question


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is twelve plus three?", "Twelve plus three is fifteen."),
        ("Um, can you tell me what 12 + 3 is, please?", "Twelve plus three is fifteen."),
        ("what is to plus for", "Two plus four is six."),
        ("seven divided by two", "Seven divided by two is three, remainder one."),
        ("what is three divided by zero", "Nothing can be divided by zero."),
        ("three minus five", "Three minus five is minus two."),
        ("999 times 999", "Nine hundred and ninety nine times nine hundred and ninety nine is "
                          "nine hundred and ninety eight thousand and one."),
        ("Which is bigger, 12 or 40?", "Forty is bigger."),
        ("is five bigger than five", "No, they are the same."),
        ("sort 40, 3 and 12 from largest to smallest", "Forty, then twelve, then three."),
        ("put lemon apple and zebra in alphabetical order", "Apple, then lemon, then zebra."),
        ("What time is it two hours after quarter past three?", "Quarter past five."),
        ("what time is it 45 minutes before 3:05", "Two twenty."),
        ("what time is it two hours after half past eleven", "Half past one."),
        ("what day comes after Tuesday", "Wednesday."),
        ("what day is it tomorrow", "Tomorrow will be Wednesday."),
        ("what's the time?", "It is quarter past three."),
        ("What's the date today?", "Today is Tuesday, March fourth."),
        ("how many days are in April", "April has thirty days."),
        ("how do you spell apple", "A, P, P, L, E."),
        ("repeat after me: the quick brown fox", "The quick brown fox."),
        ("3 1 4 1 5", "Three one four one five."),
        ("31415", "Three one four one five."),
        ("add up the digits 314", "They add up to eight."),
        ("say one oh two backwards", "Two zero one."),
        ("how many centimeters are in three meters", "Three meters are three hundred centimeters."),
        ("convert 90 minutes to hours", "Ninety minutes are one hour and thirty minutes."),
        ("how many eggs are in a dozen", "One dozen is twelve pieces."),
        ("What's the capital of France?", "The capital of France is Paris."),
        ("how many legs does a spider have", "A spider has eight legs."),
        ("thank you very much", "You're welcome."),
        ("十二加三等于多少？", "十二加三等于十五。"),
        ("请问100除以7是多少", "一百除以七等于十四，余二。"),
        ("三点一刻的两小时后是几点", "五点一刻。"),
        ("今天星期几", "今天是星期二。"),
        ("法国的首都是哪里", "法国的首都是巴黎。"),
        ("重复三一四一五", "三一四一五。"),
        ("三米等于多少厘米", "三米是三百厘米。"),
        ("你好", "你好，有什么可以帮您？"),
    ],
)  # fmt: skip
def test_answers_in_words(question: str, answer: str) -> None:
    assert answer_to(question) == answer


@pytest.mark.parametrize(
    "text",
    [
        "who won the world cup", "i have a small dog", "what is a latte", "i spilled coffee on my laptop",
        "what is three plus four divided by the moon", "tell me a story",
        "what is the capital of the moon",
    ],
)  # fmt: skip
def test_says_so_outside_its_world(text: str) -> None:
    answer = a_desk().answer([Message("user", text)])
    assert answer.topic is None
    assert answer.tool_calls == ()
    assert answer.text.startswith("I'm sorry")
    assert "coffee orders" in answer.text


def test_says_so_in_the_right_language() -> None:
    assert a_desk().answer([Message("user", "今天天气怎么样")]).text.startswith("对不起")
    assert answer_to("你好", "...?!") == "对不起，我没听清。"
    assert answer_to("") == "Sorry, I didn't catch that."


@pytest.mark.parametrize("messages", [[], [Message("assistant", "hello")]])
def test_nothing_to_answer_is_an_error(messages: list[Message]) -> None:
    with pytest.raises(ValueError, match="messages that end with the user's"):
        a_desk().answer(messages)


@pytest.mark.parametrize("country", COUNTRY.values)
def test_the_capital_of_a_country_leads_back_to_it(country: str) -> None:
    name = COUNTRY.write(country, "en")
    capital = answer_to(f"what is the capital of {name}").removeprefix(f"The capital of {name} is ")[:-1]
    assert answer_to(f"{capital} is the capital of which country") == f"{capital} is the capital of {name}."


# ---------------------------------------------------------------- conversations


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (("what is twelve plus three", "and plus three?"), "Fifteen plus three is eighteen."),
        (("what is 2 times 3", "thanks", "and then times 7"), "Six times seven is forty two."),
        (("what is 2 times 3", "again, slower"), "Two, times, three, is, six."),
        (("what is the capital of France", "and of Germany?"), "The capital of Germany is Berlin."),
        (("which continent is Peru in", "how about Japan"), "Japan is in Asia."),
        (("a large latte", "make it a small one"), "All right, one small latte."),
        (("a latte", "with oat milk", "again"), "All right, one latte with oat milk."),
        (("a latte with milk", "no sugar"), "All right, one latte with milk and no sugar."),
        (("a large one please", "latte"), "One large latte, coming up."),
        (("a latte", "cancel that"), "Your order is cancelled."),
        (("a latte", "cancel that", "what did i order"), "You have no orders."),
        (("add a note",), "I'm sorry, I don't know about that. I can do sums, tell the time, spell words, "
                          "change units, take coffee orders and set timers."),
        (("and plus three",), "I don't know what that is about yet."),
        (("what is the capital of France", "and plus three"), "I don't know what that is about yet."),
        (("十二加三等于多少", "再加三呢"), "十五加三等于十八。"),
        (("法国的首都是哪里", "那德国呢"), "德国的首都是柏林。"),
        (("我要一杯大杯拿铁，加豆奶", "改成小杯"), "好的，改成一杯小杯拿铁咖啡，加豆奶。"),
    ],
)  # fmt: skip
def test_follow_ups(said: tuple[str, ...], answer: str) -> None:
    assert answer_to(*said) == answer


def test_a_cut_history_works_as_it_stands() -> None:
    cut = [
        Message("user", "what is twelve plus three"),
        Message("assistant", "Twelve plus", interrupted=True),
        Message("user", "and plus five"),
    ]
    assert a_desk().answer(cut).text == "Fifteen plus five is twenty."


def test_answering_changes_nothing() -> None:
    desk, messages = a_desk(), [Message("user", "a large latte with oat milk")]
    first, second = desk.answer(messages), a_desk().answer(messages)
    assert first == second == desk.answer(messages)
    assert desk.orders == ()


# ---------------------------------------------------------------- tools


def test_calls_are_really_executed() -> None:
    desk = a_desk()
    answers, _ = talk(
        desk,
        "can i get a large latte with oat milk",
        "set a timer for an hour and a half",
        "take a note: buy milk tomorrow",
        "dial 555 1234",
        "read my notes",
        "read my timers",
    )
    assert desk.orders == ({"coffee_drink": "latte", "size": "large", "milk_amount": "oat milk"},)
    assert [(t.seconds, t.ends_at - NOON) for t in desk.timers] == [(5400, datetime.timedelta(minutes=90))]
    assert (desk.notes, desk.dialled) == (("buy milk tomorrow",), ("5551234",))
    assert answers == [
        "One large latte with oat milk, coming up.",
        "The timer is set for one hour and thirty minutes.",
        "I wrote down: buy milk tomorrow.",
        "Dialing five five five one two three four.",
        "Buy milk tomorrow.",
        "One hour and thirty minutes.",
    ]


def test_two_callers_never_meet() -> None:
    one, other = a_desk(), a_desk()
    talk(one, "a latte", "take a note call home")
    assert (other.orders, other.notes) == ((), ())


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (ToolCall("1", "order_drink", '{"coffee_drink": "tea"}'), "coffee_drink cannot be 'tea'"),
        (ToolCall("1", "order_drink", "{}"), "needs the argument 'coffee_drink'"),
        (ToolCall("1", "order_drink", '{"coffee_drink": "latte", "cups": 2}'), "no argument 'cups'"),
        (ToolCall("1", "order_drink", "[1]"), "not a JSON object"),
        (ToolCall("1", "order_drink", "{"), "Expecting"),
        (ToolCall("1", "set_timer", '{"seconds": "ten"}'), "must be of type integer"),
        (ToolCall("1", "set_timer", '{"seconds": true}'), "must be of type integer"),
        (ToolCall("1", "set_timer", '{"seconds": 0}'), "must be at least 1"),
        (ToolCall("1", "dial", '{"number": "call me"}'), "does not match"),
        (ToolCall("1", "change_order", '{"size": "small"}'), "no order to change"),
        (ToolCall("1", "cancel", '{"what": "timer"}'), "no timer to cancel"),
        (ToolCall("1", "launch", "{}"), "no tool 'launch'"),
    ],
)
def test_a_bad_call_is_named_and_does_nothing(call: ToolCall, names: str) -> None:
    desk = a_desk()
    assert names in json.loads(desk.run(call))["error"]
    assert (desk.orders, desk.timers, desk.notes, desk.dialled) == ((), (), (), ())


def test_a_failed_call_is_said() -> None:
    call = ToolCall("1", "order_drink", '{"coffee_drink": "latte"}')
    result = Message("tool", '{"error": "the machine is empty"}', call_id="1")
    answer = a_desk().answer([Message("user", "a latte"), Message("assistant", tool_calls=(call,)), result])
    assert answer == Answer("I'm sorry, that did not work. The machine is empty.", topic="order")


@pytest.mark.parametrize("output", ["", "ok", "[]", '{"status": "done"}'])
def test_results_of_other_executors_are_confirmed_from_the_call(output: str) -> None:
    call = ToolCall("1", "order_drink", '{"coffee_drink": "latte"}')
    result = Message("tool", output, call_id="1")
    answer = a_desk().answer([Message("user", "a latte"), Message("assistant", tool_calls=(call,)), result])
    assert answer.text == "One latte, coming up."


# ---------------------------------------------------------------- orders of people


@pytest.mark.parametrize(
    "said",
    [
        "make me a twelve ounce dark roast double shot latte with soy milk and a bit of brown sugar",
        "latte double shot twelve ounce dark roast a bit of brown sugar soy milk",
        "crew be the soy milk latte twelve ounce with a bit of brown sugar dark roast double shot",
        "Could I have a 12 ounce, dark roast, double shot latte with soy milk and a bit of brown sugar, please?",
    ],
)
def test_an_order_in_any_words(said: str) -> None:
    (call,) = a_desk().answer([Message("user", said)]).tool_calls
    assert call.parsed() == {
        "coffee_drink": "latte",
        "size": "twelve ounce",
        "roast": "dark roast",
        "number_of_shots": "double shot",
        "milk_amount": "soy milk",
        "sugar_amount": "a bit of brown sugar",
    }


def test_orders_of_people_are_understood() -> None:
    if not MANIFEST.exists():
        pytest.skip(f"no recorded orders: {MANIFEST} is absent")
    rows = [row for row in map(json.loads, MANIFEST.read_text().splitlines()) if row.get("dataset") == "barista"]
    spoken = [row for row in rows if row["text"]]
    desk, right = a_desk(), 0
    for row in spoken:
        calls = desk.answer([Message("user", row["text"])]).tool_calls
        wanted = [(row["function_call"]["name"], row["function_call"]["arguments"])]
        right += [(call.name, call.parsed()) for call in calls] == wanted
    assert len(spoken) > 400
    assert right == len(spoken)
