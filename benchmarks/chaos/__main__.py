"""`python -m benchmarks.chaos`, from the root of the repository."""

import sys

from benchmarks.chaos.run import main

if __name__ == "__main__":
    sys.exit(main())
