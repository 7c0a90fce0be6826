"""Read a job without lookalike: NumPy and PyArrow are enough. Prints the pairs of images that are most alike.

    python examples/read_job.py JOB

It compares all with all in memory, so it is for jobs of up to some ten thousand images. docs/formats.md describes the
files.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def main(job: Path, pairs: int = 10) -> None:
    # Sort by number, not by text: partition 10,000 has five digits.
    files = sorted((job / "img_emb").glob("img_emb_*.npy"), key=lambda path: int(path.stem.rpartition("_")[2]))
    vectors = np.concatenate([np.load(path) for path in files]).astype(np.float32)
    paths: list[str] = []
    for file in files:
        metadata = job / "metadata" / file.name.replace("img_emb", "metadata").replace(".npy", ".parquet")
        paths += pq.read_table(metadata, page_checksum_verification=True)["image_path"].to_pylist()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)  # Float16 rounds their lengths, too.
    print(f"{len(paths):,} embeddings of {vectors.shape[1]:,} dimensions")

    cosines = np.triu(vectors @ vectors.T, k=1)
    for place in np.argsort(cosines, axis=None)[::-1][:pairs]:
        first, second = divmod(int(place), len(paths))
        print(f"{cosines[first, second]:.4f}  {paths[first]}  {paths[second]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
