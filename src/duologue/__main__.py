"""duologue's verbs: `duologue VERB --help` shows an example of each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from duologue import __version__

if TYPE_CHECKING:
    from duologue.session import Event, TurnTaker
    from duologue.talk import Conversation
    from duologue.turns import TurnSession

LOCK_STEP_CLOCK = "2026-01-05T09:00"
"""What the desk's clock says when a recording is answered: always the same, so that the answers are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. 0 when it worked; 2, with one line that says what to do, when it could not."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"duologue: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    what = "Models that converse by voice, listening while they speak."
    parser = argparse.ArgumentParser(prog="duologue", description=what)
    parser.add_argument("--version", action="version", version=f"duologue {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int], what: str, example: str) -> argparse.ArgumentParser:
        shape = argparse.RawDescriptionHelpFormatter
        added = verbs.add_parser(
            name, help=what, description=what, epilog=f"example:\n{example}", formatter_class=shape
        )
        added.set_defaults(run=run)
        return added

    _talk_options(
        verb(
            "talk",
            talk,
            "Answer a recording of a person, or the microphone.",
            "  duologue talk question.wav answer.wav     # also writes answer.json and answer.png\n"
            "  duologue talk                             # the microphone; wear headphones",
        )
    )
    _serve_options(
        verb(
            "serve",
            serve,
            "Serve callers: a page, and the OpenAI Realtime protocol at /v1/realtime.",
            "  duologue serve --open                     # http://127.0.0.1:8765 in the browser\n"
            "  duologue serve --host 0.0.0.0 --key SECRET",
        )
    )
    look = verb("doctor", doctor, "What is installed, what is missing, how to get it.", "  duologue doctor --json")
    look.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--asr", default="pocketsphinx", help="pocketsphinx, whisper:PATH or openai:MODEL")
    parser.add_argument("--llm", default="desk", help="desk, transformers:PATH or openai:MODEL")
    parser.add_argument(
        "--tts", default="embedded", help="embedded, flite:VOICE, espeak:VOICE, vits:PATH, openai:MODEL"
    )


def _system(options: argparse.Namespace, now: Callable[[], datetime]) -> Callable[[], TurnTaker]:
    """A factory of the system that the options name. One is made at once, so that a wrong name is told early."""
    from duologue.systems import SYSTEMS

    factory = partial(SYSTEMS["clean_s2s"], options.asr, options.llm, options.tts, now)
    factory()
    return factory


# ---------------------------------------------------------------- talk


def _talk_options(parser: argparse.ArgumentParser) -> None:
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
    _engine_options(parser)


def talk(options: argparse.Namespace) -> int:
    """`duologue talk`: a recording in lock-step, or the microphone."""
    from duologue.sound.utterance import UtteranceSettings
    from duologue.turns import TurnSession, TurnSettings

    if options.heard is not None and options.said is None:
        raise ValueError(f"say where to write the conversation: duologue talk {options.heard} answer.wav")
    fixed = options.now or (datetime.fromisoformat(LOCK_STEP_CLOCK) if options.heard else None)
    system = _system(options, (lambda: fixed) if fixed else datetime.now)()
    utterance = UtteranceSettings(min_silence_ms=options.silence_ms)
    session = TurnSession(system, settings=TurnSettings(utterance, confirm_ms=options.confirm_ms))
    if options.heard is None:
        from duologue.microphone import converse_live

        print("Listening. Ctrl-C ends the call.", file=sys.stderr)
        converse_live(session, _tell)
        return 0
    return _answer_recording(session, options)


def _answer_recording(session: TurnSession, options: argparse.Namespace) -> int:
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


# ---------------------------------------------------------------- serve


def _serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; another than this machine's needs a key")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--key", action="append", default=[], help="a key that callers must show; may be repeated")
    parser.add_argument("--callers", type=int, default=None, help="how many at once (default: 16)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    _engine_options(parser)


def serve(options: argparse.Namespace) -> int:
    """`duologue serve`: the page and the Realtime protocol until it is stopped."""
    from duologue.serve.limits import Limits
    from duologue.serve.server import ServeConfig
    from duologue.serve.server import serve as run

    system = _system(options, datetime.now)
    limits = Limits() if options.callers is None else Limits(slots=options.callers)
    config = ServeConfig(options.host, options.port, tuple(options.key), limits, open_page=options.open)
    return run({"clean_s2s": system}, config)


# ---------------------------------------------------------------- doctor


def doctor(options: argparse.Namespace) -> int:
    """`duologue doctor`: 0 when the main job can run here, 1 when it cannot."""
    from duologue.doctor import can_talk, examine

    findings = examine()
    ready, verdict = can_talk(findings)
    if options.json:
        print(json.dumps({"ready": ready, "verdict": verdict, "parts": [asdict(f) for f in findings]}, indent=1))
        return 0 if ready else 1
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    for column in ("", "part", "found", "gives", "to get it"):
        table.add_column(column)
    for finding in findings:
        there = finding.found is not None
        mark = "[green]✓[/]" if there else "[red]✗[/]" if finding.needed else "[dim]–[/]"
        table.add_row(mark, finding.part, finding.found or "", finding.gives, "" if there else finding.remedy)
    console = Console(highlight=False)
    console.print(table)
    console.print(verdict)
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
