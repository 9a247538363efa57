"""What every process of a trial attempted and what came of it.

This package module stays free of imports: `segment` is loaded inside environments that hold
nothing but the library under test.
"""
