"""Ways out of the house, one file each; each proves that it is still the same person."""
