"""The libraries under test, one file each, behind the same small protocol.

PALACE_LAB_TARGETS names a folder whose files are targets as well (`palace_lab.environments.beside`
checks it). This package module imports nothing of the lab: targets run inside environments that
hold nothing but the library they name.
"""

import os

if _folder := os.environ.get("PALACE_LAB_TARGETS"):
    __path__.append(os.path.abspath(os.path.expanduser(_folder)))  # noqa: PTH100, PTH111  (cheap)
