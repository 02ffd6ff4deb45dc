"""Minds: endpoints, local models and the desk, all as one stream of text and tool calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines import EngineError
from duologue.engines.llm import DeskMind, OpenAIChat, TransformersChat, chat_messages, split_tool_calls
from endpoint import Endpoint

HISTORY = (Message("user", "Tell me about Paris."), Message("assistant", "It is", interrupted=True))
WEATHER = Tool("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture
def endpoint() -> Iterator[tuple[Endpoint, OpenAIChat]]:
    served = Endpoint()
    with served.running() as url:
        yield served, OpenAIChat("m", base_url=url, api_key="k")


def test_an_endpoint_is_streamed(endpoint: tuple[Endpoint, OpenAIChat]) -> None:
    served, chat = endpoint
    served.deltas = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo."}]
    assert list(chat.think([*HISTORY, Message("user", "Go on.")], ())) == ["Hel", "lo."]
    messages = served.asked[0]["messages"]
    assert [row["role"] for row in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == "It is [interrupted]"
    assert "tools" not in served.asked[0]


def test_an_endpoints_tool_calls_come_whole(endpoint: tuple[Endpoint, OpenAIChat]) -> None:
    served, chat = endpoint

    def fragment(index: int, **function: str) -> dict[str, object]:
        return {"index": index, "function": function}

    served.deltas = [
        {"tool_calls": [fragment(0, name="weather", arguments="") | {"id": "c1"}]},
        {"tool_calls": [fragment(0, arguments='{"city": ')]},
        {
            "tool_calls": [
                fragment(0, arguments='"Paris"}'),
                fragment(1, name="weather", arguments="{}") | {"id": "c2"},
            ]
        },
    ]
    calls = list(chat.think([Message("user", "Weather?")], [WEATHER]))
    assert calls == [ToolCall("c1", "weather", '{"city": "Paris"}'), ToolCall("c2", "weather", "{}")]
    assert served.asked[0]["tools"][0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}


def test_an_endpoints_failure_is_told(endpoint: tuple[Endpoint, OpenAIChat]) -> None:
    served, chat = endpoint
    served.fails = True
    with pytest.raises(EngineError, match="chat endpoint .* failed"):
        list(chat.think([Message("user", "Hello")], ()))


def test_the_history_in_chat_format_has_calls_and_results() -> None:
    call = ToolCall("c1", "weather", "{}")
    rows = chat_messages([Message("assistant", tool_calls=(call,)), Message("tool", "sunny", call_id="c1")])
    assert rows[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}
    assert rows[2] == {"role": "tool", "content": "sunny", "tool_call_id": "c1"}


def chunks(text: str, sizes: list[int]) -> Iterator[str]:
    at = 0
    for size in [*sizes, len(text)]:
        if text[at : at + size]:
            yield text[at : at + size]
        at += size


@given(st.lists(st.integers(1, 20), max_size=30))
def test_tool_calls_are_found_whatever_the_pieces(sizes: list[int]) -> None:
    first = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    second = '<tool_call>{"name": "g"}</tool_call>'
    text = f"I <b> look. {first}\n{second} <"
    parts = list(split_tool_calls(chunks(text, sizes)))
    assert "".join(part for part in parts if isinstance(part, str)).split() == ["I", "<b>", "look.", "<"]
    assert [part for part in parts if isinstance(part, ToolCall)] == [
        ToolCall("call_1", "f", '{"a": 1}'),
        ToolCall("call_2", "g", "{}"),
    ]


def test_a_tool_call_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        list(split_tool_calls(iter(["<tool_call>not json</tool_call>"])))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("tiny")
    words = {word: i for i, word in enumerate(["<unk>", "<eos>", "user", "assistant", "system", "hello", "one", "two"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>")
    fast.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}assistant "
    fast.save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, eos_token_id=None, pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def test_a_local_model_writes_the_same_reply_twice_and_can_be_stopped(tiny_model: Path) -> None:
    chat = TransformersChat(str(tiny_model), max_new_tokens=12)
    history = [Message("user", "hello")]
    first = "".join(str(piece) for piece in chat.think(history, ()))
    assert first.split()
    assert first == "".join(str(piece) for piece in chat.think(history, ()))
    endless = TransformersChat(str(tiny_model), max_new_tokens=100_000).think(history, ())
    next(endless)
    endless.close()  # type: ignore[attr-defined]


def test_a_model_without_chat_template_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("chat_template*"))
    with pytest.raises(EngineError, match="has no chat template"):
        TransformersChat(str(bare))


def test_a_missing_model_is_named() -> None:
    with pytest.raises(EngineError, match="no language model at '/no/such/model'"):
        TransformersChat("/no/such/model")


def test_the_desk_answers_and_calls_its_tools() -> None:
    desk = Desk()
    mind = DeskMind(desk)
    answer = "".join(str(piece) for piece in mind.think([Message("user", "what is twelve plus seven")], ()))
    assert "nineteen" in answer
    (call,) = mind.think([Message("user", "set a timer for ten minutes")], ())
    assert isinstance(call, ToolCall)
    assert "error" not in desk.run(call)
