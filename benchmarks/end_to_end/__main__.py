"""`python -m benchmarks.end_to_end`, from the root of the repository."""

import sys

from benchmarks.end_to_end.run import main

if __name__ == "__main__":
    sys.exit(main())
