"""Training: what is asked for, what a task is, the loop, and what survives an interruption."""
