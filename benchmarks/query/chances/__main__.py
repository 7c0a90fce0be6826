"""`python -m benchmarks.query.chances`, from the root of the repository."""

import sys

from benchmarks.query.chances.run import main

if __name__ == "__main__":
    sys.exit(main())
