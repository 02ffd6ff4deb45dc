"""The verbs of the command line, a file each: `options` says what may be asked, `run` does it."""
