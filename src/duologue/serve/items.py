"""Items that a client makes: from their fields to what the conversation holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from duologue.serve.conversation import Item, new_id
from duologue.serve.events import EventError
from duologue.serve.fields import CallFields, MessageFields, OutputOfCallFields, PartFields
from duologue.serve.wire import Incoming, decode_base64
from duologue.session import Audio

_PARTS = {
    "user": {"input_text", "text", "input_audio", "input_image"},
    "system": {"input_text", "text"},
    "developer": {"input_text", "text"},
    "assistant": {"output_text", "text", "input_text", "output_audio"},
}


async def read_item(fields: MessageFields | CallFields | OutputOfCallFields, format_name: str) -> Item:
    """The item that the fields describe; its sound is in the session's input format. Raises EventError."""
    item_id = fields.id or new_id("item")
    if isinstance(fields, CallFields):
        call_id = fields.call_id or new_id("call")
        return Item(item_id, "function_call", call_id=call_id, name=fields.name, arguments=fields.arguments)
    if isinstance(fields, OutputOfCallFields):
        return Item(item_id, "function_call_output", call_id=fields.call_id, output=fields.output)
    return await _read_message(item_id, fields, format_name)


async def _read_message(item_id: str, fields: MessageFields, format_name: str) -> Item:
    content, sounds = [], list[Audio]()
    for index, part in enumerate(fields.content):
        _refuse_unfit(fields.role, part, f"item.content[{index}]")
        content.append(_shown(fields.role, part))
        if part.type == "input_audio" and part.transcript is None:
            sounds.append(await _sound(part.audio or "", format_name))
    role = "system" if fields.role == "developer" else fields.role
    audio = np.concatenate(sounds) if sounds else None
    return Item(item_id, "message", role, content=tuple(content), audio=audio)


def _refuse_unfit(role: str, part: PartFields, where: str) -> None:
    if part.type not in _PARTS[role]:
        raise EventError("invalid_value", f"A {role} message has no parts of type {part.type!r}.", f"{where}.type")
    needed = "text" if part.type.endswith("text") else "audio" if part.type == "input_audio" else None
    if needed is not None and getattr(part, needed) is None:
        raise EventError("missing_required_parameter", f"A part needs its {needed}.", f"{where}.{needed}")


def _shown(role: str, part: PartFields) -> dict[str, Any]:
    """The part as the protocol shows it: no sound, no picture."""
    if part.type == "input_audio":
        return {"type": "input_audio", "transcript": part.transcript}
    if part.type == "output_audio":
        return {"type": "output_audio", "transcript": part.transcript or ""}
    if part.type == "input_image":
        return {"type": "input_image"}
    return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text}


async def _sound(base64_text: str, format_name: str) -> Audio:
    incoming = Incoming(format_name)
    sound = await decode_base64(base64_text, format_name)
    return np.concatenate((incoming.push(sound), incoming.flush()))
