"""Published benchmarks, one file each, and the loop that all of them share. Importing this needs no torch."""
