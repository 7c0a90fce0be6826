"""`python -m benchmarks.fuzz`, from the root of the repository."""

import sys

from benchmarks.fuzz.run import main

if __name__ == "__main__":
    sys.exit(main())
