"""The architectures, one file each: paper, table, parts, network."""
