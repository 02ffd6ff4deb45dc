"""What the server itself adds to a conversation, with a system that takes no time: by crowd, and under attack.

    python benchmarks/realtime.py [--callers 1 8 16]

Callers stream sound at the pace of time over loopback; both sides run on this machine. All times in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from serving import Caller, Event, pcm

Times = defaultdict[str, list[float]]

SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from scripted import LevelVad
from serving import Teller
from duologue.serve.limits import Limits
from duologue.serve.server import ServeConfig, serve
serve({"teller": lambda: Teller(words=25)}, ServeConfig(port=0, vad=LevelVad(), limits=Limits(slots=64)))
"""
HZ = 24_000
ROUNDS = 3


class Timed(Caller):
    """A caller that notes when each event came."""

    async def next(self) -> Event:
        event: Event = json.loads(await asyncio.wait_for(self.socket.recv(), 30))
        event["at_s"] = time.monotonic()
        self.events.append(event)
        return event


async def stream(caller: Caller, sound: np.ndarray) -> None:
    """At the pace of time, in packets of 20 ms."""
    began_s = time.monotonic()
    for start in range(0, len(sound), 480):
        await caller.send("input_audio_buffer.append", audio=pcm(sound[start : start + 480]))
        await asyncio.sleep(max(0.0, began_s + (start + 480) / HZ - time.monotonic()))


async def converse(url: str, rounds: int, times: Times) -> None:
    """Ask, speak over the answer, cancel the next one; again and again."""
    voiced, quiet = np.full(HZ // 2, 0.5, np.float32), np.zeros(HZ * 13 // 10, np.float32)
    async with connect(url, max_size=None, compression=None) as socket:
        caller = Timed(socket)
        await caller.next()
        for _ in range(rounds):
            began_s = time.monotonic()
            sending = asyncio.create_task(stream(caller, np.concatenate((voiced, quiet, voiced, quiet))))
            first = await caller.until("response.output_audio.delta")
            times["silence confirmed to first audio"].append(first["at_s"] - began_s - 0.5 - 0.512)
            started = await caller.until("input_audio_buffer.speech_started")
            times["speech onset to speech_started"].append(started["at_s"] - began_s - 1.8)
            done = await caller.until("response.done")
            times["speech_started to response.done"].append(done["at_s"] - started["at_s"])
            await caller.until("response.output_audio.delta")
            asked_s = time.monotonic()
            await caller.send("response.cancel")
            times["cancel to response.done"].append((await caller.until("response.done"))["at_s"] - asked_s)
            await sending


async def attack(url: str, over: asyncio.Event) -> None:
    """Fifty callers at a time who send nonsense, some of it huge, and vanish."""
    nonsense: list[str | bytes] = ["{", "[" * 100_000, b"\0", '{"type":"x"}']
    huge = '{"type":"input_audio_buffer.append","audio":"' + "AAAA" * (15 * 2**18) + '"}'

    async def one(number: int) -> None:
        try:
            async with connect(url, max_size=None, compression=None) as socket:
                for message in [*nonsense, huge] if number == 0 else nonsense:
                    await socket.send(message)
                if number % 2:
                    socket.transport.abort()
        except (WebSocketException, OSError, TimeoutError):
            pass

    while not over.is_set():
        await asyncio.gather(*map(one, range(50)))


async def measured(url: str, pid: int, crowds: list[int]) -> dict[str, object]:
    figures: dict[str, object] = {}
    for crowd in crowds:
        times: Times = defaultdict(list)
        await asyncio.gather(*(converse(url, ROUNDS, times) for _ in range(crowd)))
        figures[f"{crowd} callers"] = summary(times)
    before_mib, over, times = resident_mib(pid), asyncio.Event(), defaultdict(list)
    attacking = asyncio.create_task(attack(url, over))
    await converse(url, ROUNDS, times)
    over.set()
    await attacking
    await asyncio.sleep(2)
    figures["under attack"] = summary(times)
    figures["memory in MiB before and after the attack"] = [before_mib, resident_mib(pid)]
    return figures


def summary(times: Times) -> dict[str, str]:
    return {
        name: f"p50 {np.median(seconds) * 1000:.0f}, max {max(seconds) * 1000:.0f}, n {len(seconds)}"
        for name, seconds in times.items()
    }


def resident_mib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 // 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 8, 16])
    options = parser.parse_args()
    tests = str(Path(__file__).resolve().parent.parent / "tests")
    server = subprocess.Popen([sys.executable, "-c", SERVER, tests], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split("http://")[1].split("/")[0].strip()
        figures = asyncio.run(measured(f"ws://{address}/v1/realtime", server.pid, options.callers))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(40)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
