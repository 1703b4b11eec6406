"""Pictures painted in another's style: settings, memory, steps that go on where they were cut off, a page."""
