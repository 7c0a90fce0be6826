"""`python -m benchmarks.parts`, from the root of the repository."""

import sys

from benchmarks.parts.run import main

if __name__ == "__main__":
    sys.exit(main())
