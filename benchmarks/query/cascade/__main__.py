"""`python -m benchmarks.query.cascade`, from the root of the repository."""

import sys

from benchmarks.query.cascade.run import main

if __name__ == "__main__":
    sys.exit(main())
