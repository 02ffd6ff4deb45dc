"""What models learn from: manifests of recordings, and batches of tokens."""
