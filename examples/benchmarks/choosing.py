"""Which model for these tasks? `skmtl.suggest` on five data sets of the field, and where the truth is known.

Usage::

    python examples/benchmarks/choosing.py [path/to/data] [--only school jura] [--jobs 2] \\
        [--markdown docs/sharing.md]
    python examples/benchmarks/choosing.py --truths 20 [--seed 1000] [--only clusters]

HSB82 is bundled; the others are read from the directory given: school.npz and landmine.npz with X, y and
task, jura.npz and atp1d.npz with X and Y (one column per task). Every score is that of five folds,
strengths chosen on the other ones.
"""

import argparse
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from _measure import write

from skmtl import suggest
from skmtl.datasets import load_hsb82, make_multitask_regression

BASELINES = ("single", "pooled", "intercepts", "mean")
NAMES = ("hsb82", "school", "landmine", "jura", "atp1d")


def load(name, folder):
    """Arguments of `suggest`."""
    if name == "hsb82":
        found = load_hsb82()
        return {"X": found.data, "y": found.target, "tasks": found.tasks}
    found = np.load(folder / f"{name}.npz")
    X = found["X"].astype(float)
    X = X[:, X.std(axis=0) > 0]  # constant columns say nothing
    return {"X": X, "y": found["Y"]} if "Y" in found else {"X": X, "y": found["y"], "tasks": found["task"]}


def line(name, data, found, seconds):
    """A row of the table."""
    table = found.table.set_index("model")
    simple = next(name for name in table.index if name in BASELINES and name != found.best)
    best, rival = table.loc[found.best], table.loc[simple]
    scores = [f"{one.name} {one['mean']:.3f} ({one['sd']:.3f})" for one in (best, rival)]
    n_tasks = found.per_task["task"].nunique()
    expected = "{:.3f} ({:.3f})".format(*found.expected)
    return (
        f"| {name} | {len(data['X'])} | {n_tasks} | {found.score} "
        f"| {' | '.join(scores)} | {best['mean'] - rival['mean']:+.3f} "
        f"| {expected} | {best['tasks_gaining']:.0f} | {seconds:.0f} s |"
    )


def unrelated(seed, spread=1.0):
    """Tasks with coefficients of their own, and intercepts of that standard deviation."""
    rng = np.random.default_rng(seed)
    X, tasks = rng.standard_normal((600, 8)), np.arange(600) % 8
    y = (X * rng.standard_normal((8, 8))[tasks]).sum(axis=1) + 2 * rng.standard_normal(600)
    return {"X": X, "y": y + spread * rng.standard_normal(8)[tasks], "tasks": tasks}


def shuffled(seed):
    """One model for all rows, which have tasks by chance."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((400, 8)), 2 * rng.standard_normal(400)
    return {"X": X, "y": y + X @ rng.standard_normal(8), "tasks": rng.permutation(np.arange(400) % 8)}


def smooth(seed):
    """The same smooth functions in all tasks, which differ in their levels and one slope."""
    rng = np.random.default_rng(seed)
    X, tasks = rng.uniform(-2, 2, (500, 4)), np.arange(500) % 10
    y = 2 * np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + rng.standard_normal(10)[tasks]
    return {
        "X": X,
        "y": y + 0.5 * rng.standard_normal(10)[tasks] * X[:, 2] + 0.5 * rng.standard_normal(500),
        "tasks": tasks,
    }


def shared_and_private(seed):
    """Four features of all tasks, with coefficients of their own, and two more for each task."""
    rng = np.random.default_rng(seed)
    W = np.zeros((15, 30))
    W[:, :4] = rng.standard_normal((15, 4))
    for own in W:
        own[4 + rng.choice(26, 2, replace=False)] = 1.5 * rng.choice([-1, 1], 2)
    X, tasks = rng.standard_normal((750, 30)), np.arange(750) % 15
    return {"X": X, "y": (X * W[tasks]).sum(axis=1) + 1.5 * rng.standard_normal(750), "tasks": tasks}


def made(structure, **options):
    """Arguments of `suggest` by the seed."""

    def make(seed):
        p = make_multitask_regression(structure=structure, random_state=seed, **options)
        return {"X": p.X, "y": p.y, "tasks": p.tasks}

    return make


SIZE = {"n_tasks": 15, "n_samples": 50, "n_features": 18}
TRUTHS = {
    "unrelated tasks": unrelated,
    "unrelated slopes, equal intercepts": partial(unrelated, spread=0.0),
    "labels of tasks shuffled": shuffled,
    "shared support": made("shared_support", **SIZE),
    "shared and private features": shared_and_private,
    "low rank": made("low_rank", **SIZE),
    "clusters": made("clustered", **SIZE),
    "a common model": made("mean", **SIZE),
    "smooth functions": smooth,
}


def named(truth, n_sets, first):
    """A row of the table of what is named where the truth is known, and in how many sets sharing helps."""
    start, names, helps = time.process_time(), Counter(), 0
    for seed in range(first, first + n_sets):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = suggest(**TRUTHS[truth](seed))
        names[found.best.replace("Regressor", "")] += 1
        helps += found.verdict.startswith("Sharing helps")
    words = ", ".join(f"`{name}` {count}" for name, count in names.most_common())
    return f"| {truth} | {n_sets} | {words} | {helps} | {(time.process_time() - start) / n_sets:.0f} s |"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", choices=[*NAMES, *TRUTHS])
    parser.add_argument("--truths", type=int, metavar="SETS", help="simulated data sets of each truth")
    parser.add_argument("--seed", type=int, default=0, help="the first one of the simulated data sets")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.truths:
        rows = [
            "| truth | sets | named by `suggest` | sharing helps | processor time a set |",
            "|---|---|---|---|---|",
        ]
        for truth in options.only or TRUTHS:
            rows.append(named(truth, options.truths, options.seed))
            print(rows[-1], flush=True)
        return
    rows = [
        "| data | rows | tasks | score | model to use (sd of folds) | best baseline | difference "
        "| on folds that did not choose it (standard error) | tasks that gain over single | time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print(*rows, sep="\n")
    for name in options.only or NAMES:
        if name != "hsb82" and (options.folder is None or not (options.folder / f"{name}.npz").exists()):
            print(f"{name} left out: no {name}.npz in the folder given")
            continue
        data, start = load(name, options.folder), time.perf_counter()
        found = suggest(**data, n_jobs=options.jobs)
        rows.append(line(name, data, found, time.perf_counter() - start))
        print(rows[-1], "", found, "", sep="\n", flush=True)
    if options.markdown:
        write(options.markdown, "table", rows)


if __name__ == "__main__":
    main()
