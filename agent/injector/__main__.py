"""``python -m agent.injector``: one order, then beats, until the stream ends."""

import sys

from agent.injector.serve import main

if __name__ == "__main__":
    sys.exit(main())
