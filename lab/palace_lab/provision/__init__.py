"""What both the bootstrap and the environments stand on; nothing but the standard library.

This package and its modules import no third-party package, because the bootstrap runs them on a
machine that has only Python and pip.
"""
