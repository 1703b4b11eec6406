"""Things found in images: their boxes and classes."""
