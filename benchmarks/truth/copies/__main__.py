"""`python -m benchmarks.truth.copies`, from the root of the repository."""

import sys

from benchmarks.truth.copies.run import main

if __name__ == "__main__":
    sys.exit(main())
