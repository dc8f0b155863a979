"""Tasks of different kinds in one model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if

from .._inputs import as_target
from .._labels import for_each_task, missing_labels, plain_labels
from .._sklearn import StrOptions
from ..losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss, Multinomial, get_loss
from ._base import estimator, used_labels
from ._generic import Generic

LOSSES = {**REGRESSION_LOSSES, **CLASSIFICATION_LOSSES}


@estimator
class MixedTaskModel(Generic):
    """Regression and classification tasks on the same features, with one penalty on all.

    Minimises, over W (n_tasks, n_features) and b,

    .. math::

        \\sum_t c_t \\sum_{i \\in t} s_i \\, \\ell_t(y_i, x_i \\cdot w_t + b_t) + \\alpha \\Omega(W)

    with s_i the sample weights divided by their sum over the task and l_t the loss of task t. The rows
    of the tasks may be the same (a column of y per task, NaN or None for a missing label) or different
    ones (`tasks`). Losses of different kinds have different scales: `task_weight` balances them.

    Parameters
    ----------
    %(parameters)s
    penalty : Penalty, optional
        Omega, an object of `skmtl.penalties` or your own. Default: ``Features(L2())``, the tasks share
        which features matter. A penalty that pulls coefficients of different tasks together
        (`Coupling`) makes sense where they are in the same units. Where a task has more than two
        classes, Omega acts on a W with as many vectors per task; other tasks use the first of theirs.
    losses : mapping {task: loss} or str, optional
        Loss of every task: "squared_error", "huber", "poisson", "root_squared_error" (for all tasks or
        none) or a `Loss` for regression, "log_loss" (two or more classes) or "squared_hinge" (two) for
        classification. One name for all tasks. Default: "squared_error".

    Attributes
    ----------
    classes_ : dict of {task: ndarray}
        Class labels of the classification tasks.
    part_coefs_ : list of ndarray of shape (n_tasks, n_features)
        The summands of W; only with an `InfConv` penalty.
    %(attributes)s

    References
    ----------
    Yang, Kim & Xing (2009), Heterogeneous multitask learning with joint sparsity constraints, NIPS 22;
    Argyriou, Evgeniou & Pontil (2008), Convex multi-task feature learning, Machine Learning 73,
    https://doi.org/10.1007/s10994-007-5040-8

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MixedTaskModel
    >>> X = np.random.default_rng(0).normal(size=(40, 5))
    >>> Y = np.column_stack([X[:, 0] > 0, X[:, 0] + X[:, 1]])
    >>> model = MixedTaskModel(alpha=0.01, losses={0: "log_loss", 1: "squared_error"}).fit(X, Y)
    >>> model.predict(X).shape, model.predict_proba(X)[0].shape
    ((40, 2), (40, 2))
    """

    losses: Any = None

    _parameter_constraints = {
        "losses": [None, StrOptions(set(LOSSES)), Loss, Mapping],
    }

    def _loss(self):
        return self._losses_

    def _encode(self, y, position, sample_weight):
        """Numeric targets, positions in `classes_` for classes; sets `classes_` and the losses."""
        if self.handle_unknown == "average":
            raise ValueError("handle_unknown='average' has no meaning for tasks of different kinds.")
        named = self._losses_by_task()
        used = used_labels(y, sample_weight)
        codes = np.full(y.shape, 0.0 if y.ndim == 1 else np.nan)
        self.classes_, self._losses_ = {}, []
        for t, (label, loss) in enumerate(named.items()):
            at = np.zeros(y.shape, dtype=bool)
            rows = slice(None) if position is None else position == t
            at[(rows, t) if y.ndim == 2 else rows] = True
            at &= used
            codes[at], own = self._encode_task(label, loss, plain_labels(y[at]))
            self._losses_.append(own)
        return codes

    def _losses_by_task(self):
        """Name or object of the loss of every task, in the order of `tasks_`."""
        labels = self.tasks_.tolist()
        if not isinstance(self.losses, Mapping):
            return dict.fromkeys(labels, "squared_error" if self.losses is None else self.losses)
        named = for_each_task(self.losses, self.tasks_, "losses", "loss")
        wrong = [v for v in named if not (isinstance(v, Loss) or v in LOSSES)]
        if wrong:
            raise ValueError(f"losses must be Loss objects or among {sorted(LOSSES)}; got {wrong[0]!r}.")
        return dict(zip(labels, named, strict=True))

    def _encode_task(self, label, loss, y):
        """Numeric targets of one task and its loss."""
        if isinstance(loss, Loss) or loss not in CLASSIFICATION_LOSSES:
            try:
                y = y.astype(np.float64)
            except (TypeError, ValueError):
                raise ValueError(
                    f"task {label!r} has the regression loss {loss!r} but targets that are no numbers."
                ) from None
            loss = get_loss(loss, REGRESSION_LOSSES)
            loss.check(y)
            return y, loss
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"task {label!r} holds only one class, {classes.tolist()}; it needs two.")
        if len(classes) > 2 and loss != "log_loss":
            raise ValueError(f"task {label!r}: {loss!r} is for two classes; y has {len(classes)}.")
        self.classes_[label] = classes
        return codes, get_loss(loss, CLASSIFICATION_LOSSES) if len(classes) == 2 else Multinomial(
            len(classes)
        )

    def _has_classes(self):
        losses = self.losses.values() if isinstance(self.losses, Mapping) else [self.losses]
        return any(isinstance(loss, str) and loss in CLASSIFICATION_LOSSES for loss in losses)

    # --- predict ---

    def _sections(self, eta, codes):
        """(task label, loss, index of its entries in a prediction, its linear predictor) of every task."""
        eta = eta if self._n_outputs > 1 else eta[..., None]
        for t, (label, loss) in enumerate(zip(self.tasks_.tolist(), self._losses_, strict=True)):
            if codes is not None:
                at = (codes == t,)
            else:
                at = (slice(None), t) if self._layout_ == "shared" else (slice(None),)
            own = eta[at][:, : loss.n_outputs]
            yield label, loss, at, own[:, 0] if loss.n_outputs == 1 else own

    def predict(self, X, *, tasks=None):
        """Predict targets: numbers for regression tasks, class labels for classification tasks.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Of objects where some class labels are no numbers.

        Raises
        ------
        ValueError
            If tasks are missing or unknown.
        """
        eta, codes = self._linear_predictor(X, tasks)
        numeric = all(classes.dtype.kind in "biuf" for classes in self.classes_.values())
        shape = eta.shape if self._n_outputs == 1 else eta.shape[:-1]
        out = np.empty(shape, dtype=np.float64 if numeric else object)
        for label, loss, at, own in self._sections(eta, codes):
            if label not in self.classes_:
                out[at] = loss.mean(own)
                continue
            best = (own > 0).astype(np.intp) if own.ndim == 1 else own.argmax(axis=1)
            out[at] = self.classes_[label][best]
        return out

    @available_if(lambda self: self._has_classes())
    def predict_proba(self, X, *, tasks=None):
        """Probabilities of the classes of the classification tasks.

        Parameters
        ----------
        X, tasks
            As in `predict`.

        Returns
        -------
        dict of {task: ndarray of shape (n_samples, n_classes)} or ndarray of shape (n_samples, n_classes)
            A dict after a fit on a 2-D y. With `tasks` one array, whose rows have zeros beyond the
            number of classes of their task.

        Raises
        ------
        ValueError
            If a row belongs to a regression task, or a task has no probabilities (squared hinge).
        """
        eta, codes = self._linear_predictor(X, tasks)
        found = {}
        for label, loss, at, own in self._sections(eta, codes):
            asked = codes is None or at[0].any()
            if label in self.classes_ and asked and get_loss("log_loss", LOSSES) == loss:
                found[label] = at, np.column_stack([expit(-own), expit(own)])
            elif isinstance(loss, Multinomial) and asked:
                found[label] = at, softmax(own, axis=1)
            elif asked and (codes is not None or self._layout_ == "single"):
                raise ValueError(f"task {label!r} has no class probabilities: its loss is {loss!r}.")
        if self._layout_ == "shared" and codes is None:
            return {label: p for label, (_, p) in found.items()}
        out = np.zeros((len(eta), max(p.shape[1] for _, p in found.values())))
        for at, p in found.values():
            out[at[0], : p.shape[1]] = p
        return out

    def score(self, X, y, sample_weight=None, *, tasks=None):
        """Mean over tasks of R^2 (regression) or accuracy (classification); missing labels are left out.

        Parameters
        ----------
        X, y
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.

        Returns
        -------
        float
        """
        found, y = self.predict(X, tasks=tasks), as_target(y)
        _, codes = self._predict_inputs(X, tasks)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
        scores = []
        for t, label in enumerate(self.tasks_.tolist()):
            rows = np.ones(len(y), dtype=bool) if codes is None else codes == t
            true, guess = (y[:, t], found[:, t]) if y.ndim == 2 else (y, found)
            rows &= ~missing_labels(true)
            if rows.any():
                metric = accuracy_score if label in self.classes_ else r2_score
                true, guess = plain_labels(true[rows]), plain_labels(guess[rows])
                scores.append(metric(true, guess, sample_weight=weight[rows]))
        return float(np.mean(scores))
