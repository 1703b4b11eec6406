"""What detectors learn from and propose: small pure functions on fixed numbers of boxes."""
