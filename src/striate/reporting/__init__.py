"""Records and results on one self-contained page."""
