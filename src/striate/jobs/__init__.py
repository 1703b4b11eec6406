"""What a verb does, for Python and the command line alike."""
