"""Where data sets come from: downloads, archives, the zoo of FiftyOne."""
