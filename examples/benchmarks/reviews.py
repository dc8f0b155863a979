"""Two tasks of different kinds on the same texts: is a film review positive, and how many stars does it give?

Usage::

    python examples/benchmarks/reviews.py path/to/imdb_reviews.csv.gz [number of seeds] [first seed]

The file holds 3999 reviews (columns text, label, rating; label is 1 from seven stars on) out of those of
Maas et al. (2011), Learning word vectors for sentiment analysis, ACL. For each seed 1000 of them are for
training. One pipeline, TF-IDF and `MixedTaskModel`, is fitted on both columns at once, X sparse throughout;
it is compared with `LogisticRegression` for the label and `Ridge` for the rating on the same TF-IDF.

All strengths are chosen by the same five folds of the training rows: the separate models by the accuracy of
the label and by R^2 of the rating, the joint ones by the mean of the two, which is their `score`. Joint
models couple the tasks by a covariance [[1, r s], [r s, s^2]] of their coefficients: s is the size of the
rating's coefficients against those of the log-odds of the label, r their correlation. "Mixed, r = 0" is one
ridge per task, nothing shared, with a common search; "Mixed, learned" finds the covariance along with the
coefficients, `Spectrum(SquaredL1())`.
"""

import sys
import tempfile
import time

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline

from skmtl import MixedTaskModel
from skmtl.penalties import Coupling, Spectrum, SquaredL1

ALPHAS = [3e-5, 1e-4, 3e-4, 1e-3]
SIZES = [1.0, 2.0]


def relation(r, s):
    """Coupling by the inverse of the covariance of the coefficients of label and rating."""
    return Coupling(M=np.linalg.inv([[1.0, r * s], [r * s, s**2]]))


def searches(cache):
    """Name and (search, column of Y or None for both)."""

    def search(model, grid, scoring):
        grid = {f"model__{name}": values for name, values in grid.items()}
        steps = Pipeline([("tfidf", TfidfVectorizer(sublinear_tf=True)), ("model", model)], memory=cache)
        cv = KFold(5, shuffle=True, random_state=0)
        return GridSearchCV(steps, grid, scoring=scoring, cv=cv, error_score="raise")

    def joint(*penalties):
        model = MixedTaskModel(losses={"label": "log_loss", "rating": "squared_error"})
        return search(model, {"alpha": ALPHAS, "penalty": penalties}, None), None

    logistic = search(LogisticRegression(max_iter=1000), {"C": np.logspace(-0.5, 2.5, 7)}, "accuracy")
    ridge = search(Ridge(), {"alpha": [0.01, 0.03, 0.1, 0.2, 0.5, 1, 2]}, "r2")
    return {
        "LogisticRegression": (logistic, "label"),
        "Ridge": (ridge, "rating"),
        "Mixed, r = 0": joint(*(relation(0.0, s) for s in SIZES)),
        "Mixed, r = 0.5": joint(*(relation(0.5, s) for s in SIZES)),
        "Mixed, learned": joint(Spectrum(SquaredL1())),
    }


def scores(model, column, test):
    """Accuracy, log-loss and AUC of the label, R^2 of the rating; NaN for what the model does not predict."""
    predicted = model.predict(test["text"])
    if column == "rating":
        return [np.nan] * 3 + [r2_score(test["rating"], predicted)]
    label = predicted if column == "label" else predicted[:, 0].astype(int)
    proba = model.predict_proba(test["text"])
    positive = (proba if column == "label" else proba["label"])[:, 1]
    return [
        100 * accuracy_score(test["label"], label),
        log_loss(test["label"], positive),
        roc_auc_score(test["label"], positive),
        np.nan if column == "label" else r2_score(test["rating"], predicted[:, 1].astype(float)),
    ]


def main(path, n_seeds=5, first=0):
    """Print the table."""
    data = pd.read_csv(path)
    results, times = {}, {}
    for seed in range(int(first), int(first) + int(n_seeds)):
        rows = np.random.RandomState(seed).permutation(len(data))
        train, test = data.iloc[rows[:1000]], data.iloc[rows[1000:]]
        with tempfile.TemporaryDirectory() as cache:
            for name, (search, column) in searches(cache).items():
                start = time.perf_counter()
                search.fit(train["text"], train[column or ["label", "rating"]])
                seconds = time.perf_counter() - start
                results.setdefault(name, []).append(scores(search.best_estimator_, column, test))
                times.setdefault(name, []).append((search.refit_time_, seconds))
                print(f"seed {seed}, {name}: {search.best_params_}", file=sys.stderr)
    print(f"IMDb, 1000 of {len(data)} reviews for training, {n_seeds} seeds")
    print(f"{'':28s}  accuracy  log-loss     AUC     R^2   fit s  search s")
    for name, values in results.items():
        figures = zip(np.mean(values, axis=0), ("8.2f", "8.4f", "6.4f", "6.4f"), strict=True)
        cells = "  ".join(" " * int(form[0]) if np.isnan(v) else f"{v:{form}}" for v, form in figures)
        fit, search = np.mean(times[name], axis=0)
        print(f"{name:28s}  {cells}  {fit:6.2f}  {search:8.1f}")
    print("accuracy by seed and R^2 by seed:")
    for name, values in results.items():
        accuracy, _, _, r2 = np.array(values).T
        print(f"{name:28s}  {np.round(accuracy, 2)}  {np.round(r2, 4)}".replace("[nan nan nan nan nan]", ""))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:4])
