"""What the papers named, and what every network promises."""
