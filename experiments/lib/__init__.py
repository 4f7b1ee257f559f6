"""What the experiments share; the questions themselves are the files above."""
