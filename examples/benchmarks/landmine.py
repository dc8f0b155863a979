"""Landmines in 29 minefields: ranking by tasks that share, against tuned single-task and pooled models.

Usage::

    python examples/benchmarks/landmine.py path/to/landmine.npz [number of splits]

The file holds the data of Xue, Liao, Carin & Krishnapuram (2007), Multi-task learning for classification
with Dirichlet process priors, JMLR 8: X (9 features of radar images), y (mine or clutter), task (0 to 14
foliated, 15 to 28 bare earth or desert) and train20, one boolean row per split that marks 20 % of each task
and class for training.

Every model is a pipeline with its own scaling, and all strengths are chosen by the log-loss in five-fold
cross-validation inside the training rows. AUC is the mean over tasks of the area under the ROC curve on the
test rows, in per cent; "wins" counts the splits in which it is higher than that of all three baselines. ARI
compares two clusters of tasks with the two kinds of ground: `labels_` of ClusteredClassifier, for the other
models k-means on the rows of `coef_`.
"""

import sys
import time

import numpy as np
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import (
    ClusteredClassifier,
    GroupSparseClassifier,
    MeanRegularizedClassifier,
    Pooled,
    SingleTask,
    TaskKFold,
    TaskRelationshipClassifier,
    TraceNormClassifier,
)
from skmtl.metrics import mean_task_score

BASELINES = "single-task logistic ridge", "pooled logistic ridge", "pooled, task indicators"


def search(model, **grid):
    """Scaling and model with a search over the parameters of the model; the task is the last column."""
    scaling = make_column_transformer((StandardScaler(), slice(0, -1)), remainder="passthrough")
    return GridSearchCV(
        Pipeline([("scaling", scaling), ("model", model.set_params(task_column=-1))]),
        {f"model__{name}": values for name, values in grid.items()},
        scoring="neg_log_loss",
        cv=TaskKFold(5, task_column=-1, shuffle=True, random_state=0),
        error_score="raise",
    )


def models():
    """Name and tuned model."""
    logistic = LogisticRegression(max_iter=1000)
    strengths, means = [0.03, 0.1, 0.2, 0.3, 0.5], [0.001, 0.003, 0.01, 0.03]
    inverse = np.logspace(-4, 2, 13)
    single, pooled, indicators = BASELINES
    return {
        single: search(SingleTask(logistic), estimator__C=inverse),
        pooled: search(Pooled(logistic), estimator__C=inverse),
        indicators: search(Pooled(logistic, task_indicators=True), estimator__C=inverse),
        "MeanRegularized": search(MeanRegularizedClassifier(), alpha=strengths, mean_alpha=means),
        "GroupSparse": search(GroupSparseClassifier(), alpha=strengths, mean_alpha=means),
        "TraceNorm": search(TraceNormClassifier(), alpha=strengths, mean_alpha=means),
        "TaskRelationship": search(
            TaskRelationshipClassifier(), alpha=[0.001, 0.003, 0.01, 0.03, 0.1], mean_alpha=[None, 0.01]
        ),
        "Clustered": search(
            ClusteredClassifier(n_clusters=2, random_state=0), alpha=strengths, mean_ratio=[0.01, 0.03, 0.1]
        ),
        "Clustered, k-means": search(
            ClusteredClassifier(n_clusters=2, relaxation="kmeans", n_init=3, random_state=0),
            alpha=[0.1, 0.3, 1.0],
            mean_ratio=[0.01, 0.03, 0.1],
        ),
    }


def clusters(model, n_tasks):
    """Two clusters of tasks, None for a model that is the same for all tasks."""
    if hasattr(model, "labels_"):
        return model.labels_
    if isinstance(model, Pooled):
        return None
    if isinstance(model, SingleTask):
        W = np.vstack([model.estimators_[t].coef_ for t in range(n_tasks)])
    else:
        W = model.coef_
    return KMeans(2, n_init=10, random_state=0).fit_predict(W)


def evaluate(X, y, train, ground):
    """AUC, ARI, seconds and chosen parameters of every model on one split."""
    found = {}
    tasks = X[~train, -1]
    for name, model in models().items():
        start = time.perf_counter()
        model.fit(X[train], y[train])
        seconds = time.perf_counter() - start
        auc = mean_task_score("roc_auc", y[~train], model.predict_proba(X[~train])[:, 1], tasks)
        labels = clusters(model.best_estimator_["model"], len(ground))
        ari = np.nan if labels is None else adjusted_rand_score(ground, labels)
        found[name] = 100 * auc, ari, seconds, model.best_params_
    return found


def main(path, n_splits=10):
    """Print the table."""
    data = np.load(path)
    X, y = np.column_stack([data["X"], data["task"]]), data["y"]
    ground = np.unique(data["task"]) >= 15
    splits = []
    for split, train in enumerate(data["train20"][: int(n_splits)]):
        splits.append(evaluate(X, y, train, ground))
        chosen = {
            name: {key.rpartition("__")[2]: float(v) if v is not None else v for key, v in best.items()}
            for name, (*_, best) in splits[-1].items()
        }
        print(f"split {split}: {chosen}", file=sys.stderr)
    best = np.max([[found[name][0] for found in splits] for name in BASELINES], axis=0)
    print(f"Landmine, {len(ground)} tasks, 20 % training, {len(splits)} splits")
    print(f"{'':28s}    AUC    sd   wins    ARI  seconds a split")
    for name in splits[0]:
        auc, ari, seconds = np.array([found[name][:3] for found in splits]).T
        agreement = "" if np.isnan(ari).any() else f"{ari.mean():.2f}"
        print(
            f"{name:28s}  {auc.mean():5.2f}  {auc.std(ddof=1) if len(auc) > 1 else 0:4.2f}"
            f"  {int((auc > best).sum()):2d}/{len(auc)}  {agreement:>5s}  {seconds.mean():15.2f}"
        )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
