"""espeak-ng out of the wheel `espeakng-loader`, as a program: text on standard input, a wav on standard output.

    echo hello | python -m duologue.engines.espeak_bundled -v en-us -s 165 --stdin --stdout > hello.wav

It speaks for machines that have Python and nothing else. The library runs in this process only.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import sys
import wave

_RETRIEVAL = 1
_UTF8 = 1
_RATE = 1
_POSITION_CHARACTER = 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(text: str, voice: str, words_per_minute: int) -> tuple[bytes, int]:
    """16-bit samples and their rate. Raises RuntimeError if the library refuses."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    hz = library.espeak_Initialize(_RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), 0)
    if hz <= 0:
        raise RuntimeError("espeak-ng cannot read its data")
    samples = bytearray()

    def collect(sound: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if sound and count > 0:
            samples.extend(ctypes.string_at(sound, count * 2))
        return 0

    callback = _Callback(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise RuntimeError(f"espeak-ng has no voice {voice!r}")
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    encoded = text.encode()
    library.espeak_Synth(encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    return bytes(samples), hz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", dest="voice", default="en-us")
    parser.add_argument("-s", dest="words_per_minute", type=int, default=165)
    parser.add_argument("--stdin", action="store_true", help="always: kept for espeak-ng's own command line")
    parser.add_argument("--stdout", action="store_true", help="always: kept for espeak-ng's own command line")
    options = parser.parse_args()
    samples, hz = speak(sys.stdin.read(), options.voice, options.words_per_minute)
    with io.BytesIO() as buffer:
        with wave.open(buffer, "wb") as file:
            file.setparams((1, 2, hz, 0, "NONE", ""))
            file.writeframes(samples)
        sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
    main()
