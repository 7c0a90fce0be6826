"""`python -m benchmarks.query.http`, from the root of the repository."""

import sys

from benchmarks.query.http.run import main

if __name__ == "__main__":
    sys.exit(main())
