"""What a client may send: eleven events, read strictly, and what is said when one cannot be used.

Fields that an event or item does not know are passed over; fields that a session or response does not know
are an error, because the client believes that it has set something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json

from duologue.serve.fields import TAGS, ItemFields, ResponseFields, SessionFields, SessionRequest


class EventError(Exception):
    """An event that cannot be used. The session goes on."""

    type = "invalid_request_error"

    def __init__(self, code: str, message: str, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param, self.event_id = code, message, param, event_id

    def to_json(self) -> dict[str, Any]:
        """The `error` object of the server's event; absent values are null here."""
        return {
            "type": self.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": self.event_id,
        }


# ---------------------------------------------------------------- the events


class ClientEvent(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    event_id: str | None = None


class SessionUpdate(ClientEvent):
    session: SessionFields


class Append(ClientEvent):
    audio: str


class Commit(ClientEvent):
    pass


class Clear(ClientEvent):
    pass


class ItemCreate(ClientEvent):
    item: ItemFields
    previous_item_id: str | None = None


class ItemRetrieve(ClientEvent):
    item_id: str


class ItemDelete(ClientEvent):
    item_id: str


class ItemTruncate(ClientEvent):
    item_id: str
    content_index: Annotated[int, Field(ge=0)]
    audio_end_ms: Annotated[int, Field(ge=0)]


class ResponseCreate(ClientEvent):
    response: ResponseFields | None = None


class ResponseCancel(ClientEvent):
    response_id: str | None = None


EVENTS: Mapping[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "conversation.item.create": ItemCreate,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.delete": ItemDelete,
    "conversation.item.truncate": ItemTruncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}
"""The tenth and eleventh: `output_audio_buffer.clear` is known, and belongs to WebRTC."""


# ---------------------------------------------------------------- reading


def read_event(text: str) -> ClientEvent:
    """One message of the client. Raises EventError."""
    return _read(read_fields(text))


def read_fields(text: str) -> dict[str, Any]:
    """The fields of a message, with a string "type" among them. Raises EventError."""
    try:
        fields = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise EventError("invalid_json", f"The message is not JSON: {error}. Send one JSON object.") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise EventError("invalid_event", 'An event is a JSON object with a string "type".', "type")
    return fields


def _read(fields: dict[str, Any]) -> ClientEvent:
    name, given_id = fields["type"], fields.get("event_id")
    event_id = given_id if isinstance(given_id, str) else None
    if name == "output_audio_buffer.clear":
        raise EventError(
            "unsupported_event",
            "output_audio_buffer.clear belongs to WebRTC; use conversation.item.truncate here.",
            "type",
            event_id,
        )
    if name not in EVENTS:
        raise EventError("unknown_event", f"There is no event {name[:80]!r}.", "type", event_id)
    try:
        return EVENTS[name].model_validate(fields)
    except ValidationError as error:
        raise error_of(error, event_id) from None


def read_session_request(text: bytes) -> SessionRequest:
    """The body of a request for a client secret. Raises EventError."""
    try:
        return SessionRequest.model_validate(from_json(text or b"{}", allow_inf_nan=False))
    except ValidationError as error:
        raise error_of(error) from None
    except ValueError as error:
        raise EventError("invalid_json", f"The body is not JSON: {error}. Send one JSON object.") from None


# ---------------------------------------------------------------- what is wrong


_CODES = {
    "missing": "missing_required_parameter",
    "union_tag_not_found": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
}
_SENTENCES = {
    "missing_required_parameter": "A required field is missing",
    "unknown_parameter": "There is no such field",
}


def error_of(error: ValidationError, event_id: str | None = None) -> EventError:
    """The first thing wrong, with the path to it."""
    first = error.errors(include_url=False, include_context=False)[0]
    param, kind = _path(first), first["type"]
    code = _CODES.get(kind, "invalid_type" if kind.endswith("_type") else "invalid_value")
    return EventError(code, f"{_SENTENCES.get(code, first['msg'])}: {param}", param, event_id)


def _path(error: ErrorDetails) -> str:
    path = ""
    for step in error["loc"]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in TAGS:
            path += f".{step}"
    if error["type"].startswith("union_tag"):
        path += ".type"
    return path.lstrip(".")
