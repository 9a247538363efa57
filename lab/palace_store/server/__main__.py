"""`python -m palace_store.server`: the same as the command `palace-server`."""

import sys

from palace_store.server.command import main

if __name__ == "__main__":
    sys.exit(main())
