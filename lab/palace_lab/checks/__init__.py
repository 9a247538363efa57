"""Checks: pure functions from evidence to violations, one file each, found by being here.

A file of this folder with a function `check(evidence) -> list[Violation]` is a check; nothing else
has to be edited. A check never opens a palace and never measures anything itself.
"""
