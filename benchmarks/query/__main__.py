"""`python -m benchmarks.query`, from the root of the repository."""

import sys

from benchmarks.query.run import main

if __name__ == "__main__":
    sys.exit(main())
