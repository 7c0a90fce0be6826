"""`python -m benchmarks.life`, from the root of the repository."""

import sys

from benchmarks.life.run import main

if __name__ == "__main__":
    sys.exit(main())
