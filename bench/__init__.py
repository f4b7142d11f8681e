"""Benchmarks: sealift beside the best tools there are, on the same bytes in one run. `make bench`; see NOTES.md."""
