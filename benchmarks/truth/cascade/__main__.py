"""`python -m benchmarks.truth.cascade`, from the root of the repository."""

import sys

from benchmarks.truth.cascade.run import main

if __name__ == "__main__":
    sys.exit(main())
