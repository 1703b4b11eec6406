"""What a network costs, each figure with the arithmetic that gives it."""
