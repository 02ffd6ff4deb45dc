"""`duologue talk`: answer a recording of a person in lock-step, or the microphone."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from duologue.verbs import system

if TYPE_CHECKING:
    from duologue.session import Event
    from duologue.talk import Conversation, Converser

HELP = "Answer a recording of a person, or the microphone."
EXAMPLE = """\
  duologue talk question.wav answer.wav     # also writes answer.json and answer.png
  duologue talk --system omni_flatten question.wav answer.wav
  duologue talk                             # the microphone; wear headphones"""
LOCK_STEP_CLOCK = "2026-01-05T09:00"
"""What the desk's clock says when a recording is answered: always the same, so that the answers are."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("heard", nargs="?", type=Path, help="recording of a person (wav, flac, ogg, mp3)")
    parser.add_argument("said", nargs="?", type=Path, help="stereo file to write: person left, duologue right")
    parser.add_argument("--json", action="store_true", help="print the events as JSON instead of the conversation")
    parser.add_argument("--confirm-ms", type=int, default=200, help="speech that stops a reply (default: %(default)s)")
    parser.add_argument("--silence-ms", type=int, default=600, help="silence that ends a turn (default: %(default)s)")
    parser.add_argument(
        "--now",
        type=datetime.fromisoformat,
        default=None,
        help=f"what the clock says; a recording is answered as if it were {LOCK_STEP_CLOCK}",
    )
    system.options(parser)


def run(options: argparse.Namespace) -> int:
    """A recording in lock-step, or the microphone."""
    if options.heard is not None and options.said is None:
        raise ValueError(f"say where to write the conversation: duologue talk {options.heard} answer.wav")
    if options.said is not None:
        from duologue.sound.wav import kind_of

        kind_of(options.said)
    session = _session(options)
    if options.heard is None:
        from duologue.microphone import converse_live

        print("Listening. Ctrl-C ends the call.", file=sys.stderr)
        converse_live(session, _tell)
        return 0
    return _answer_recording(session, options)


def _session(options: argparse.Namespace) -> Converser:
    from duologue.sound.utterance import UtteranceSettings
    from duologue.turns import TurnSession, TurnSettings

    fixed = options.now or (datetime.fromisoformat(LOCK_STEP_CLOCK) if options.heard else None)
    now = (lambda: fixed) if fixed else datetime.now
    if system.is_duplex(options):
        return system.duplex(options, now)()
    utterance = UtteranceSettings(min_silence_ms=options.silence_ms)
    settings = TurnSettings(utterance, confirm_ms=options.confirm_ms)
    return TurnSession(system.turn_taker(options, now)(), settings=settings)


def _answer_recording(session: Converser, options: argparse.Namespace) -> int:
    from duologue.evaluate import timeline
    from duologue.session import HEARD_HZ
    from duologue.sound import wav
    from duologue.talk import converse
    from duologue.whole import whole_file

    conversation = converse(session, wav.read(options.heard, HEARD_HZ))
    as_json = json.dumps(conversation.to_json(), ensure_ascii=False, indent=1)
    wav.write(options.said, conversation.sound, conversation.hz)
    whole_file(options.said.with_suffix(".json"), lambda file: file.write(as_json.encode()))
    timeline.draw(conversation, options.said.with_suffix(".png"))
    if options.json:
        print(as_json)
    else:
        _show(conversation, options.said)
    return 0


def _tell(event: Event) -> None:
    match event.kind:
        case "heard":
            print(f"you       {event.data['text']}")
        case "said":
            print(f"duologue  {event.data['text'].strip()}")
        case "tool_call":
            print(f"          {event.data['name']}({event.data['arguments']})")
        case "stopped":
            print("          (gives way)")
        case "failed":
            print(f"          {event.data['message']}", file=sys.stderr)


def _show(conversation: Conversation, path: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    colours = {"user": "cyan", "assistant": "yellow"}
    for utterance in conversation.dialogue:
        times = f"{utterance.start_s:7.2f} – {utterance.end_s:6.2f} s"
        text = utterance.text + (" —" if utterance.cut else "")
        console.print(f"[dim]{times}[/]  [{colours[utterance.speaker]}]{utterance.speaker:9}[/]  {text}", markup=True)
    for event in conversation.events:
        if event.kind == "tool_call":
            console.print(f"[dim]{event.at_s:7.2f} s[/]  called {event.data['name']}({event.data['arguments']})")
        if event.kind == "failed":
            console.print(f"[dim]{event.at_s:7.2f} s[/]  [red]{event.data['message']}[/]")
    console.print(f"[dim]{path} · {path.with_suffix('.json')} · {path.with_suffix('.png')}[/]")
