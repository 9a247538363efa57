"""Palace Lab: breaks local-first memory stores on purpose and judges what their fixes are worth.

This package module stays free of imports: worker processes load it inside environments that
hold nothing but the library under test.
"""

__version__ = "0.1.0"
