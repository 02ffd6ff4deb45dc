"""duologue's verbs: `duologue VERB --help` shows an example of each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from duologue import __version__
from duologue.verbs import doctor, evaluate, serve, synth, talk, train

VERBS = {"talk": talk, "serve": serve, "synth": synth, "train": train, "eval": evaluate, "doctor": doctor}


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
    for name, verb in VERBS.items():
        shape = argparse.RawDescriptionHelpFormatter
        example = f"example:\n{verb.EXAMPLE}"
        added = verbs.add_parser(name, help=verb.HELP, description=verb.HELP, epilog=example, formatter_class=shape)
        verb.options(added)
        added.set_defaults(run=verb.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
