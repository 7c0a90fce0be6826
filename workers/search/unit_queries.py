"""Check the vectors of queries, and give them length 1."""

import numpy as np

from shared.errors import QueryError
from workers.vectors.embeddings import Floats


def unit_queries(vectors: Floats, dim: int) -> Floats:
    """The queries at length 1; QueryError for one that has no direction or not the job's dimension."""
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise QueryError(
            f"A query vector has {vectors.shape[-1] if vectors.ndim else 0} values, and this job's embeddings have "
            f"{dim}: embed the query with the model that the job was made with."
        )
    # float64, since the squares of large float32 values overflow.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad):
        what = "only zeros" if lengths[bad[0]] == 0 else "a value that is not a finite number"
        raise QueryError(f"Query vector {bad[0] + 1} of {len(vectors)} holds {what}, so nothing is similar to it.")
    units: Floats = (vectors / lengths[:, None]).astype(np.float32)
    return units
