"""Minds: the history in, the reply out as it is written. Closing the generator stops the writing.

The embedded mind is the desk (`duologue.desk`): a closed world whose every answer a program can check.
"""

from __future__ import annotations

import json
import os
import re
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from duologue.desk import Desk
from duologue.dialogue import Message, Tool, ToolCall
from duologue.engines import EngineError
from duologue.model.tagged_calls import CLOSES, OPENS, chat_tool, possible_start

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionChunk

SPOKEN_STYLE = (
    "You are talking with a person by voice. Answer in one to three short sentences that sound natural when read "
    "aloud: no lists, no markup, numbers in words. A reply of yours that ends in [interrupted] was cut off there."
)


class LLM(Protocol):
    """`think` yields the reply's text in pieces of any size, and the tool calls that it asks for.
    Raises EngineError."""

    def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str | ToolCall]: ...


class Toolbox(Protocol):
    """Functions that are executed on this side. `run` gives the result as JSON text and raises nothing."""

    @property
    def tools(self) -> tuple[Tool, ...]: ...

    def run(self, call: ToolCall) -> str: ...


class DeskMind:
    """The desk's answers as a stream. It knows its own tools; others are not its business."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str | ToolCall]:
        answer = self.desk.answer([message for message in messages if message.role != "system"])
        if answer.text:
            yield answer.text
        yield from answer.tool_calls


# ---------------------------------------------------------------- endpoint


class OpenAIChat:
    """Any OpenAI-compatible endpoint's /chat/completions, streamed."""

    def __init__(self, model: str, base_url: str | None = None, api_key: str | None = None) -> None:
        from openai import OpenAI

        self.model = model
        self._client = OpenAI(base_url=base_url, api_key=api_key or os.environ.get("OPENAI_API_KEY", "none"))
        weakref.finalize(self, self._client.close)

    def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str | ToolCall]:
        from openai import OpenAIError

        request: dict[str, Any] = {"model": self.model, "messages": chat_messages(messages), "stream": True}
        if tools:
            request["tools"] = [chat_tool(tool) for tool in tools]
        try:
            with self._client.chat.completions.create(**request) as stream:
                yield from _read(stream)
        except OpenAIError as error:
            raise EngineError(f"the chat endpoint {self._client.base_url} failed: {error}") from error


def _read(stream: Iterator[ChatCompletionChunk]) -> Iterator[str | ToolCall]:
    """Text at once; each tool call when all of its fragments have come."""
    calls: dict[int, dict[str, str]] = {}
    for chunk in stream:
        for choice in chunk.choices[:1]:
            if choice.delta.content:
                yield choice.delta.content
            for fragment in choice.delta.tool_calls or ():
                call = calls.setdefault(fragment.index, {"call_id": "", "name": "", "arguments": ""})
                call["call_id"] += fragment.id or ""
                if fragment.function is not None:
                    call["name"] += fragment.function.name or ""
                    call["arguments"] += fragment.function.arguments or ""
    for index in sorted(calls):
        yield ToolCall(**calls[index])


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The history in the chat format. What was cut says so."""
    rows = [_chat_message(message) for message in messages]
    return (
        rows if any(row["role"] == "system" for row in rows) else [{"role": "system", "content": SPOKEN_STYLE}, *rows]
    )


def _chat_message(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.interrupted:
        row["content"] += " [interrupted]"
    if message.call_id is not None:
        row["tool_call_id"] = message.call_id
    if message.tool_calls:
        row["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return row


# ---------------------------------------------------------------- local model


class TransformersChat:
    """A causal language model of transformers with a chat template, by path or hub id. Writes greedily, so the same
    history gives the same reply; tool calls are read in the `<tool_call>{…}</tool_call>` form of Hermes and Qwen."""

    def __init__(self, path_or_hub_id: str, max_new_tokens: int = 256) -> None:
        self._model, self._tokenizer = _causal_lm(path_or_hub_id)
        self.max_new_tokens = max_new_tokens

    def think(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Iterator[str | ToolCall]:
        written = self._write(chat_messages(messages), [chat_tool(tool) for tool in tools])
        try:
            yield from split_tool_calls(written)
        finally:
            written.close()

    def _write(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Generator[str]:
        """Generation runs in a thread of its own; closing this stops it at its next token."""
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        prompt = self._tokenizer.apply_chat_template(
            messages, tools=tools or None, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        closed, failure = threading.Event(), list[Exception]()

        def generate() -> None:
            try:
                self._model.generate(
                    **prompt,
                    streamer=streamer,
                    do_sample=False,
                    max_new_tokens=self.max_new_tokens,
                    stopping_criteria=StoppingCriteriaList([lambda ids, _scores: _all(closed.is_set(), len(ids))]),
                )
            except Exception as error:
                failure.append(error)
                streamer.end()

        thread = threading.Thread(target=generate, daemon=True)
        thread.start()
        try:
            yield from streamer
        finally:
            closed.set()
            thread.join()
        if failure:
            raise EngineError(f"the language model failed: {failure[0]}") from failure[0]


def _all(value: bool, rows: int) -> Any:
    import torch

    return torch.full((rows,), value, dtype=torch.bool)


@lru_cache(maxsize=2)
def _causal_lm(path_or_hub_id: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM

    from duologue.model.backbone import tokenizer_of

    try:
        model = AutoModelForCausalLM.from_pretrained(path_or_hub_id).eval()
        tokenizer = tokenizer_of(path_or_hub_id)
    except (OSError, ValueError) as error:
        raise EngineError(f"no language model at {path_or_hub_id!r}: {error}") from error
    if tokenizer.chat_template is None:
        raise EngineError(f"the model at {path_or_hub_id!r} has no chat template; choose one tuned for chat")
    return model, tokenizer


def split_tool_calls(written: Iterator[str]) -> Iterator[str | ToolCall]:
    """Text goes through as soon as it cannot be the beginning of a `<tool_call>`; calls come out whole."""
    text, calls = "", 0
    for piece in written:
        text += piece
        while OPENS in text and CLOSES in text:
            before, _, rest = text.partition(OPENS)
            body, _, text = rest.partition(CLOSES)
            if before.strip():
                yield before
            calls += 1
            yield _tool_call(body, f"call_{calls}")
        if OPENS not in text:
            safe = len(text) - possible_start(text)
            if safe:
                yield text[:safe]
            text = text[safe:]
    if text.strip():
        yield text


def _tool_call(body: str, call_id: str) -> ToolCall:
    try:
        call = json.loads(body)
        return ToolCall(call_id, str(call["name"]), json.dumps(call.get("arguments", {}), ensure_ascii=False))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        body = re.sub(r"\s+", " ", body).strip()
        raise EngineError(f"the language model wrote a tool call that cannot be read: {body[:200]}") from error
