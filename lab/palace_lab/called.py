"""How whoever runs the lab calls it, so that a line to paste works where it is shown.

`lab/bootstrap.py` puts no command on the PATH and says in an environment variable how it was typed.
"""

from __future__ import annotations

import os

#: What was typed in place of ``palace-lab``, as words for a shell.
VARIABLE = "PALACE_LAB_CALLED"


def called() -> str:
    """Return what to type before a word of the lab's."""
    return os.environ.get(VARIABLE) or "palace-lab"
