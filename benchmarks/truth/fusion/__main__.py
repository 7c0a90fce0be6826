"""`python -m benchmarks.truth.fusion`, from the root of the repository."""

import sys

from benchmarks.truth.fusion.run import main

if __name__ == "__main__":
    sys.exit(main())
