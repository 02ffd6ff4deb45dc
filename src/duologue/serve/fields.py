"""The objects inside client events: sessions, responses, items, tools."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

TAGS = frozenset({"server_vad", "semantic_vad", "message", "function_call", "function_call_output", "item_reference"})
"""Names that pydantic puts into the path of an error for the variant that it chose."""

Modalities = list[Literal["audio", "text"]]


class Lenient(BaseModel):
    """Fields that are not known are passed over."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Exact(BaseModel):
    """Fields that are not known are an error."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="forbid")


def _invalid(message: str) -> PydanticCustomError:
    return PydanticCustomError("value_error", "{message}", {"message": message})


# ---------------------------------------------------------------- small ones


def _one_modality(modalities: Modalities) -> Modalities:
    if len(modalities) != 1:
        raise _invalid('output_modalities is ["audio"] or ["text"], one of the two')
    return modalities


def _voice_name(voice: Any) -> Any:
    return voice["id"] if isinstance(voice, dict) and isinstance(voice.get("id"), str) else voice


def _output_tokens(number: Any) -> Any:
    whole = isinstance(number, int) and not isinstance(number, bool)
    if number is None or number == "inf" or (whole and 1 <= number <= 4096):
        return number
    raise _invalid('max_output_tokens is an integer from 1 to 4096, or "inf"')


def _tool_choice(choice: Any) -> Any:
    named = isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str)
    if named or choice is None or choice in ("auto", "none", "required"):
        return choice
    raise _invalid('tool_choice is "auto", "none", "required" or {"type": "function", "name": NAME}')


def _plain_json(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(schema, allow_nan=False)
    except ValueError:
        raise _invalid("every number has to be finite") from None
    return schema


OneModality = Annotated[Modalities, AfterValidator(_one_modality)]
Voice = Annotated[str, BeforeValidator(_voice_name)]
OutputTokens = Annotated[Any, BeforeValidator(_output_tokens)]
ToolChoice = Annotated[Any, BeforeValidator(_tool_choice)]


class ToolFields(Lenient):
    type: Literal["function"] = "function"
    name: Annotated[str, Field(min_length=1, max_length=64)]
    description: str | None = None
    parameters: Annotated[dict[str, Any], AfterValidator(_plain_json)] | None = None


class Format(Exact):
    """How sound travels: PCM of 16 bits at 24 kHz, or G.711 at 8 kHz."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24000] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "rate": 24000} if self.type == "audio/pcm" else {"type": self.type}


# ---------------------------------------------------------------- a session


class ServerVad(Exact):
    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] | None = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5_000)] | None = 300
    silence_duration_ms: Annotated[int, Field(ge=32, le=10_000)] | None = 500
    create_response: bool | None = True
    interrupt_response: bool | None = True
    idle_timeout_ms: int | None = None


class SemanticVad(Exact):
    type: Literal["semantic_vad"] = "semantic_vad"
    eagerness: Literal["auto", "low", "medium", "high"] | None = "auto"
    create_response: bool | None = True
    interrupt_response: bool | None = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class Transcription(Exact):
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    languages: list[str] | None = None
    keywords: list[str] | None = None
    delay: str | None = None


class InputFields(Exact):
    format: Format | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetection | None = None
    noise_reduction: dict[str, Any] | None = None


class OutputFields(Exact):
    format: Format | None = None
    voice: Voice | None = None
    speed: Annotated[float, Field(ge=0.25, le=1.5)] | None = None


class AudioFields(Exact):
    input: InputFields | None = None
    output: OutputFields | None = None


class _Unserved(Exact):
    """Known fields that change nothing here; the session shows what is in effect."""

    prompt: Any = None
    parallel_tool_calls: Any = None
    reasoning: Any = None
    tracing: Any = None
    include: Any = None
    truncation: Any = None


class SessionFields(_Unserved):
    type: Literal["realtime"]
    model: str | None = None
    instructions: str | None = None
    output_modalities: OneModality | None = None
    tools: list[ToolFields] | None = None
    tool_choice: ToolChoice = None
    max_output_tokens: OutputTokens = None
    audio: AudioFields | None = None


class Expiry(Exact):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7200)] = 600


class SessionRequest(Exact):
    """A request for a client secret."""

    expires_after: Expiry = Expiry()
    session: SessionFields = SessionFields(type="realtime")


# ---------------------------------------------------------------- items


class PartFields(Lenient):
    """A part of a message. Which fields it needs depends on its type; see `MessageFields`."""

    type: Literal["input_text", "text", "output_text", "input_audio", "output_audio", "input_image"]
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None
    image_url: str | None = None


class MessageFields(Lenient):
    type: Literal["message"]
    id: Annotated[str, Field(min_length=1)] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: list[PartFields]


class CallFields(Lenient):
    type: Literal["function_call"]
    id: Annotated[str, Field(min_length=1)] | None = None
    call_id: str | None = None
    name: str
    arguments: str


class OutputOfCallFields(Lenient):
    type: Literal["function_call_output"]
    id: Annotated[str, Field(min_length=1)] | None = None
    call_id: str
    output: str


class ReferenceFields(Lenient):
    type: Literal["item_reference"]
    id: str


ItemFields = Annotated[MessageFields | CallFields | OutputOfCallFields, Field(discriminator="type")]
InputItemFields = Annotated[
    MessageFields | CallFields | OutputOfCallFields | ReferenceFields, Field(discriminator="type")
]


# ---------------------------------------------------------------- a response


class ResponseOutputFields(Exact):
    format: Format | None = None
    voice: Voice | None = None
    speed: float | None = None


class ResponseAudioFields(Exact):
    output: ResponseOutputFields | None = None


class ResponseFields(_Unserved):
    """What one response does differently from the session."""

    instructions: str | None = None
    output_modalities: OneModality | None = None
    tools: list[ToolFields] | None = None
    tool_choice: ToolChoice = None
    max_output_tokens: OutputTokens = None
    metadata: dict[str, str] | None = None
    conversation: Literal["auto", "none"] | None = None
    input: list[InputItemFields] | None = None
    audio: ResponseAudioFields | None = None
    temperature: Any = None
