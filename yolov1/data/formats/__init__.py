"""One file a format, reading and writing it, and what they share."""
