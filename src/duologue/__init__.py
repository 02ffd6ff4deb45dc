"""duologue: models that converse by voice, listening while they speak."""

__version__ = "0.1.0"
