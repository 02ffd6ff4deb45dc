"""Tokens of a response, estimated: systems count differently, and the protocol wants numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HEARD_TOKENS_PER_S = 10
SAID_TOKENS_PER_S = 20
CHARACTERS_PER_TOKEN = 4


def usage(read: Iterable[str], heard_s: float, written: Iterable[str], said_s: float) -> dict[str, Any]:
    """The `usage` object: texts that were read and sound that was heard, texts that were written and sound said."""
    put_in = _tokens(read, heard_s * HEARD_TOKENS_PER_S)
    put_out = _tokens(written, said_s * SAID_TOKENS_PER_S)
    input_tokens, output_tokens = sum(put_in.values()), sum(put_out.values())
    return {
        "total_tokens": input_tokens + output_tokens,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "input_token_details": put_in | {"cached_tokens": 0},
        "output_token_details": put_out,
    }


def _tokens(texts: Iterable[str], audio_tokens: float) -> dict[str, int]:
    text_tokens = sum(-(-len(text) // CHARACTERS_PER_TOKEN) for text in texts)
    return {"text_tokens": text_tokens, "audio_tokens": round(audio_tokens)}
