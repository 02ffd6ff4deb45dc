"""A tokenizer for a small world: its words are one token each, any other word is spelt by letters.

For language models that are trained from nothing; a model of the hub brings its own. It is a tokenizer of
transformers like any other, with a chat template, and is saved and loaded with its model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import ascii_lowercase, digits
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SYSTEM, USER, ASSISTANT, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
CALL, CALLED = "<call>", "</call>"
"""Around a call of a tool."""
PAD, UNKNOWN = "<pad>", "<unknown>"
_WORD = r"[\w']+|[^\w\s]"
_CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def words_tokenizer(words: Iterable[str]) -> Any:
    """A tokenizer of these words and marks, in lower case; others are spelt in a-z, 0-9 and '."""
    spelt = (*ascii_lowercase, *digits, "'")
    special = (PAD, UNKNOWN, SYSTEM, USER, ASSISTANT, END, CALL, CALLED)
    known = (*special, *spelt, *(f"##{letter}" for letter in spelt), *sorted(words))
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(known))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True)
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=list(special[2:]),
        chat_template=_CHAT,
        clean_up_tokenization_spaces=False,
    )


def words_of(text: str) -> list[str]:
    """The words and marks of a text, as the tokenizer cuts it."""
    return re.findall(_WORD, text.lower())


def written(text: str) -> str:
    """Decoded text as people write it: no space before a mark, a capital at the start of each sentence."""
    closed = re.sub(r"\s+([.,:;?!])", r"\1", text.strip())
    return re.sub(r"(^|[.?!] )([a-z])", lambda match: match[1] + match[2].upper(), closed)
