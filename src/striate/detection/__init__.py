"""Things found in images: what detectors are taught, what they propose, and how right what they say is."""
