"""How many false selections does `skmtl.stability_selection` make, beside the bound that it states?

Usage::

    python examples/benchmarks/stability.py [--runs 200] [--only lasso dirty] [--jobs 2] \\
        [--markdown docs/how-sure.md]

Data sets whose truth is known, with correlated features: neighbours by 0.6, but for "correlated" by 0.9.
A false one is a feature, group, task or coefficient that is zero in the truth (in its part of it);
"null" has a target that is shuffled.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from _measure import write
from joblib import Parallel, delayed

from skmtl import (
    DirtyRegressor,
    GroupSparseClassifier,
    GroupSparseRegressor,
    MultiTaskRegressor,
    RobustRegressor,
    TemporalRegressor,
    stability_selection,
)
from skmtl.penalties import L1, Entries

LOOSE = {"tol": 1e-2}
LASSO = MultiTaskRegressor(penalty=Entries(L1()), **LOOSE)
UNEQUAL = np.repeat([10, 20, 40, 80], 4)
GROUPS = np.arange(60) // 3
DESIGNS = {  # estimator, rows of the tasks, number of features, correlation, truth, share of noise
    "features": (GroupSparseRegressor(**LOOSE), [30] * 4, 60, 0.6, "features", 1.0),
    "correlated": (GroupSparseRegressor(**LOOSE), [30] * 4, 60, 0.9, "features", 1.0),
    "null": (GroupSparseRegressor(**LOOSE), [30] * 4, 60, 0.6, "features", None),
    "classes": (GroupSparseClassifier(**LOOSE), [60] * 4, 40, 0.6, "features", 1.0),
    "groups": (GroupSparseRegressor(feature_groups=GROUPS, **LOOSE), [30] * 4, 60, 0.6, "groups", 1.0),
    "lasso": (LASSO, [40] * 6, 30, 0.6, "coefficients", 1.0),
    "lasso, null": (LASSO, [40] * 6, 30, 0.6, "coefficients", None),
    "lasso, unequal tasks, null": (LASSO, UNEQUAL, 10, 0.6, "coefficients", None),
    "dirty": (DirtyRegressor(shared_ratio=0.6, **LOOSE), [40] * 5, 30, 0.6, "dirty", 0.3),
    "robust": (RobustRegressor(shared_ratio=0.4, **LOOSE), [40] * 20, 10, 0.6, "outliers", 0.3),
    "robust, unequal tasks, null": (
        RobustRegressor(shared_ratio=0.4, **LOOSE), UNEQUAL, 6, 0.6, "outliers", None
    ),
    "temporal": (TemporalRegressor(l1_ratio=0.2, **LOOSE), [40] * 6, 15, 0.6, "temporal", 0.5),
}  # fmt: skip
ALL_ASSUMPTIONS = {"features"}


def truth(kind, T, p, rng):
    """Coefficients (T, p), and what is true of each family: names that are no false selections, by family."""
    W = np.zeros((T, p))
    some, all_tasks = rng.choice(p, min(5, p // 3), replace=False), range(T)
    if kind == "coefficients":
        W[rng.integers(T, size=10), rng.integers(p, size=10)] = rng.normal(size=10)
    elif kind == "groups":
        chosen = np.flatnonzero(np.isin(GROUPS, GROUPS[some]))
        W[:, chosen] = rng.normal(size=(T, len(chosen)))
    elif kind == "temporal":
        level = rng.normal(size=(2, len(some)))
        W[:, some] = np.where(np.arange(T)[:, None] < T // 2, *level[:, None])
    else:
        W[:, some] = rng.normal(size=(T, len(some)))
    if kind == "outliers":
        W[:2] += rng.normal(size=(2, p))
    private = rng.integers(T, size=5), rng.integers(p, size=5)
    if kind == "dirty":
        W[private] += 2 * rng.normal(size=5)
    used = np.flatnonzero(W.any(axis=0)).tolist()
    entries = {(t, j) for t in all_tasks for j in range(p) if W[t, j]}
    true = {"features": used, "groups": [*{*GROUPS[used]}] if kind == "groups" else []}
    true |= {"tasks": [0, 1], "coefficients": entries}
    true["changes"] = {(t, j) for t in all_tasks[1:] for j in range(p) if W[t, j] != W[t - 1, j]}
    if kind == "dirty":  # the private part also says how tasks differ in a shared feature
        true["coefficients"] = {(t, j) for t in all_tasks for j in used}
        true["features"] = some.tolist()
    return W, true


def run(name, assumption, seed, n_pairs):
    """{family: (items, let in, bound, number of false ones, share of the true ones)} of one data set."""
    estimator, sizes, p, correlation, kind, noise = DESIGNS[name]
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(len(sizes)), sizes)
    root = np.linalg.cholesky(correlation ** np.abs(np.subtract.outer(range(p), range(p))))
    X = rng.normal(size=(len(tasks), p)) @ root.T
    W, true = truth(kind, len(sizes), p, rng)
    y = (X * W[tasks]).sum(axis=1)
    y += (noise or 0.5) * y.std() * rng.normal(size=len(y))
    if noise is None:
        y, true = rng.permutation(y), dict.fromkeys(true, ())
    if type(estimator).__name__.endswith("Classifier"):
        y = y > np.median(y)
    how = {"assumption": assumption, "n_pairs": n_pairs, "random_state": seed, "alphas": 25}
    found, out = stability_selection(estimator, X, y, tasks, **how), {}
    for family, chosen in found.selected.items():
        known = {*true[family]}
        n_false = sum(item not in known for item in chosen)
        share = len(known & {*chosen}) / len(known) if known else np.nan
        n_items = len(found.names[family])
        out[family] = n_items, found.n_first[family], found.bound[family], n_false, share
    return out


def rows_of(name, assumption, options):
    """Rows of the table of one design."""
    start, found = time.perf_counter(), defaultdict(list)
    tasks = (delayed(run)(name, assumption, seed, options.pairs) for seed in range(options.runs))
    for one in Parallel(n_jobs=options.jobs)(tasks):
        for family, numbers in one.items():
            found[family].append(numbers)
    for family, numbers in found.items():
        (n_items, q, bound), (false, share) = numbers[0][:3], np.transpose(numbers)[3:]
        error = false.std() / np.sqrt(len(false))
        power = "-" if np.isnan(share).all() else f"{np.nanmean(share):.0%}"
        print(f"{time.perf_counter() - start:.0f} s", end=" ")
        yield (
            f"| {name} | {len(false)} | {family} | {n_items} | {assumption} | {q} | {bound:.2f} "
            f"| {false.mean():.2f} ± {error:.2f} | {power} |"
        )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--only", nargs="*", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows = [
        "| design | data sets | family | items | assumption | let in | bound | false ones | true found |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print(*rows, sep="\n")
    for name in options.only:
        others = ("none", "r-concave") if name in ALL_ASSUMPTIONS else ()
        for assumption in ("unimodal", *others):
            for row in rows_of(name, assumption, options):
                rows.append(row)
                print(row, flush=True)
    if options.markdown:
        write(options.markdown, "stability", rows)


if __name__ == "__main__":
    main()
