"""What workers write: deterministic drawers and triples, the same in every environment.

This package module stays free of imports: workers load it in every environment.
"""
