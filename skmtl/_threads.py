"""Loops over many tasks: when a compiled one pays, and blocks of it on all cores.

Blocks depend on the data alone and what they find is put together in their order, so that results are the
same for any number of threads.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cached_property
from threading import RLock

import numpy as np
from joblib import cpu_count
from scipy import sparse
from threadpoolctl import ThreadpoolController

COMPILED_TASKS = 500  # from here on a compiled loop over the tasks pays for loading Numba
COMPILED_FEATURES = 100  # up to here it beats BLAS called for each task
BLOCK_NUMBERS = 2**18  # read by a block: much more work than to start a thread
ELEMENTS = 2**15  # of a block of an array that is read once
SPARSE = 0.75  # share of rows with a weight up to which it pays to pick them
ROOM = 2**15  # numbers in a temporary array that is used again and again: it stays in the cache
SMALL_DATA = 1_000_000  # numbers in X below which threads cost more time than they save


def loop_pays(n_tasks, n_features):
    """Whether a compiled loop over the tasks is the way to handle a small matrix of each."""
    return n_tasks >= COMPILED_TASKS and n_features <= COMPILED_FEATURES


class _Libraries:
    """The libraries with threads of their own, looked up once."""

    loaded = cached_property(lambda self: ThreadpoolController())

    blas = cached_property(lambda self: self.loaded.select(user_api="blas"))
    openmp = cached_property(lambda self: self.loaded.select(user_api="openmp").lib_controllers)


_LIBRARIES = _Libraries()


class one_blas_thread:
    """Context with one BLAS thread, a setting of the whole process.

    Fits in several threads may leave in any order: the last of them restores what the first had found. One
    that an interrupt kept from leaving does so with its context.
    Libraries are set one by one, which takes a tenth of the time of a limit of threadpoolctl.
    """

    n_inside, found, lock = 0, (), RLock()  # of the process; its own thread may collect another
    inside = False

    def __enter__(self):
        with self.lock:
            if not one_blas_thread.n_inside:
                one_blas_thread.found = [(own, own.num_threads) for own in _LIBRARIES.blas.lib_controllers]
                self._set((library, 1) for library, number in self.found if number != 1)
            one_blas_thread.n_inside += 1
            self.inside = True

    def __exit__(self, *error):
        with self.lock:
            one_blas_thread.n_inside -= self.inside
            if self.inside and not self.n_inside:
                self._set((library, number) for library, number in self.found if number != 1)
            self.inside = False

    __del__ = __exit__

    def _set(self, numbers):
        for library, number in numbers:
            library.set_num_threads(number)


def n_threads():
    """As many as OpenMP would use in scikit-learn: no more than cores, unless OMP_NUM_THREADS says so.

    Limits of threadpoolctl and of joblib's workers are limits of OpenMP.
    """
    limit = min((library.num_threads for library in _LIBRARIES.openmp), default=1)
    return limit if os.environ.get("OMP_NUM_THREADS") else min(limit, cpu_count(only_physical_cores=True))


def blocks_of(bounds, numbers=None):
    """Slices of tasks of about as many numbers each, bounds (n_tasks + 1,) those of the tasks."""
    n_tasks, total = len(bounds) - 1, bounds[-1] - bounds[0]
    n_blocks = min(int(total // (numbers or BLOCK_NUMBERS)), n_tasks)
    if n_blocks < 2:
        return [slice(0, n_tasks)]
    ends = np.searchsorted(bounds, bounds[0] + total / n_blocks * np.arange(1, n_blocks))
    ends = np.unique([0, *ends.tolist(), n_tasks])
    return [slice(a, b) for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def even_blocks(n_tasks, size, numbers=None):
    """The same of tasks with `size` numbers each."""
    n_blocks = max(min(n_tasks * size // (numbers or BLOCK_NUMBERS), n_tasks), 1)
    return [slice(n_tasks * k // n_blocks, n_tasks * (k + 1) // n_blocks) for k in range(n_blocks)]


def weighted_gram(X, weight):
    """X' diag(weight) X of rows of any task, an array (n_features, n_features)."""
    if sparse.issparse(X):
        return (X.T @ X.multiply(weight[:, None])).toarray()
    p = X.shape[1]
    blocks = even_blocks(len(X), p) if p * p < BLOCK_NUMBERS else [slice(None)]

    step = max(ROOM // p, 1)

    def squared(block):
        rows, root = X[block], np.sqrt(weight[block, None])
        out, room = np.zeros((p, p)), np.empty((min(step, len(rows)), p))
        for start in range(0, len(rows), step):
            own, share = rows[start : start + step], root[start : start + step]
            if np.count_nonzero(share) < SPARSE * len(share):
                own, share = own[share[:, 0] > 0], share[share[:, 0] > 0]
            Z = np.multiply(own, share, out=room[: len(own)])
            out += Z.T @ Z
        return out

    return sum(in_blocks(squared, blocks))


class _Helpers:
    """Threads that wait for work: to start new ones takes longer than many blocks do."""

    def __init__(self):
        self.known = None, 0, None  # the process, as a forked one has no threads, their number, and they

    def submit(self, n, work):
        """Futures of work() in as many other threads, in the context of this one."""
        process, n_known, pool = self.known
        if process != os.getpid() or n_known < n:
            pool = ThreadPoolExecutor(n)
            self.known = os.getpid(), n, pool
        return [pool.submit(copy_context().run, work) for _ in range(n)]


_HELPERS = _Helpers()


def in_blocks(work, blocks):
    """Results of work(block) in the order of the blocks, on all cores, each with one BLAS thread."""
    if len(blocks) == 1:
        return [work(blocks[0])]
    with one_blas_thread():
        n_others = min(n_threads(), len(blocks)) - 1
        if not n_others:
            return [work(block) for block in blocks]
        found, left = [None] * len(blocks), deque(enumerate(blocks))

        def run():
            while left:
                try:
                    k, block = left.popleft()
                except IndexError:  # another thread was faster
                    return
                found[k] = work(block)

        others = _HELPERS.submit(n_others, run)
        try:
            run()
        finally:
            left.clear()  # after an error
            # who has not begun is not waited for: where blocks hold blocks it may wait for this thread
            begun = [other for other in others if not other.cancel()]
            wait(begun)
        for other in begun:
            other.result()
        return found


def task_products(A, V):
    """A_t v_t of every task (n_tasks, p), A (n_tasks, p, p)."""
    blocks = even_blocks(len(V), V.shape[1] ** 2)
    if len(blocks) == 1:
        return np.matmul(A, V[:, :, None])[:, :, 0]
    out = np.empty(V.shape)
    in_blocks(lambda t: np.matmul(A[t], V[t, :, None], out=out[t, :, None]), blocks)
    return out


def reduced(ufunc, R, bounds):
    """What a ufunc makes of the rows of each task, which have these bounds (n_tasks + 1,)."""
    if R.size < 4 * ELEMENTS:
        return ufunc.reduceat(R, bounds[:-1])

    def work(tasks):
        own = bounds[tasks.start : tasks.stop + 1]
        return ufunc.reduceat(R[own[0] : own[-1]], own[:-1] - own[0])

    return np.concatenate(in_blocks(work, blocks_of(bounds, ELEMENTS)))


def spread(b, bounds, rows, image=None):
    """The value of its task for each row, of which there are so many, added to an image if there is one."""
    if bounds[-1] < 4 * ELEMENTS:
        own = b.repeat(rows, axis=0)
        return own if image is None else image + own
    out = np.empty((bounds[-1], *b.shape[1:]), b.dtype)

    def fill(tasks):
        at = slice(bounds[tasks.start], bounds[tasks.stop])
        own = b[tasks].repeat(rows[tasks], axis=0)
        out[at] = own if image is None else np.add(image[at], own, out=own)

    in_blocks(fill, blocks_of(bounds, ELEMENTS))
    return out


def sparse_product(M, V):
    """M V for a sparse array in rows (n, m), by blocks of them on all cores."""
    out = np.empty((M.shape[0], V.shape[1]))

    def fill(rows):
        out[rows] = M[rows] @ V

    in_blocks(fill, even_blocks(len(out), V.shape[1], ELEMENTS))
    return out


def by_rows(work, *arrays, out=None):
    """work(*arrays) that is done row by row, an array of the shape of the first, by blocks on all cores."""
    few = arrays[0].size < 4 * ELEMENTS
    if few and out is None:
        return work(*arrays)
    out = np.empty_like(arrays[0]) if out is None else out

    def fill(rows):
        out[rows] = work(*(A[rows] for A in arrays))

    in_blocks(fill, [slice(None)] if few else _small_blocks(arrays[0]))
    return out


def of_rows(work, *arrays):
    """List of work(*arrays) of blocks of rows, found on all cores."""
    if arrays[0].size < 4 * ELEMENTS:
        return [work(*arrays)]
    return in_blocks(lambda rows: work(*(A[rows] for A in arrays)), _small_blocks(arrays[0]))


def sum_by_rows(work, *arrays):
    """Sum of what work(*arrays) of blocks of rows returns, found on all cores."""
    if arrays[0].size < 4 * ELEMENTS:  # no list, which small fits would notice
        return work(*arrays)
    first, *others = of_rows(work, *arrays)
    return sum(others, start=first)


def _small_blocks(A):
    """Slices of rows whose temporary arrays stay in the cache."""
    return even_blocks(len(A), A.size // max(len(A), 1), ELEMENTS)


def read_only(A):
    """A contiguous view that cannot be written to: what the user passed may be such, and it is a type."""
    view = np.ascontiguousarray(A).view(np.ndarray)
    view.flags.writeable = False
    return view


def threads_for(X):
    """Context with one thread in BLAS where more take longer."""
    return limited(np.prod(X.shape) < SMALL_DATA)


def limited(few, api=None):
    """Context with one thread in libraries of an interface, of any if None, where these have little to do.

    Without a look at what is loaded, which would take longer than a small fit.
    """
    return _LIBRARIES.loaded.limit(limits=1 if few else None, user_api=api)
