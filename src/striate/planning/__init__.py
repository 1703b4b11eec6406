"""Which remedies make a training step fit into a budget."""
