"""Train a FAISS index on a sample: its principal components, its lists and its codes."""

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from shared.processes.failpoints import failpoint
from workers.vectors.ann import annoy_index, gpu_lists
from workers.vectors.ann.faiss_index import ALL_THREADS, Floats, empty
from workers.vectors.ann.layers import ivf_of, pca_to_train
from workers.vectors.ann.plan import IndexPlan

_MANY_LISTS = 1_024
# Some 33 rows for each of 1,792 dimensions.
_PCA_ROWS = 60_000


def train(plan: IndexPlan, sample: Iterable[Floats] | None, seed: int = 0) -> Any:
    """An empty index, trained on `sample`: blocks float32 [n, d], L2-normalised, `train_rows` rows in all, iterated
    over twice (None for a plan that trains nothing).

    Distances are L2: PCA moves the centre, and on vectors of length 1 the nearest by L2 are the nearest by cosine. The
    same training rows and seed make the same index. FAISS uses the threads that OMP_NUM_THREADS allows, else all cores,
    and a GPU for the lists if faiss-gpu is installed and finds one.
    """
    failpoint("train_index")
    if plan.type == "Annoy":
        return annoy_index.AnnoyIndex(plan.dim, plan.factory, seed)
    index = empty(plan.factory, plan.dim)
    if not plan.train_rows:
        return index
    if sample is None:
        raise ValueError(f"The index {plan.factory} needs {plan.train_rows} rows to train on, and got none.")
    faiss.omp_set_num_threads(ALL_THREADS)
    ivf = ivf_of(index)
    if ivf is not None:
        _prepare_lists(ivf, seed)
    with gpu_lists.training(ivf):
        _train(index, plan, sample, seed)
    return index


def _train(index: Any, plan: IndexPlan, sample: Iterable[Floats], seed: int) -> None:
    reducing = pca_to_train(index)
    if reducing is None:
        index.train(np.concatenate([np.ascontiguousarray(block, dtype=np.float32) for block in sample]))
        return
    outer, transform = reducing
    _train_pca(transform, sample, seed, step=-(-plan.train_rows // _PCA_ROWS))
    # From here on the training rows take a seventh of their memory.
    faiss.downcast_index(outer.index).train(np.concatenate([transform.apply(block) for block in sample]))
    outer.is_trained = True
    index.is_trained = True


def _prepare_lists(ivf: Any, seed: int) -> None:
    ivf.cp.seed = seed
    # This trains thousands of lists in seconds on a CPU; FAISS has it from 1.15 on, for enough dimensions.
    if not gpu_lists.is_there() and hasattr(ivf.cp, "use_super_kmeans") and ivf.nlist >= _MANY_LISTS and ivf.d >= 64:
        ivf.cp.use_super_kmeans = True


def _train_pca(transform: Any, sample: Iterable[Floats], seed: int, step: int) -> None:
    """Principal components, rotated at random, of every `step`-th training row, which pass block by block.

    FAISS would hold all training rows as float32, and keep a matrix of d x d values in each index file.
    """
    d, kept = transform.d_in, transform.d_out
    count, total, products = 0, np.zeros(d), np.zeros((d, d), dtype=np.float64)
    for whole in sample:
        block = whole[::step]
        count += len(block)
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
    mean = total / count
    _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    matrix = vectors[:, ::-1][:, :kept].T
    if transform.random_rotation:
        # This spreads the content of the first components over all parts of a code.
        rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(kept, kept)))
        matrix = rotation @ matrix
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix, dtype=np.float32).ravel(), transform.A)
    faiss.copy_array_to_vector((-matrix @ mean).astype(np.float32), transform.b)
    transform.have_bias = True
    transform.is_trained = True
