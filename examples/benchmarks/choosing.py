"""Which model for these tasks? `skmtl.suggest` on five data sets of the field.

Usage::

    python examples/benchmarks/choosing.py [path/to/data] [--only school jura] [--jobs 2] \\
        [--markdown docs/sharing.md]

HSB82 is bundled; the others are read from the directory given: school.npz and landmine.npz with X, y and
task, jura.npz and atp1d.npz with X and Y (one column per task). Every score is that of five folds,
strengths chosen on the other ones.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _measure import write

from skmtl import suggest
from skmtl.datasets import load_hsb82

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


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    rows = [
        "| data | rows | tasks | score | model to use (sd of folds) | best baseline | difference "
        "| on folds that did not choose it (standard error) | tasks that gain over single | time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print(*rows, sep="\n")
    for name in options.only:
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
