"""Call a running `duologue serve` with the openai package: a recording goes in, its answer is printed and saved.

Run: duologue serve &  python examples/realtime_client.py question.wav answer.wav [http://127.0.0.1:8765/v1]
"""

from __future__ import annotations

import asyncio
import base64
import sys

import numpy as np
from openai import AsyncOpenAI

import duologue

HZ = 24_000


async def call(question: str, answer: str, base_url: str) -> None:
    sound = np.clip(duologue.read(question, HZ), -1, 1)
    pcm = (np.append(sound, np.zeros(HZ, np.float32)) * 32767).astype("<i2").tobytes()
    replied = bytearray()
    client = AsyncOpenAI(base_url=base_url, api_key="any")
    async with client.realtime.connect(model="clean_s2s") as session:
        for start in range(0, len(pcm), 9600):
            await session.input_audio_buffer.append(audio=base64.b64encode(pcm[start : start + 9600]).decode())
        async for event in session:
            if event.type == "response.output_audio.delta":
                replied += base64.b64decode(event.delta)
            elif event.type == "response.output_audio_transcript.done":
                print(event.transcript)
            elif event.type == "response.done":
                break
    duologue.write(answer, np.frombuffer(replied, "<i2").astype(np.float32) / 32768, HZ)


if __name__ == "__main__":
    asyncio.run(call(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:8765/v1"))
