"""Ways of doing one thing set beside each other, each in a minute or two, on small images."""
