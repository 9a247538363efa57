"""The libraries under test, one file each, behind the same small protocol.

This package module stays free of imports: targets run inside environments that hold nothing but
the library they name.
"""
