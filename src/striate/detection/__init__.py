"""What detectors are taught, and what they propose: functions on fixed numbers of boxes."""
