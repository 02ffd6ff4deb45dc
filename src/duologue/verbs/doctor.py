"""`duologue doctor`: what is installed, what is missing, how to get it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

HELP = "What is installed, what is missing, how to get it."
EXAMPLE = "  duologue doctor --json"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """0 when the main job can run here, 1 when it cannot."""
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
