"""One file a format that reads it, and what they share; `writing` has one that writes it."""
