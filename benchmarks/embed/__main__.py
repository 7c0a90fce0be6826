"""`python -m benchmarks.embed`, from the root of the repository."""

import sys

from benchmarks.embed.run import main

if __name__ == "__main__":
    sys.exit(main())
