"""Units: speech as a few symbols a second, and back."""
