"""Models that may be the best one for some tasks: structures times representations, and rivals."""

from dataclasses import replace

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler
from sklearn.utils import check_random_state

from . import linear_model, neural_network
from ._columns import ManyValues
from ._labels import missing_labels
from ._target import find_classes
from .comparison import LEAVES, MANY_ROWS, ONE_FOR_ALL, Candidate, rival
from .penalties import Ridge

STRUCTURES = {  # from the simplest on: fixed parameters, and those that are searched beside the strength
    "MeanRegularized(alpha='auto')": ({"alpha": "auto", "intercept_alpha": "auto"}, {}),
    "MeanRegularized": ({"mean_alpha": 0.01}, {"intercept_alpha": [0.0, 0.3]}),
    "GroupSparse": ({}, {"mean_alpha": [None, 0.01]}),
    "Robust": ({"mean_alpha": 0.01, "shared_ratio": 0.6}, {}),
    "Clustered(relaxation='kmeans')": (
        {"relaxation": "kmeans", "between_ratio": 0.05, "n_init": 3, "random_state": 0, "mean_ratio": 0.01},
        {"n_clusters": [2, 3, 4]},
    ),
    "Clustered": ({"mean_ratio": 0.01}, {"n_clusters": [2, 3, 4]}),
    "TraceNorm": ({}, {"mean_alpha": [None, 0.01]}),
    "LatentBasis": ({"n_init": 1, "random_state": 0, "tol": 1e-2}, {"n_components": [2, 3, 4]}),
    "TaskRelationship": ({}, {"intercept_alpha": [0.0, 0.3]}),
    "Dirty": ({"norm": "l2"}, {}),
}
LEAST_TASKS = {  # from which on labels of clusters, and factors, are worth their time
    "Clustered": 4, "Clustered(relaxation='kmeans')": 8, "LatentBasis": 8,
}  # fmt: skip
NONLINEAR = {"intercept_alpha": [0.0, 0.3], "mean_alpha": [0.001, 0.03]}
SIMPLE = ("mean", "pooled", "single", "intercepts")  # from the simplest on
# a feature of so many tasks, as powers of their number, is shared at no greater price than private
SHARED_BY = (0.5, 0.75)
TREES = ("trees", "forest")  # for rows of tasks; for a column of y per task, each with trees of its own
# leaves, and rounds, which the folds choose but of many rows
LEAVES_OF_TREES = tuple({"model__estimator__leaf": leaf} for leaf in LEAVES)
ROUNDS = 3, 6, 10, 16, 25, 40, 63, 100
APART = ("mean", "single")  # a model for each task by itself
UNEQUAL = 1.2  # ratio of numbers of rows from which tasks may count by their rows as well
TOL = 1e-3
ROWS_PER_FEATURE = 4  # for strengths by marginal likelihood, whose common model has free coefficients
MOST_VARIANCES = 50  # of features, one each
MOST_SPLINES = 30  # features of which there are splines
MOST_COMPONENTS, SAMPLE = 100, 500  # random features; rows whose distances tell their width
# a network of each task in one, trained together: the strength is common, as that of "single"
PRIVATE = {"sharing": "soft", "coupling": 0.0, "intercept_alpha": 0.0, "solver": "lbfgs", "max_iter": 600}
LAYERS = {"model__hidden_layer_sizes": "hidden_layer_sizes_", "model__activation": "activation_"}
MOST_ALONE = 20  # tasks that have networks or trees of their own, to tell what sharing brings


def all_candidates(X, y, rows, targets, preprocessor=None, random_state=0):
    """Candidates by name, for "numbers", "counts" or "classes" as targets and tasks of so many rows."""
    kind = "Classifier" if targets == "classes" else "Regressor"
    loss = {"loss": "poisson"} if targets == "counts" else {}
    if preprocessor is None:
        preprocessor = "passthrough" if sparse.issparse(X) else StandardScaler()
    steps, Z = [("scale", preprocessor)], X
    if preprocessor != "passthrough":
        if not hasattr(preprocessor, "fit_transform"):
            raise TypeError(f"preprocessor must be a transformer; got {preprocessor!r:.100}.")
        Z = clone(preprocessor).fit_transform(X, y if y.ndim == 1 else None)
    found, alone, shared = {}, {}, y.ndim == 2
    weights = {"task_weight": [None, "samples"]} if max(rows) > UNEQUAL * min(rows) else {}
    for structure, (fixed, grid) in STRUCTURES.items():
        if len(rows) < LEAST_TASKS.get(structure, 2):
            continue
        name, *by = structure.partition("(")
        grid = _of_tasks(name, grid, len(rows)) | (weights if name == "MeanRegularized" else {})
        if fixed.get("alpha") == "auto":
            if not _tell_variances(y, kind, Z.shape[1]):
                continue
            fixed = fixed | {"covariance": None if Z.shape[1] <= MOST_VARIANCES else "spherical"}
        found["".join([name, kind, *by])] = _linear(steps, name + kind, fixed | loss, grid, True)
    for words, step in _representations(Z, random_state).items():
        steps_ = [*steps, step, ("centre", StandardScaler())]
        grid = NONLINEAR | (weights if words == "splines" else {})
        made = _linear(steps_, f"MeanRegularized{kind}", loss, grid)
        own = _linear(steps_, f"MultiTask{kind}", {"penalty": Ridge(), **loss}, {})
        made.alone = alone[words] = f"single of {words}", replace(own, shares=False)
        found[f"MeanRegularized{kind} of {words}"] = made
    few, splines = len(rows) <= MOST_ALONE, alone.get("splines")
    if not sparse.issparse(Z):
        network = getattr(neural_network, f"MultiTaskMLP{kind}")(random_state=random_state, **loss)
        own = _alone("networks", steps, clone(network).set_params(**PRIVATE), LAYERS) if few else splines
        found[f"MultiTaskMLP{kind}"] = Candidate(Pipeline([*steps, ("model", network)]), alone=own)
    apart = (*APART, *TREES) if shared else APART
    for name in (*SIMPLE, *(() if sparse.issparse(Z) else TREES[shared : shared + 1])):
        if not (name in ONE_FOR_ALL and shared and targets == "numbers"):
            model = Pipeline([*steps, ("model", rival(name, targets, shared))])
            found[name] = Candidate(model, simple=name in SIMPLE, shares=name not in apart)
        if name == "trees":
            if sum(rows) < MANY_ROWS:
                found[name].variants, found[name].rounds = LEAVES_OF_TREES, ROUNDS
            found[name].alone = _alone(name, steps, rival(name, targets, True)) if few else splines
    return found


def _of_tasks(name, grid, n_tasks):
    """The values to search for so many tasks."""
    if name == "Dirty":
        prices = np.power(float(n_tasks), np.divide(SHARED_BY, 2))  # in the L2 norm a root of the number
        return {"shared_ratio": (prices / (1 + prices)).round(3).tolist()}
    if name == "Clustered":
        return {"n_clusters": [k for k in grid["n_clusters"] if 2 * k <= n_tasks]}
    return grid


def _alone(words, steps, model, follows=()):
    """The name of a model of each task by itself, and the candidate."""
    model = Pipeline([*steps, ("model", model)])
    return f"single of {words}", Candidate(model, shares=False, follows=dict(follows))


def _linear(steps, name, fixed, grid, structure=False):
    model = getattr(linear_model, name)(**{"tol": TOL, **fixed})
    variants = [{f"model__{key}": value for key, value in one.items()} for one in ParameterGrid(grid)]
    variants = () if model.alpha == "auto" else tuple(variants)
    return Candidate(Pipeline([*steps, ("model", model)]), variants, structure=structure)


def _representations(Z, random_state):
    """Steps by name, behind what makes Z of the features, that make further ones."""
    n_samples, found = Z.shape[0], {}
    many = [] if sparse.issparse(Z) or n_samples < 2 else ManyValues()(Z)
    if 0 < len(many) <= MOST_SPLINES:
        splines = SplineTransformer(extrapolation="linear", include_bias=False)
        step = sklearn.compose.make_column_transformer((splines, ManyValues()), remainder="passthrough")
        found["splines"] = "splines", step
    if Z.shape[1] > 1 and many:
        rows = np.asarray(Z)[check_random_state(random_state).permutation(n_samples)[:SAMPLE]]
        distances = pairwise_distances(rows)[np.triu_indices(len(rows), 1)]
        width = np.median(distances[distances > 0])
        kernel = Nystroem(
            gamma=float(f"{0.5 / width**2:.4g}"), random_state=random_state,
            n_components=min(MOST_COMPONENTS, n_samples // 4),
        )  # fmt: skip
        found["random features"] = "kernel", kernel
    return found


def _tell_variances(y, kind, n_features):
    """Whether rows are enough for a model of variances of coefficients, and all tasks have the same."""
    observed = ~missing_labels(y)
    n_rows = np.count_nonzero(observed.reshape(len(y), -1).any(axis=1))
    alike = kind == "Regressor" or y.ndim == 1 or not isinstance(find_classes(y, observed, "log_loss"), list)
    return alike and n_rows >= ROWS_PER_FEATURE * n_features
