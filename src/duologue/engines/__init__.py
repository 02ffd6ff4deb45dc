"""What a cascade is made of: recognisers, language models, voices. Each kind behind one small protocol."""


class EngineError(RuntimeError):
    """An engine cannot do its work. The message says why, and what to do about it."""
