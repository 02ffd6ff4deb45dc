"""Questions of the desk: understood as they are meant, checked strictly, split by combination; its grammar."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, islice
from pathlib import Path
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from duologue.desk import TOPICS, Desk, Language, Question, check, grammar, numbers, questions
from duologue.desk.questions import Split
from duologue.desk.rules import LANGUAGES, parse, pattern
from duologue.dialogue import Message

SEEDS = st.integers(0, 10**9)
BOTH = pytest.mark.parametrize("language", LANGUAGES)


def some(seed: int, count: int, language: Language | None = None, split: Split = "train") -> list[Question]:
    return list(islice(questions(seed, split, language), count))


def answered(question: Question, said: str) -> tuple[str, object]:
    """What the desk says in the end, and the call that it made."""
    desk, messages = Desk(), [*question.history, Message("user", said)]
    answer = desk.answer(messages)
    if not answer.tool_calls:
        return answer.text, None
    (call,) = answer.tool_calls
    result = Message("tool", question.tool_result or "", call_id=call.call_id)
    final = desk.answer([*messages, Message("assistant", tool_calls=answer.tool_calls), result])
    return final.text, (call.name, call.parsed())


# ---------------------------------------------------------------- what is generated is understood


@settings(max_examples=40)
@given(SEEDS, st.sampled_from(LANGUAGES), st.sampled_from(["train", "test"]))
def test_the_desk_answers_its_own_questions(seed: int, language: Language, split: Split) -> None:
    for question in some(seed, 25, language, split):
        call = question.tool_call
        wanted = (question.answer, (call.name, call.parsed()) if call else None)
        assert answered(question, question.text) == wanted
        assert answered(question, question.written) == wanted


@settings(max_examples=20)
@given(SEEDS, st.sampled_from(["um {}", "please {}", "{} please", "okay so can you tell me {}", "{}, thank you!"]))
def test_fillers_change_nothing(seed: int, around: str) -> None:
    for question in some(seed, 15, "en"):
        if question.topic not in ("notes", "repeating", "chat"):
            assert answered(question, around.format(question.text))[0] == question.answer


@settings(max_examples=20)
@given(SEEDS)
def test_a_translation_asks_the_same(seed: int) -> None:
    for question in some(seed, 20, "en"):
        if not question.history and question.topic != "chat":
            other = Desk().answer([Message("user", question.translation)])
            assert other.topic == question.topic
            if question.content.kind == "number":
                told = replace(question, language="zh", text=question.translation, answer=other.text)
                assert check(told, other.text)


# ---------------------------------------------------------------- splits


def test_the_same_seed_gives_the_same_questions() -> None:
    assert some(3, 200) == some(3, 200)
    assert some(3, 200) != some(4, 200)


@BOTH
def test_there_are_thousands_of_distinct_questions(language: Language) -> None:
    asked = some(0, 6000, language)
    assert len({(tuple(m.text for m in q.history), q.text) for q in asked}) == 6000
    assert len({q.key for q in asked}) > 4000
    assert set(Counter(q.topic for q in asked)) == set(TOPICS)


def test_no_combination_is_in_both_splits() -> None:
    train = {q.key for seed in range(2) for q in some(seed, 3000)}
    test = {q.key for seed in range(2) for q in some(seed, 1000, split="test")}
    assert len(test) > 500
    assert not train & test


def test_a_follow_up_in_train_never_shows_a_combination_of_test() -> None:
    held_out = {q.key for q in some(0, 3000, split="test") if not q.history}
    for question in (q for q in some(1, 4000) if q.history):
        assert question.key.split(" after ")[-1] not in held_out


@BOTH
def test_each_value_is_in_train(language: Language) -> None:
    """Each word that test answers need is somewhere in train."""
    train = {word for q in some(0, 8000, language) for word in re.findall(r"[a-z']+|[一-鿿]", q.answer.lower())}
    test = {w for q in some(0, 1000, language, "test") for w in re.findall(r"[a-z']+|[一-鿿]", q.answer.lower())}
    assert test <= train


def test_topics_are_chosen() -> None:
    assert {q.topic for q in islice(questions(0, "train", "en", ["facts", "order"]), 100)} == {"facts", "order"}
    with pytest.raises(ValueError, match="unknown topic 'poetry': the desk's topics are"):
        next(questions(0, "train", topics=["poetry"]))


def test_a_small_topic_ends() -> None:
    asked = list(questions(0, "train", "en", ["chat"]))
    assert 20 < len(asked) < 60


# ---------------------------------------------------------------- checking


@settings(max_examples=20)
@given(SEEDS, st.sampled_from(LANGUAGES))
def test_the_right_answer_is_right_in_any_form(seed: int, language: Language) -> None:
    for question in some(seed, 25, language):
        assert check(question, question.answer), question
        assert check(question, question.answer.upper())
        if question.content.kind in ("number", "digits"):
            bare = " ".join(map(str, question.content.values))
            assert check(question, bare)


@settings(max_examples=20)
@given(SEEDS, st.sampled_from(LANGUAGES), st.integers(1, 9))
def test_a_wrong_number_is_wrong(seed: int, language: Language, error: int) -> None:
    for question in some(seed, 25, language):
        if question.content.kind == "number":
            wrong = [cast(int, value) + error for value in question.content.values]
            assert not check(question, " ".join(map(str, wrong)))
            if wrong[-1] not in numbers.find(question.text, language):
                assert not check(question, f"{question.answer} {wrong[-1]}")
        if question.content.kind == "digits":
            (digits,) = question.content.values
            assert not check(question, str(digits) + str(error))
            assert not check(question, str((int(str(digits)[0]) + error) % 10) + str(digits)[1:])


@settings(max_examples=20)
@given(SEEDS, st.sampled_from(LANGUAGES))
@example(5000, "en")
def test_the_answer_to_another_question_is_wrong(seed: int, language: Language) -> None:
    """Unless it says both: "the capital of Kenya is Nairobi" also tells whose capital Nairobi is."""
    asked = [q for q in some(seed, 40, language) if q.topic != "chat"]
    for question, other in combinations(asked, 2):
        alike = question.content.kind == other.content.kind
        in_english = other.text if language == "en" else other.translation
        says_both = any(str(value) in in_english for value in question.content.values)
        if alike and not says_both and not set(question.content.values) & set(other.content.values):
            assert not check(question, other.answer), (question, other.answer)


def a_question(key: str, topic: str) -> Question:
    return next(q for q in questions(0, "train", "en", [topic]) if q.key.startswith(key))


def test_what_counts_is_the_content() -> None:
    question = next(q for q in questions(0, "train", "en", ["sums"]) if q.key.startswith("add "))
    a, b = map(int, question.key.split()[1:])
    for right in (f"{a + b}", f"{a} plus {b} is {a + b}", f"It's {a + b}!", f"{a + b} is {a} plus {b}"):
        assert check(question, right), right
    for wrong in ("", "I don't know", f"{a} plus {b}", f"{a} plus {b + 1} is {a + b}", f"{a + b} or {a + b + 1}"):
        assert not check(question, wrong), wrong


def test_names_and_letters_and_orders_count() -> None:
    capital = a_question("capital france", "facts")
    assert check(capital, "it's Paris")
    assert not check(capital, "The capital of France is Rome.")
    assert not check(capital, "Paris or Rome")
    spelled = a_question("spell tiger", "spelling")
    assert check(spelled, "t i g e r")
    assert check(spelled, "Tiger is spelled T-I-G-E-R.")
    assert not check(spelled, "T, I, G, R, E.")
    order = a_question("order", "order")
    assert check(order, order.answer.replace("One", "Sure, one").replace(", coming up", ""))
    drink = str(order.content.values[0]).removeprefix("coffee_drink=")
    assert not check(order, order.answer.replace(drink, "latte" if drink == "mocha" else "mocha"))


# ---------------------------------------------------------------- the recogniser's grammar


def rules_of(text: str) -> dict[str, str]:
    return dict(re.findall(r"<(\w+)> = (.*);", text))


def test_the_grammar_has_each_english_question() -> None:
    rules = rules_of(grammar("en"))

    def expression(name: str) -> str:
        return pattern(parse(rules[name]), expression, "en")

    spoken = re.compile(expression("desk"))
    for question in some(0, 1500, "en"):
        assert spoken.fullmatch(question.text + " "), question.text


def test_the_grammar_of_a_topic_is_part_of_it() -> None:
    assert "<ask_order>" in rules_of(grammar("en", ["order"]))["desk"]
    assert "ask_add" not in rules_of(grammar("en", ["order", "digits"]))
    with pytest.raises(ValueError, match="unknown topic 'poetry'"):
        grammar("en", ["poetry"])


def test_pocketsphinx_knows_the_words_and_reads_the_grammar(tmp_path: Path) -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    lines = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")).read_text().splitlines()
    known = {line.split()[0] for line in lines}
    rules = re.sub(r"<\w+>", "", " ".join(rules_of(grammar("en")).values()))
    spoken = set(re.findall(r"[a-z']+", rules))
    assert len(spoken) > 300
    assert spoken <= known
    (tmp_path / "desk.gram").write_text(grammar("en"), encoding="utf-8")
    pocketsphinx.Decoder(jsgf=str(tmp_path / "desk.gram"), loglevel="FATAL")
