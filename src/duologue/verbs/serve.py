"""`duologue serve`: callers by the page and by protocol."""

from __future__ import annotations

import argparse
from datetime import datetime

from duologue.verbs import system

HELP = "Serve callers: a page, the OpenAI Realtime protocol at /v1/realtime, full duplex at /v1/live."
EXAMPLE = """\
  duologue serve --open                     # http://127.0.0.1:8765 in the browser
  duologue serve --system omni_flatten --open
  duologue serve --host 0.0.0.0 --key SECRET"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; another than this machine's needs a key")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--key", action="append", default=[], help="a key that callers must show; may be repeated")
    parser.add_argument("--callers", type=int, default=None, help="how many at once (default: 16)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    system.options(parser)


def run(options: argparse.Namespace) -> int:
    """The page and the Realtime protocol until it is stopped."""
    from duologue.serve.limits import Limits
    from duologue.serve.server import ServeConfig, serve

    limits = Limits() if options.callers is None else Limits(slots=options.callers)
    config = ServeConfig(options.host, options.port, tuple(options.key), limits, open_page=options.open)
    if system.is_duplex(options):
        return serve({}, config, duplex={options.system: system.duplex(options, datetime.now)})
    return serve({options.system: system.turn_taker(options, datetime.now)}, config)
