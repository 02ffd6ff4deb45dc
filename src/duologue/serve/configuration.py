"""What a session is set to: sparse updates merged in, every value shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from duologue.dialogue import Tool
from duologue.serve.events import EventError
from duologue.serve.fields import (
    Format,
    InputFields,
    OutputFields,
    ResponseFields,
    SemanticVad,
    ServerVad,
    SessionFields,
    ToolFields,
    Transcription,
)
from duologue.serve.limits import Limits
from duologue.sound.utterance import UtteranceSettings
from duologue.turns import TurnSettings

Modality = Literal["audio", "text"]

DEFAULT_VOICE = "default"

_SEMANTIC_SILENCE_MS = {"high": 400, "auto": 600, "medium": 600, "low": 1_200}
"""Silence that ends a turn when no model judges whether the sentence is complete; always less than the longest
wait that the protocol allows for that eagerness."""


@dataclass(frozen=True)
class Configuration:
    """The effective settings of a session, or of one response. `voices` are those that the system has."""

    model: str
    voices: tuple[str, ...] = (DEFAULT_VOICE,)
    instructions: str = ""
    modality: Modality = "audio"
    tools: tuple[ToolFields, ...] = ()
    tool_choice: Any = "auto"
    max_output_tokens: int | Literal["inf"] = "inf"
    input_format: Format = field(default_factory=Format)
    transcription: Transcription | None = None
    turn_detection: ServerVad | SemanticVad | None = field(default_factory=ServerVad)
    output_format: Format = field(default_factory=Format)
    voice: str = ""

    # ------------------------------------------------ changing

    def updated(self, fields: SessionFields, limits: Limits) -> Self:
        """The settings after a `session.update`. Absent: unchanged; null: the default, or off."""
        changes = _common_changes(fields, limits)
        if fields.audio is not None and fields.audio.input is not None:
            changes |= self._input_changes(fields.audio.input)
        if fields.audio is not None and fields.audio.output is not None:
            changes |= self._output_changes(fields.audio.output)
        return replace(self, **changes)

    def for_response(self, fields: ResponseFields | None, limits: Limits) -> Self:
        """The settings of one response."""
        if fields is None:
            return self
        changes = _common_changes(fields, limits)
        if fields.audio is not None and fields.audio.output is not None:
            output = fields.audio.output
            changes |= self._output_changes(OutputFields(**{k: getattr(output, k) for k in output.model_fields_set}))
        return replace(self, **changes)

    def _input_changes(self, fields: InputFields) -> dict[str, Any]:
        given, changes = fields.model_fields_set, dict[str, Any]()
        if "format" in given:
            changes["input_format"] = fields.format or Format()
        if "transcription" in given:
            changes["transcription"] = fields.transcription
        if "turn_detection" in given:
            changes["turn_detection"] = self._detection(fields.turn_detection)
        return changes

    def _detection(self, sent: ServerVad | SemanticVad | None) -> ServerVad | SemanticVad | None:
        if sent is None:
            return None
        held = self.turn_detection if type(self.turn_detection) is type(sent) else type(sent)()
        assert held is not None
        return held.model_copy(update=sent.model_dump(exclude_unset=True, exclude_none=True))

    def _output_changes(self, fields: OutputFields) -> dict[str, Any]:
        given, changes = fields.model_fields_set, dict[str, Any]()
        if "format" in given:
            changes["output_format"] = fields.format or Format()
        if "voice" in given:
            changes["voice"] = fields.voice if fields.voice in self.voices else ""
        return changes

    # ------------------------------------------------ using

    @property
    def own_voice(self) -> str | None:
        """The voice to ask the system for; None leaves it to the system."""
        return self.voice or None

    @property
    def offered_tools(self) -> tuple[Tool, ...] | None:
        """The functions that the client executes; None when it has none, and the system's own are used."""
        if not self.tools:
            return None
        if self.tool_choice == "none":
            return ()
        named = self.tool_choice["name"] if isinstance(self.tool_choice, dict) else None
        chosen = (tool for tool in self.tools if named in (None, tool.name))
        return tuple(Tool(tool.name, tool.description or "", tool.parameters or {}) for tool in chosen)

    def turn_settings(self, settings: TurnSettings) -> TurnSettings:
        """`settings` with what this session asks of turn-taking; replies are always started by the server."""
        detection = self.turn_detection
        if detection is None:
            return replace(settings, auto_reply=False)
        return replace(
            settings,
            auto_reply=False,
            interrupt=bool(detection.interrupt_response),
            utterance=self._utterance_settings(settings.utterance, detection),
        )

    @staticmethod
    def _utterance_settings(held: UtteranceSettings, detection: ServerVad | SemanticVad) -> UtteranceSettings:
        if isinstance(detection, SemanticVad):
            return replace(held, min_silence_ms=_SEMANTIC_SILENCE_MS[detection.eagerness or "auto"])
        asked: dict[str, Any] = {
            "threshold": detection.threshold,
            "pre_roll_ms": detection.prefix_padding_ms,
            "min_silence_ms": detection.silence_duration_ms,
        }
        return replace(held, **{name: value for name, value in asked.items() if value is not None})

    # ------------------------------------------------ showing

    def to_json(self, session_id: str, expires_at: int) -> dict[str, Any]:
        """The session object of the protocol, every default shown."""
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": self.model,
            "expires_at": expires_at,
            "output_modalities": [self.modality],
            "instructions": self.instructions,
            "tools": [_tool_json(tool) for tool in self.tools],
            "tool_choice": self.tool_choice,
            "max_output_tokens": self.max_output_tokens,
            "audio": {"input": self._input_json(), "output": self.output_json() | {"speed": 1.0}},
        }

    def output_json(self) -> dict[str, Any]:
        return {"format": self.output_format.to_json(), "voice": self.voice or self.voices[0]}

    def _input_json(self) -> dict[str, Any]:
        return {
            "format": self.input_format.to_json(),
            "transcription": self._transcription_json(),
            "noise_reduction": None,
            "turn_detection": self._detection_json(),
        }

    def _transcription_json(self) -> dict[str, Any] | None:
        """The keys that the client sent, and no others; the model is always ours."""
        if self.transcription is None:
            return None
        sent = self.transcription.model_dump(include={"model", "language", "prompt"}, exclude_none=True)
        return sent | {"model": self.model} if "model" in sent else sent

    def _detection_json(self) -> dict[str, Any] | None:
        if self.turn_detection is None:
            return None
        shown = self.turn_detection.model_dump()
        return shown | {"idle_timeout_ms": None} if "idle_timeout_ms" in shown else shown


def _common_changes(fields: SessionFields | ResponseFields, limits: Limits) -> dict[str, Any]:
    """What sessions and responses have in common, as far as it was given."""
    given, changes = fields.model_fields_set, dict[str, Any]()
    if "instructions" in given:
        changes["instructions"] = _bounded(fields.instructions or "", limits)
    if "output_modalities" in given:
        changes["modality"] = (fields.output_modalities or ["audio"])[0]
    if "tools" in given:
        changes["tools"] = _few_enough(fields.tools or [], limits)
    if "tool_choice" in given:
        changes["tool_choice"] = fields.tool_choice or "auto"
    if "max_output_tokens" in given:
        changes["max_output_tokens"] = fields.max_output_tokens or "inf"
    return changes


def _bounded(text: str, limits: Limits) -> str:
    if len(text.encode()) > limits.item_text_bytes:
        raise EventError("invalid_value", f"instructions may be {limits.item_text_bytes} bytes long.", "instructions")
    return text


def _few_enough(tools: list[ToolFields], limits: Limits) -> tuple[ToolFields, ...]:
    if len(tools) > limits.tools:
        raise EventError("invalid_value", f"There may be {limits.tools} tools, not {len(tools)}.", "tools")
    return tuple(tools)


def _tool_json(tool: ToolFields) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
