"""What a cluster costs: fits on a LocalCluster of two workers beside fits in one process, on the same rows.

    python examples/benchmarks/cluster.py [number of rows, 1000000 by default] [number of tasks, 200000]

The table is for `docs/large-data.md`. Rows lie in the memory of the workers, in 16 partitions.
"""

import logging
import sys
import time

import numpy as np
import pandas as pd
import psutil

N_FEATURES, N_TASKS, N_PARTS = 20, 100, 16
LOGISTIC = {"alpha": 0.01, "tol": 1e-6}
FITS = [
    ("MeanRegularizedRegressor", {"alpha": 0.1}, "y"),
    ("MeanRegularizedClassifier", LOGISTIC, "z"),
    ("GroupSparseClassifier", LOGISTIC, "z"),
]


def rows(part, n_rows):
    """A partition: features, task, a number and a class."""
    rng, common = np.random.default_rng(part), np.random.default_rng(99)
    W = 0.5 * common.normal(size=N_FEATURES) + 0.3 * common.normal(size=(N_TASKS, N_FEATURES))
    X, tasks = rng.normal(size=(n_rows, N_FEATURES)), rng.integers(N_TASKS, size=n_rows)
    eta = (X * W[tasks]).sum(axis=1) - 1
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(N_FEATURES)])
    z = (eta + rng.logistic(size=n_rows) > 0).astype(int)
    return frame.assign(task=tasks, y=eta + rng.normal(size=n_rows), z=z)


def rows_of_tasks(part, n_tasks, n_rows=20):
    """A partition with all rows of some tasks."""
    rng, tasks = np.random.default_rng(part), np.arange(part * n_tasks, (part + 1) * n_tasks).repeat(n_rows)
    X, W = rng.normal(size=(len(tasks), N_FEATURES)), 1 + 0.3 * rng.normal(size=(n_tasks, N_FEATURES))
    y = (X * W.repeat(n_rows, axis=0)).sum(axis=1) + rng.normal(size=len(tasks))
    return pd.DataFrame(X, columns=[f"x{j}" for j in range(N_FEATURES)]).assign(task=tasks, y=y)


def seconds(function, *args, **options):
    """What it returns, and how long that took."""
    start = time.perf_counter()
    return function(*args, **options), time.perf_counter() - start


def main(n_rows=1_000_000, n_tasks=200_000):
    """Print the table."""
    import dask.dataframe as dd
    from distributed import Client, LocalCluster, wait

    import skmtl.dask  # and skmtl with it

    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster):
        frame = dd.from_map(rows, range(N_PARTS), n_rows=n_rows // N_PARTS).persist()
        local = frame.compute()
        for name, params, target in FITS:
            drop = {"columns": ["y", "z"]}
            model = getattr(skmtl.dask, name)(task_column="task", **params)
            _, spent = seconds(model.fit, frame.drop(**drop), frame[target])
            one = getattr(skmtl, name)(task_column="task", **{**params, "tol": 1e-12})
            _, alone = seconds(one.fit, local.drop(**drop), local[target])
            off, passes = np.abs(model.coef_ - one.coef_).max(), model.n_iter_ if target == "z" else 1
            print(f"| `{name}` | {passes} | {spent:.1f} s | {alone:.1f} s | {off:.0e} |", flush=True)
        del frame, local
        frame = dd.from_map(rows_of_tasks, range(N_PARTS), n_tasks=n_tasks // N_PARTS).persist()
        wait(frame)
        memory = psutil.Process().memory_info
        before = memory().rss
        model = skmtl.dask.MeanRegularizedRegressor(0.1, task_column="task")
        found, spent = seconds(model.fit_by_task, frame.drop(columns="y"), frame["y"])
        grown = (memory().rss - before) / 1e6
        local = frame.compute()
        one = skmtl.MeanRegularizedRegressor(0.1, task_column="task")
        _, alone = seconds(one.fit, local.drop(columns="y"), local["y"])
        off = np.abs(found.coef_.compute().to_numpy() - one.coef_).max()
        print(f"| `fit_by_task`, {n_tasks:,} tasks | 2 | {spent:.1f} s | {alone:.1f} s | {off:.0e} |")
        print(f"The caller grew by {grown:.0f} MB; all coefficients are {one.coef_.nbytes / 1e6:.0f}.")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
