"""`python -m benchmarks.truth.several`, from the root of the repository."""

import sys

from benchmarks.truth.several.run import main

if __name__ == "__main__":
    sys.exit(main())
