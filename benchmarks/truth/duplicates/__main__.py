"""`python -m benchmarks.truth.duplicates`, from the root of the repository."""

import sys

from benchmarks.truth.duplicates.run import main

if __name__ == "__main__":
    sys.exit(main())
