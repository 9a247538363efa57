"""Benchmarks: each figure beside its peer's, taken in the same run on the same machine.

Rules: contestants take turns within each round and the order changes from round to round, so that
what the machine does meanwhile falls on all of them. Absolute figures are printed with machine and
load and promise nothing; only ratios are judged.
"""
