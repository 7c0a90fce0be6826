"""`python -m benchmarks.copies`, from the root of the repository."""

import sys

from benchmarks.copies.run import main

if __name__ == "__main__":
    sys.exit(main())
