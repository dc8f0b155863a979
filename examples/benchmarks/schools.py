"""Exam scores in schools: what sharing between schools buys, against tuned single-task and pooled models.

Usage::

    python examples/benchmarks/schools.py [path/to/school.npz]

Prints one table for HSB82 (bundled, 25 % of each school for training) and, given the Inner London
Education Authority data as an .npz file with X, y, task and train_argyriou (10 boolean rows that mark
the training rows of the splits published by Argyriou, Evgeniou & Pontil), two for School: those splits
(75 % training) and 10 seeded splits with 10 % of each school for training.

Every strength is chosen by cross-validation inside the training rows. All figures are means over the 10
splits, in per cent but for RMSE. EV_within is the explained variance about the mean of each school
(Argyriou et al. 2008), EV_pooled R^2 over all test rows (Bakker & Heskes 2003), RMSE_task the mean over
schools of the root mean squared error, "wins" the splits with a higher EV_within than both
single-task ridges.
"""

import sys
import time

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV

from skmtl import MeanRegularizedRegressor, Pooled, SingleTask, TaskShuffleSplit, TraceNormRegressor
from skmtl.datasets import load_hsb82
from skmtl.metrics import explained_variance_within

STRENGTHS = np.logspace(-1, 4, 11)


def search(model, grid):
    """Search with ten splits of the rows of every school; ids of the schools are the last column."""
    cv = TaskShuffleSplit(10, train_size=0.75, task_column=-1, random_state=0)
    return GridSearchCV(model, grid, scoring="neg_mean_squared_error", cv=cv, error_score="raise")


def models():
    """Name and tuned model."""
    last = {"task_column": -1}
    tied = [{"alpha": [a], "mean_alpha": [a]} for a in np.logspace(-2, 2, 9)]
    return {
        # alpha = mean_alpha makes MeanRegularizedRegressor one ridge regression per school
        "single-task ridge, common strength": search(MeanRegularizedRegressor(**last), tied),
        "single-task ridge, own strength": SingleTask(RidgeCV(STRENGTHS), **last),
        "pooled ridge": Pooled(RidgeCV(STRENGTHS), **last),
        "pooled ridge, shrunken intercepts": search(
            Pooled(Ridge(), task_indicators=True, **last), {"estimator__alpha": np.logspace(0, 2, 9)}
        ),
        "MeanRegularizedRegressor": search(
            MeanRegularizedRegressor(**last),
            {"alpha": [1, 3, 10, 20, 50], "intercept_alpha": [0.1, 0.3, 1, 2, 4], "mean_alpha": [0.0, 0.1]},
        ),
        "TraceNormRegressor with a mean": search(
            TraceNormRegressor(mean_alpha=0.01, **last),
            {"alpha": [3, 10, 30, 100], "intercept_alpha": [0.1, 0.3, 1, 3]},
        ),
    }


def scores(y, predicted, tasks):
    """EV_within, EV_pooled and RMSE_task on test rows."""
    squares = (y - predicted) ** 2
    rmse = np.mean([np.sqrt(squares[tasks == t].mean()) for t in np.unique(tasks)])
    return (
        100 * explained_variance_within(y, predicted, tasks),
        100 * (1 - squares.sum() / ((y - y.mean()) ** 2).sum()),
        rmse,
    )


def table(title, X, y, tasks, splits):
    """Print the table of one data set."""
    results = {name: [] for name in models()}
    seconds = dict.fromkeys(results, 0.0)
    for train, test in splits:
        mean, scale = X[train].mean(axis=0), X[train].std(axis=0)
        Z = np.column_stack([(X - mean) / np.where(scale > 0, scale, 1.0), tasks])
        for name, model in models().items():
            start = time.perf_counter()
            predicted = model.fit(Z[train], y[train]).predict(Z[test])
            seconds[name] += time.perf_counter() - start
            results[name].append(scores(y[test], predicted, tasks[test]))
    single = np.max([np.array(r)[:, 0] for name, r in results.items() if name.startswith("single")], axis=0)
    print(f"\n{title}")
    print(f"{'':36s} EV_within  EV_pooled  RMSE_task   wins  seconds a split")
    for name, values in results.items():
        within, pooled, rmse = np.mean(values, axis=0)
        wins = int((np.array(values)[:, 0] > single).sum())
        print(
            f"{name:36s} {within:9.2f}  {pooled:9.2f}  {rmse:9.3f}  {wins:2d}/{len(splits)}"
            f"  {seconds[name] / len(splits):15.2f}"
        )


def main(path=None):
    """Print all tables."""
    data = load_hsb82()
    schools = np.unique(data.tasks, return_inverse=True)[1]
    rows = TaskShuffleSplit(10, train_size=0.25, random_state=0)
    splits = list(rows.split(data.data, data.target, tasks=schools))
    table("HSB82, 160 schools, 25 % training", data.data, data.target, schools, splits)
    if path is None:
        return
    school = np.load(path)
    X, y, tasks = school["X"].astype(float), school["y"].astype(float), school["task"]
    published = [(np.flatnonzero(train), np.flatnonzero(~train)) for train in school["train_argyriou"]]
    table("School, 139 schools, 75 % training (published splits)", X, y, tasks, published)
    splits = list(TaskShuffleSplit(10, train_size=0.10, random_state=0).split(X, y, tasks=tasks))
    table("School, 139 schools, 10 % training", X, y, tasks, splits)


if __name__ == "__main__":
    main(*sys.argv[1:2])
