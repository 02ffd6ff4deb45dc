"""Sound, before anything understands it: files, frames, spectra, and whether somebody speaks."""
