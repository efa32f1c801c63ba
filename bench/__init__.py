"""Benchmarks: each runs its yardstick in the same run and prints the ratio; results go to a dated file.

Nothing here is a test; `make bench` runs all, `python -m bench.NAME` one.
"""
