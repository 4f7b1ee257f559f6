"""Is the difference real? Variants of a training times seeds, and what may be said of them."""
