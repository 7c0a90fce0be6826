"""`python -m benchmarks.index`, from the root of the repository."""

import sys

from benchmarks.index.run import main

if __name__ == "__main__":
    sys.exit(main())
