"""`python -m benchmarks.cascade`, from the root of the repository."""

import sys

from benchmarks.cascade.run import main

if __name__ == "__main__":
    sys.exit(main())
