"""Processes of the lab: one host per environment, forked workers, crash points, clean-up.

This package module stays free of imports: the host, the shepherds and the workers load it inside
environments that hold nothing but the library under test.
"""
