"""`python -m benchmarks.growth`, from the root of the repository."""

import sys

from benchmarks.growth.run import main

if __name__ == "__main__":
    sys.exit(main())
