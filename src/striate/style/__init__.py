"""Pictures painted in another's style."""
