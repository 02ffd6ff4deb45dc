"""One reader for each kind of golden file: it loads the file, runs duologue on its input and compares."""
