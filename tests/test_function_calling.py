"""Function calling: calls are read as written, and judged by the rules, whatever a row looks like."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.desk.errands import TOOLS
from duologue.dialogue import Tool, ToolCall
from duologue.evaluate.bfcl import exactly
from duologue.evaluate.function_calling import Rules, Verdict, judge, judge_row
from duologue.evaluate.function_calling_table import COLUMNS, REPORTED, Accuracy, Column, accuracy, accuracy_table
from duologue.evaluate.strict_calls import assigned, same
from duologue.model.tagged_calls import read_calls


def tool(name: str, required: tuple[str, ...] = (), **types: Any) -> Tool:
    """Types by argument: a name, or (list type, type of its items)."""
    properties = {
        key: {"type": kind} if isinstance(kind, str) else {"type": kind[0], "items": {"type": kind[1]}}
        for key, kind in types.items()
    }
    return Tool(name, "", {"type": "dict", "properties": properties, "required": list(required)})


TIMER = tool("set_timer", ("minutes",), minutes="integer", label="string", loud="boolean")
MUSIC = tool("play", ("artist",), artist="string", tags=("array", "string"), volume="float", pair=("tuple", "integer"))
FOOD = tool(
    "order",
    ("dish",),
    dish="string",
    options="dict",
    items=("array", "dict"),
    extra="object",
    unit="any",
    n="number",
)
DESK = [TIMER, MUSIC, FOOD]


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall("call_0", name, json.dumps(arguments))


def fault(calls: list[ToolCall], truth: Any, rules: Rules = "bfcl", tools: list[Tool] | None = None) -> str:
    return judge(calls, DESK if tools is None else tools, truth, rules).fault


# ---------------------------------------------------------------- reading


def test_calls_are_read_from_a_model_s_text() -> None:
    text = (
        'Sure. <tool_call>\n{"name": "f", "arguments": {"x": "soft\\negg"}}\n</tool_call> and '
        "<tool_call>{broken}</tool_call>"
        '<tool_call> {"name": "g", "arguments": [{"y": 5.0}]} </tool_call><|im_end|>'
    )
    calls = read_calls(text)
    assert [(each.name, each.parsed()) for each in calls] == [("f", {"x": "soft egg"}), ("g", {"y": 5.0})]
    assert len({each.call_id for each in calls}) == 2
    assert read_calls('{"name": "f", "arguments": {}}') == []


@pytest.mark.parametrize(
    "entry",
    [
        '{"name": "f", "arguments": "x=1"}',
        '{"name": "f"}',
        '{"arguments": {}}',
        '{"name": 5, "arguments": {}}',
    ],
)
def test_what_is_no_call_fails_its_row(entry: str) -> None:
    text = f"<tool_call>{entry}</tool_call>"
    with pytest.raises(ValueError, match="no call of a function"):
        read_calls(text)
    row = {"function": [], "ground_truth": [{"f": {}}], "predict": text}
    assert judge_row(row, "bfcl") == judge_row(row, "ace") == Verdict("unreadable")
    assert judge([ToolCall("1", "f", "[1]")], [TIMER], [{"f": {}}], "bfcl") == Verdict("unreadable")


# ---------------------------------------------------------------- BFCL

ACCEPTED = st.fixed_dictionaries(
    {"minutes": st.lists(st.integers(0, 9), min_size=1, max_size=3)},
    optional={
        "label": st.lists(st.sampled_from(["egg", "soft egg", ""]), min_size=1, max_size=3),
        "loud": st.lists(st.booleans(), min_size=1, max_size=1),
    },
)


@given(st.lists(ACCEPTED, min_size=1, max_size=4), st.data())
def test_any_accepted_values_in_any_order_are_right(truth: list[dict[str, Any]], data: st.DataObject) -> None:
    chosen = [{key: data.draw(st.sampled_from(values)) for key, values in each.items()} for each in truth]
    exact = [{"set_timer": {key: [value] for key, value in each.items()}} for each in chosen]
    calls = data.draw(st.permutations([call("set_timer", **each) for each in chosen]))
    assert fault(calls, exact) == ""
    assert fault(calls[:1], [{"set_timer": {key: [v] for key, v in calls[0].parsed().items()}}]) == ""
    assert fault(calls[1:], exact) == "count"
    assert fault([*calls[1:], call("set_timer", minutes=-1)], exact) != ""


@pytest.mark.parametrize(
    ("arguments", "accepted", "expected"),
    [
        ({"minutes": 5}, {"minutes": [4, 5], "label": ["egg", ""]}, ""),
        ({"minutes": 5}, {"minutes": [5], "label": ["egg"]}, "missing"),
        ({"label": "egg"}, {"minutes": [5], "label": ["egg"]}, "missing"),
        ({"minutes": 5, "colour": "red"}, {"minutes": [5], "colour": ["red"]}, "unexpected"),
        ({"minutes": 5, "label": "egg"}, {"minutes": [5]}, "unexpected"),
        ({"minutes": 5.0}, {"minutes": [5]}, "type"),
        ({"minutes": True}, {"minutes": [1]}, "type"),
        ({"minutes": 6}, {"minutes": [5]}, "value"),
        ({"minutes": "n"}, {"minutes": ["n"]}, ""),
        ({"minutes": 5, "loud": "true"}, {"minutes": [5], "loud": [True]}, "type"),
        ({"minutes": 5, "label": "Soft-EGG."}, {"minutes": [5], "label": ["soft egg"]}, ""),
        ({"minutes": 5, "label": "'a'"}, {"minutes": [5], "label": ['"A"']}, ""),
        ({"minutes": 5, "label": "soft"}, {"minutes": [5], "label": ["soft egg"]}, "value"),
    ],
)
def test_plain_arguments(arguments: dict[str, Any], accepted: dict[str, Any], expected: str) -> None:
    assert fault([call("set_timer", **arguments)], [{"set_timer": accepted}]) == expected


@pytest.mark.parametrize(
    ("name", "key", "value", "accepted", "expected"),
    [
        ("play", "volume", 3, [3.0], ""),
        ("play", "volume", 3, [3.5], "value"),
        ("play", "tags", ["slow", "old school"], [["Slow", "Old-School"]], ""),
        ("play", "tags", ["old", "slow"], [["slow", "old"]], "value"),
        ("play", "tags", ["slow", 1], [["slow", "1"]], "type"),
        ("play", "tags", [], ["", ["slow"]], ""),
        ("play", "pair", [1, 2], [[2, 1], [1, 2]], ""),
        ("order", "options", {"size": "L"}, [{"size": ["l", "xl"], "hot": [True, ""]}], ""),
        ("order", "options", {"size": "L"}, [{"size": ["l"], "hot": [True]}], "value"),
        ("order", "options", {"size": "L", "n": 1}, [{"size": ["l"]}], "value"),
        ("order", "options", {"size": "S"}, [{"size": ["l"]}, {"size": ["s"]}], ""),
        ("order", "items", [{"n": 1}, {"n": 2}], [[{"n": [1]}, {"n": [2]}]], ""),
        ("order", "items", [{"n": 2}, {"n": 1}], [[{"n": [1]}, {"n": [2]}]], "value"),
        ("order", "items", [{"n": 1}], [[{"n": [1]}, {"n": [2]}]], "value"),
        ("order", "items", [1], ["", [{"n": [1]}]], "value"),
        ("order", "extra", {"whatever": [1]}, [{"else": [2]}], ""),
        ("order", "unit", "KG", ["kg"], ""),
        ("order", "n", 2.5, [2.5], ""),
        ("order", "n", 2.5, [2], "type"),
    ],
)
def test_lists_objects_and_loose_types(name: str, key: str, value: Any, accepted: Any, expected: str) -> None:
    needed = {"play": "artist", "order": "dish"}[name]
    calls = [call(name, **{needed: "x", key: value})]
    assert fault(calls, [{name: {needed: ["x"], key: accepted}}]) == expected


def test_of_several_calls_each_answers_one_expectation() -> None:
    truth = [{"set_timer": {"minutes": [5]}}, {"set_timer": {"minutes": [8]}}, {"play": {"artist": ["A"]}}]
    five, eight, music = call("set_timer", minutes=5), call("set_timer", minutes=8), call("play", artist="a")
    assert fault([music, eight, five], truth) == ""
    assert fault([music, five, five], truth) == "name"
    assert fault([five, five], truth[:2]) == "value"
    assert fault([five, eight], [truth[0], truth[0]]) == "value"
    assert fault([], truth[:1]) == "count"
    assert fault([music], truth[:1]) == "name"


# ---------------------------------------------------------------- ACEBench

REMIND = tool("remind", ("title",), title="string", time="object", who=("array", "string"), again="boolean", hour="int",
    how="enum", parts="objectArray")  # fmt: skip
OTHER = tool("remind_all", (), title="string")


@pytest.mark.parametrize(
    ("arguments", "expected_arguments", "expected"),
    [
        ({"title": "please: meeting!"}, {"title": "Meeting"}, ""),
        ({"title": "meet"}, {"title": "meeting"}, "value"),
        ({"title": "a"}, {"title": "a", "who": ["x"]}, ""),
        ({"title": "a", "who": ["x"]}, {"title": "a"}, "unexpected"),
        ({"who": ["x"]}, {"title": "a", "who": ["x"]}, "missing"),
        ({}, {"title": "a"}, "missing"),
        ({"title": "a", "who": ["X", "y"]}, {"title": "a", "who": ["x", "Y"]}, ""),
        ({"title": "a", "who": ["y", "x"]}, {"title": "a", "who": ["x", "y"]}, "value"),
        (
            {"title": "a", "time": {"d": {"h": "10:00 sharp"}}},
            {"title": "a", "time": {"d": {"h": "10:00"}}},
            "",
        ),
        ({"title": "a", "time": {"d": {}}}, {"title": "a", "time": {"d": {"h": "10:00"}}}, "value"),
        ({"title": "a", "time": {"d": "x", "e": 1}}, {"title": "a", "time": {"d": "x"}}, "value"),
        ({"title": "a", "hour": 7}, {"title": "a", "hour": 8}, ""),
        ({"title": "a", "how": "loud"}, {"title": "a", "how": "soft"}, ""),
        ({"title": "a", "again": "true"}, {"title": "a", "again": True}, ""),
        ({"title": "a", "hour": "eight"}, {"title": "a", "hour": 8}, "type"),
        ({"title": "a", "parts": [{"n": 1}]}, {"title": "a", "parts": [{"n": 1}]}, ""),
        ({"title": "a", "parts": [{"n": 2}]}, {"title": "a", "parts": [{"n": 1}]}, "value"),
    ],
)
def test_arguments_by_the_rules_of_acebench(
    arguments: dict[str, Any], expected_arguments: dict[str, Any], expected: str
) -> None:
    assert fault([call("remind", **arguments)], {"remind": expected_arguments}, "ace", [REMIND]) == expected


def test_several_answers_and_several_calls_by_the_rules_of_acebench() -> None:
    a, b, other = call("remind", title="a"), call("remind", title="b"), call("remind_all", title="a")
    tools = [REMIND, OTHER]
    assert fault([a], [{"remind": {"title": "b"}}, {"remind": {"title": "a"}}], "ace", tools) == ""
    assert fault([a], [{"remind": {"title": "b"}}, {"remind_all": {"title": "a"}}], "ace", tools) == "value"
    assert fault([b, a], {"remind_1": {"title": "a"}, "remind_2": {"title": "b"}}, "ace", tools) == ""
    assert fault([a, a], {"remind_1": {"title": "a"}, "remind_2": {"title": "b"}}, "ace", tools) == "value"
    assert fault([a], {"remind_1": {"title": "a"}, "remind_2": {"title": "b"}}, "ace", tools) == "count"
    assert fault([a, other], {"remind_1": {"title": "a"}, "remind_2": {"title": "b"}}, "ace", tools) == "name"
    assert fault([other], {"remind_all": {"title": "a"}}, "ace", [OTHER]) == ""
    assert fault([a], [], "ace", tools) == "schema"


# ---------------------------------------------------------------- every row gets a verdict

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(0, 2)
    | st.sampled_from(["", "true", "x", "string", "f"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["f", "x", "type", "items", "properties", "required"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SCHEMAS = st.fixed_dictionaries(
    {
        "properties": st.dictionaries(
            st.sampled_from("xy"),
            st.fixed_dictionaries({"type": st.sampled_from(["string", "array", "object", "objectArray", "dict", "?"])})
            | JSON,
        ),
        "required": st.lists(st.sampled_from("xy"), max_size=1),
    }
)


@given(
    SCHEMAS | JSON,
    st.lists(st.fixed_dictionaries({"f": JSON}), max_size=2) | JSON,
    JSON,
    st.sampled_from(["bfcl", "ace"]),
)
def test_odd_rows_fail_alone(schema: Any, truth: Any, arguments: Any, rules: Rules) -> None:
    predict = f"<tool_call>{json.dumps({'name': 'f', 'arguments': arguments})}</tool_call>"
    functions = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    row = {"function": json.dumps(functions), "ground_truth": json.dumps(truth), "predict": predict}
    assert judge_row(row, rules).fault in {
        "", "unreadable", "count", "name", "missing", "unexpected", "type", "value", "schema",
    }  # fmt: skip


ROW = {"function": [{"name": "f", "parameters": tool("f", x="float", y="dict").parameters}],
       "ground_truth": [{"f": {"x": [1.0, ""], "y": [{}, ""]}}]}  # fmt: skip


def predicted(arguments: str) -> str:
    return f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>'


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("rules", ["bfcl", "ace"])
@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"predict": predicted('{"x": 1' + "0" * 400 + "}")}, {"type", "value"}),
        ({"predict": predicted('{"x": 1' + "0" * 5000 + "}")}, {"unreadable"}),
        ({"predict": predicted('{"y": ' + "[" * 100_000 + "]" * 100_000 + "}")}, {"unreadable"}),
        ({"predict": None}, {"count"}),
        ({"predict": 5}, {"unreadable"}),
        ({"ground_truth": [{}]}, {"schema", "count"}),
        ({"ground_truth": None}, {"schema"}),
        ({"ground_truth": "{broken"}, {"schema"}),
        ({"ground_truth": "[" * 100_000}, {"schema"}),
        ({"function": [{"parameters": {}}]}, {"schema"}),
        ({"function": {"name": "f", "parameters": {}}}, {"schema"}),
        ({"function": ["f"]}, {"schema"}),
        ({"function": None}, {"schema"}),
    ],
)
def test_what_breaks_a_row_breaks_no_other(odd: dict[str, Any], expected: set[str], rules: Rules, strict: bool) -> None:
    truth = ROW["ground_truth"] if rules == "bfcl" else {"f": {"x": 1.0, "y": {}}}
    whole = {**ROW, "ground_truth": truth, "predict": predicted('{"x": 1}')}
    assert judge_row({**whole, **odd}, rules, strict).fault in expected
    for name in ("function", "ground_truth"):
        assert judge_row({key: value for key, value in whole.items() if key != name}, rules, strict).fault == "schema"


# ---------------------------------------------------------------- the strict verdict


def strictly(calls: list[ToolCall], truth: Any, rules: Rules = "bfcl", in_order: bool = False) -> str:
    return judge(calls, [*DESK, REMIND], truth, rules, in_order, strict=True).fault


def test_calls_of_one_test_are_in_order_and_those_of_a_parallel_one_in_any() -> None:
    truth = [{"f": {"x": [2]}}, {"f": {"x": [1]}}]
    row = {**ROW, "function": [{"name": "f", "parameters": tool("f", x="integer").parameters}], "ground_truth": truth}
    row["predict"] = predicted('{"x": 1}') + predicted('{"x": 2}')
    for strict in (False, True):
        assert judge_row({**row, "test_category": "multiple"}, "bfcl", strict) == Verdict("value")
        assert judge_row({**row, "test_category": "parallel"}, "bfcl", strict) == Verdict()
        assert judge_row(row, "bfcl", strict) == Verdict()
        in_turn = {**row, "ground_truth": truth[::-1], "test_category": "multiple"}
        assert judge_row(in_turn, "bfcl", strict) == Verdict()


def test_strictly_calls_are_given_to_expectations_as_well_as_can_be() -> None:
    """The first call fits both; greedily it takes the only one that fits the second."""
    truth = [
        {"set_timer": {"minutes": [5], "label": ["egg", ""]}},
        {"set_timer": {"minutes": [5], "label": ["tea", ""]}},
    ]
    calls = [call("set_timer", minutes=5), call("set_timer", minutes=5, label="egg")]
    assert fault(calls, truth) == "value"
    assert strictly(calls, truth) == ""
    assert strictly(calls, truth, in_order=True) == "value"
    assert strictly([calls[1], calls[1]], truth) == "value"
    assert strictly(calls[:1], truth) == "count"


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=4, max_size=4))
def test_as_many_are_assigned_as_can_be(fits: list[list[bool]]) -> None:
    taken = assigned(fits)
    assert all(fits[row][column] for column, row in taken.items())
    assert len(set(taken.values())) == len(taken)
    assert len(taken) == max(
        sum(fits[row][column] for row, column in enumerate(order)) for order in permutations(range(4))
    )


@pytest.mark.parametrize(
    ("key", "value", "accepted", "official", "strict"),
    [
        ("extra", {"a": 1}, [{"a": [2]}], "", "value"),
        ("extra", {"a": 1}, [{"a": [2, 1], "b": ["", 3]}], "", ""),
        ("extra", {"a": 1}, [{"a": 1}], "", ""),
        ("unit", "New-York", ["new york"], "", "value"),
        ("unit", "New  York", ["new york"], "", ""),
        ("n", 2.5, [2.5], "", ""),
        ("n", 2, [2.0], "", ""),
        ("n", True, [1], "type", "type"),
        ("items", [{"n": 1}, {"n": 2}], [[{"n": [1]}, {"n": [2]}]], "", ""),
        ("items", [{"n": 2}, {"n": 1}], [[{"n": [1]}, {"n": [2]}]], "value", "value"),
    ],
)
def test_strictly_values_are_equal(key: str, value: Any, accepted: Any, official: str, strict: str) -> None:
    truth = [{"order": {"dish": ["x"], key: accepted}}]
    assert fault([call("order", dish="x", **{key: value})], truth) == official
    assert strictly([call("order", dish="x", **{key: value})], truth) == strict
    assert (
        strictly([call("order", dish="x", colour="red")], [{"order": {"dish": ["x"], "colour": ["red"]}}])
        == "unexpected"
    )
    assert strictly([call("order", dish="x")], truth) == "missing"
    assert strictly([call("play", artist="x")], truth) == "name"


def test_strictly_a_longer_string_is_wrong_and_one_call_is_one_answer() -> None:
    assert fault([call("remind", title="please: meeting!")], {"remind": {"title": "Meeting"}}, "ace", [REMIND]) == ""
    assert strictly([call("remind", title="please: meeting!")], {"remind": {"title": "Meeting"}}, "ace") == "value"
    assert strictly([call("remind", title="a", hour=7)], {"remind": {"title": "a", "hour": 8}}, "ace") == "value"
    assert strictly([call("remind", title="a")], {"remind": {"title": "a", "hour": 8}}, "ace") == "missing"
    two = {"remind_1": {"title": "a"}, "remind_2": {"title": "ab"}}
    both = [call("remind", title="ab"), call("remind", title="ab")]
    assert fault(both, two, "ace", [REMIND]) == ""
    assert strictly(both, two, "ace") == "value"
    assert strictly([both[0], call("remind", title="a")], two, "ace") == ""
    assert strictly([call("remind", title="A")], [{"remind": {"title": "b"}}, {"remind": {"title": "a"}}], "ace") == ""
    assert strictly([], [], "ace") == "schema"


@given(JSON)
def test_a_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)
    assert not same([value], value)


def test_a_function_without_a_schema_fails_its_row() -> None:
    assert fault([call("f", x=1)], [{"f": {"x": [1]}}]) == "schema"
    assert fault([call("f", x=1)], {"f": {"x": 1}}, "ace") == "schema"
    assert fault([call("f", x=1)], [{"f": {"x": [1]}}], tools=[tool("f", x="complex")]) == "schema"


def test_rows_come_as_json_text_or_as_values() -> None:
    functions = [{"type": "function", "function": {"name": "f", "parameters": tool("f", x="integer").parameters}}]
    row = {"function": functions, "ground_truth": [{"f": {"x": [1]}}], "predict": ""}
    for x, expected in ((1, ""), (2, "value")):
        row["predict"] = f'<tool_call>{{"name": "f", "arguments": {{"x": {x}}}}}</tool_call>'
        as_text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()}
        bare = {**row, "function": [entry["function"] for entry in functions]}
        assert judge_row(row, "bfcl") == judge_row(as_text, "bfcl") == judge_row(bare, "bfcl") == Verdict(expected)
    assert judge_row({**row, "predict": "no call"}, "bfcl") == Verdict("count")


def test_the_desk_s_own_tools_are_judged() -> None:
    timer = [{"set_timer": {"seconds": [300]}}]
    assert judge([call("set_timer", seconds=300)], TOOLS, timer, "bfcl").right
    assert judge([call("set_timer", seconds=30)], TOOLS, timer, "bfcl").fault == "value"
    assert judge([call("set_timer", seconds="300")], TOOLS, timer, "bfcl").fault == "type"


def test_accuracy_is_the_share_of_rows_that_are_right() -> None:
    verdicts = [Verdict()] * 6 + [Verdict("value")] * 3 + [Verdict("count")]
    result = accuracy(verdicts)
    assert (result.right, result.rows, result.share.value) == (6, 10, 0.6)
    assert result.faults == {"value": 3, "count": 1}
    assert result.share.low is not None
    assert result.share.high is not None
    assert result.share.low < 0.6 < result.share.high
    assert accuracy(verdicts) == result
    assert accuracy([]).share.value is None


def test_exactly_these_calls_are_right_and_no_others() -> None:
    wanted = [call("set_timer", minutes=5, label="egg"), call("play", artist="Bach")]
    truth = exactly(wanted)
    assert fault(wanted, truth) == fault(wanted[::-1], truth) == ""
    assert fault(wanted[:1], truth) == "count"
    assert fault([wanted[0], call("play", artist="Brahms")], truth) == "value"
    assert fault([call("set_timer", minutes=5), wanted[1]], truth) == "missing"


def test_measured_sets_stand_in_the_columns_of_what_was_reported() -> None:
    verdicts = [Verdict()] * 3 + [Verdict("name")]
    sets: dict[Column, Accuracy] = {
        "BFCL parallel": accuracy([Verdict()]),
        "BFCL single": accuracy(verdicts, strict=verdicts[2:]),
    }
    table = accuracy_table({"ours": sets, "all": dict.fromkeys(COLUMNS, accuracy(verdicts))})
    heads = [str(column.header) for column in table.columns]
    rows = {
        cells[0]: dict(zip(heads, cells, strict=False)) for cells in zip(*(c.cells for c in table.columns), strict=True)
    }
    assert heads == ["", *COLUMNS, "mean", "95 %", "right", "strictly", "faults"]
    first = next(iter(REPORTED))
    assert rows[f"[dim]{first}, reported[/]"]["BFCL single"] == "[dim]92.73[/]"
    assert [rows["ours"][name] for name in COLUMNS] == ["–", "–", "75.00", "100.00", "–"]
    assert (rows["ours"]["mean"], rows["all"]["mean"]) == ("–", "75.00")
    assert not any(rows["ours"][name] for name in ("95 %", "right", "strictly", "faults"))
    assert (rows["  BFCL single"]["right"], rows["  BFCL single"]["faults"]) == ("3 of 4", "name 1")
    assert not any(rows["  BFCL single"][name] for name in (*COLUMNS, "mean"))
    named = list(table.columns[0].cells)
    assert named[len(REPORTED) : len(REPORTED) + 3] == ["ours", "  BFCL parallel", "  BFCL single"]
    ours = {head: list(column.cells)[len(REPORTED) + 2] for head, column in zip(heads, table.columns, strict=True)}
    assert (ours["strictly"], ours["95 %"]) == ("1 of 4", "25.0…100.0")
