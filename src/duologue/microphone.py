"""Talking through this machine's own microphone and loudspeaker. Wear headphones: nothing here cancels the echo."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from duologue.engines import EngineError
from duologue.session import HEARD_HZ, Event, Session


def converse_live(session: Session, tell: Callable[[Event], None]) -> None:
    """Hear the microphone and speak, frame by frame, until Ctrl-C. `tell` is given every event.

    Raises EngineError where sounddevice or a sound card is missing.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise EngineError(
            f"the microphone needs the package sounddevice and PortAudio ({error}); pip install 'duologue[microphone]' "
            "and apt-get install libportaudio2, or give a recording: duologue talk in.wav out.wav"
        ) from error
    try:
        with (
            sounddevice.InputStream(HEARD_HZ, session.heard_samples, channels=1, dtype="float32") as microphone,
            sounddevice.OutputStream(session.said_hz, session.said_samples, channels=1, dtype="float32") as speaker,
        ):
            while True:
                heard, _ = microphone.read(session.heard_samples)
                said = session.step(np.nan_to_num(heard[:, 0]))
                speaker.write(said.audio[:, None])
                for event in said.events:
                    tell(event)
    except sounddevice.PortAudioError as error:
        raise EngineError(f"no microphone or loudspeaker can be used here: {error}") from error
    except KeyboardInterrupt:
        session.close()
