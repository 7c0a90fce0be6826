"""`python -m benchmarks.truth`, from the root of the repository."""

import sys

from benchmarks.truth.run import main

if __name__ == "__main__":
    sys.exit(main())
