"""Environments: one interpreter and one full, committed lock per release under test.

An environment is built once by uv, lives in a directory named by its content, and is never
changed afterwards. `ensure` is all a runner needs; the rest is for the command line.
"""

from palace_lab.environments.build import Environment, ensure, environments_home, release_hold
from palace_lab.environments.catalog import (
    QUICK_RELEASES,
    known_releases,
    python_bound,
    resolve_release,
)
from palace_lab.environments.inventory import Listing, list_environments, prune

__all__ = [
    "QUICK_RELEASES",
    "Environment",
    "Listing",
    "ensure",
    "environments_home",
    "known_releases",
    "list_environments",
    "prune",
    "python_bound",
    "release_hold",
    "resolve_release",
]
