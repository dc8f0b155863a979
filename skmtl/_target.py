"""What the labels of a fit are: numbers, classes, or of every task its own; and how models answer in them.

A target turns labels into the numbers of its losses, and linear predictors back into predictions. These have
shape (n_samples, n_outputs), or (n_samples, n_tasks, n_outputs) where every row is predicted for all tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from ._inputs import as_target, check_offset, check_sample_weight, shaped_offset
from ._labels import can_be_numbers, for_each_task, missing_labels, plain_labels, refuse_unsorted
from ._sklearn import in_cross_validation
from ._tasks import by_name
from ._warn import warn
from .losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, Loss, Multinomial, get_loss
from .metrics import score_predictions

LOSSES = {**REGRESSION_LOSSES, **CLASSIFICATION_LOSSES}


def warn_of_units(y, most):
    """Say that standard deviations of columns of y, NaN where missing, differ by more than that factor.

    One strength and one noise are for all of them.
    """
    away, mean = y - y[0], np.full(len(y), 1 / len(y))
    variances = (mean @ (away * away) - (mean @ away) ** 2).tolist()
    if max(variances) <= most**2 * min(variances):  # in nearly all fits: the rest costs a tenth of a tiny one
        return
    with np.errstate(all="ignore"):
        spread = np.nanstd(y, axis=0)[np.nanmin(y, axis=0) < np.nanmax(y, axis=0)]
    if len(spread) and spread.max() > most * spread.min():
        warn(
            f"the standard deviations of columns of y are more than {most}-fold apart, but models have one "
            "strength and one variance of the noise for all: divide each by its own.",
        )


# --- targets ---


class Target:
    """What all have: a metric for the score, and whether one predictor says all, so that its axis goes."""

    metric = staticmethod(accuracy_score)
    scalar = False

    def score(self, y, predicted, codes, sample_weight):
        """The metric, for a 2-D y the mean over its columns."""
        return score_predictions(self.metric, y, predicted, sample_weight)


class OneTarget(Target):
    """The same for all tasks, with one loss."""

    n_outputs = property(lambda self: self.loss.n_outputs, doc="Predictors that a row needs.")

    def decision(self, eta, codes=None):
        """The predictors: of each class, or of the second of two."""
        return eta[..., 0] if self.scalar else eta

    def probabilities(self, eta, codes=None):
        """Those of all classes on a last axis; of the second of two alone where rows have all tasks."""
        p = self.loss.probabilities(self.decision(eta))
        return p[..., 1] if p is not None and self.scalar and eta.ndim == 3 else p


@dataclass(eq=False)
class Numbers(OneTarget):
    """Numbers."""

    loss: Loss
    classes = None
    scalar = True
    metric = staticmethod(r2_score)

    def encode(self, y, used=None, of_task=None):
        """The targets, checked where they are used."""
        self.loss.check(y if used is None else y[used])
        return y

    def predict(self, eta, codes=None):
        """What the predictors predict."""
        return self.loss.mean(eta[..., 0])


@dataclass(eq=False)
class Classes(OneTarget):
    """Classes, numbered as in `classes`, with one predictor for two of them, else one for each."""

    classes: np.ndarray
    loss: Loss

    @classmethod
    def of(cls, classes, loss):
        """With the loss of that name; the multinomial one of more than two classes."""
        K = len(classes)
        return cls(classes, get_loss(loss, CLASSIFICATION_LOSSES) if K == 2 else Multinomial(K))

    scalar = property(lambda self: len(self.classes) == 2 and self.n_outputs == 1)

    def encode(self, y, used, of_task=None):
        """Positions of the labels in `classes`; where not used NaN in a 2-D y, else 0."""
        out = np.full(y.shape, 0.0 if y.ndim == 1 else np.nan)
        labels = plain_labels(y[used])
        out[used] = at = np.searchsorted(self.classes, labels)
        unknown = np.take(self.classes, at, mode="clip") != labels
        if np.any(unknown):
            found = np.unique(labels[unknown]).tolist()
            known = self.classes.tolist()[:10]
            raise ValueError(f"y holds classes not seen in fit: {found[:5]}; the classes are {known}.")
        return out

    def predict(self, eta, codes=None):
        """The class with the greatest score."""
        return self.classes[(eta[..., 0] > 0).astype(np.intp) if self.scalar else eta.argmax(axis=-1)]


@dataclass(eq=False)
class OwnTargets(Target):
    """A target of its own for every task, by its name; those with fewer predictors use the first ones."""

    each: dict

    loss = property(lambda self: [one.loss for one in self.each.values()], doc="The loss of every task.")
    n_outputs = property(lambda self: max(one.n_outputs for one in self.each.values()), doc="The most.")

    def encode(self, y, used, of_task):
        """Numbers for the labels, of the tasks at positions `of_task` (broadcast to y)."""
        out = np.full(y.shape, 0.0 if y.ndim == 1 else np.nan)
        for t, one in enumerate(self.each.values()):
            at = used & (of_task == t)
            labels = plain_labels(y[at])
            labels = labels.astype(np.float64) if one.classes is None else labels
            out[at] = one.encode(labels, np.ones(len(labels), dtype=bool))
        return out

    def _sections(self, eta, codes):
        """(name, target, index of its entries in a prediction, its predictors) of every task."""
        if codes is not None and (codes < 0).any():
            raise ValueError("tasks with labels of their own have no average to predict unknown tasks with.")
        for t, (name, one) in enumerate(self.each.items()):
            own = slice(None) if codes is None else codes == t
            at = (own, t) if eta.ndim == 3 else (own,)
            yield name, one, at, eta[at][:, : one.n_outputs]

    def predict(self, eta, codes=None):
        """Of every task its own labels, in an array of the type that holds all."""
        out = np.empty(eta.shape[:-1], dtype=self._type())
        for _, one, at, own in self._sections(eta, codes):
            out[at] = one.predict(own)
        return out


class OwnClasses(OwnTargets):
    """Classes of its own in every column of y, with a predictor for every class."""

    classes = property(lambda self: [one.classes for one in self.each.values()], doc="Those of every task.")

    def _type(self):
        one_kind = len({own.dtype.kind for own in self.classes}) == 1
        return np.result_type(*self.classes) if one_kind else object

    def decision(self, eta, codes=None):
        """The score of every class; minus infinity where a task does not know it."""
        out = np.full(eta.shape, -np.inf)
        for _, one, at, own in self._sections(eta, codes):
            out[(*at, slice(one.n_outputs))] = own
        return out

    def probabilities(self, eta, codes=None):
        """An array (n_samples, n_classes) for every task; of rows with tasks one, with zeros at the end."""
        p = softmax(self.decision(eta, codes), axis=-1)
        return p if p.ndim == 2 else [p[:, t, : len(own)] for t, own in enumerate(self.classes)]


class Kinds(OwnTargets):
    """Numbers in some tasks, classes in others; `classes` {name: classes} of the latter."""

    classes = property(lambda self: {t: x.classes for t, x in self.each.items() if x.classes is not None})

    @classmethod
    def of(cls, y, used, of_task, losses):
        """Read from the labels, with the losses {name: name or object} of the tasks."""
        labels = (plain_labels(y[used & (of_task == t)]) for t in range(len(losses)))
        named = zip(losses.items(), labels, strict=True)
        return cls({name: _own_target(name, loss, own) for (name, loss), own in named})

    def _type(self):
        return np.float64 if all(own.dtype.kind in "biuf" for own in self.classes.values()) else object

    def probabilities(self, eta, codes=None):
        """{name: (n_samples, n_classes)}; of rows of one task each one array, with zeros at the end."""
        found, shared = [], eta.ndim == 3
        for name, one, at, own in self._sections(eta, codes):
            p = one.probabilities(own)
            if p is None and len(own) and not shared:
                raise ValueError(f"task {name!r} has no class probabilities: its loss is {one.loss!r}.")
            found += [(name, at[0], p)] if p is not None and len(own) else []
        if shared:
            return {name: p for name, _, p in found}
        out = np.zeros((len(eta), max(p.shape[1] for *_, p in found)))
        for _, rows, p in found:
            out[rows, : p.shape[1]] = p
        return out

    def score(self, y, predicted, codes, sample_weight):
        """Mean over tasks of R^2 (numbers) or accuracy (classes); missing labels are left out."""
        weight, scores = np.ones(len(y)) if sample_weight is None else sample_weight, []
        for t, one in enumerate(self.each.values()):
            true, guess = (y[:, t], predicted[:, t]) if y.ndim == 2 else (y, predicted)
            own = weight[:, t] if weight.ndim == 2 else weight
            rows = ~missing_labels(true) & (own > 0) & (True if codes is None else codes == t)
            if rows.any():
                true, guess = plain_labels(true[rows]), plain_labels(guess[rows])
                scores.append(one.metric(true, guess, sample_weight=own[rows]))
        return float(np.mean(scores))


def _own_target(name, loss, labels):
    """The target of one task among others of different kinds."""
    if isinstance(loss, Loss) or loss not in CLASSIFICATION_LOSSES:
        if not can_be_numbers(labels):
            raise ValueError(
                f"task {name!r} has the regression loss {loss!r} but targets that are no numbers."
            )
        return Numbers(get_loss(loss, REGRESSION_LOSSES))
    return Classes.of(suited(np.unique(labels), loss, f"task {name!r}: "), loss)


def used_labels(y, sample_weight):
    """Where y holds a label of positive weight, boolean of the shape of y."""
    used = ~missing_labels(y)
    if sample_weight is not None:
        used &= np.broadcast_to((sample_weight > 0).reshape(len(y), *[-1] * (y.ndim - 1)), y.shape)
    return used


def find_classes(y, used, loss):
    """The classes of all tasks, or a list of those of every column of y where these differ and are many."""
    own = [] if y.ndim == 1 else [classes_of(column[rows]) for column, rows in zip(y.T, used.T, strict=True)]
    classes = suited(_union(own) if own else classes_of(y[used]), loss)
    if len(classes) == 2 or all(len(found) == len(classes) for found in own):
        return classes
    if max(map(len, own)) == 1:
        raise ValueError("every column of y holds only one class; a classifier needs two in some.")
    return own


def suited(classes, loss="log_loss", where=""):
    """The classes; ValueError where there is one alone, or too many for the loss."""
    if len(classes) < 2:
        raise ValueError(f"{where}y holds only one class, {classes.tolist()}; a classifier needs two.")
    if len(classes) > 2 and loss != "log_loss":
        raise ValueError(f"{where}loss={loss!r} is for two classes; y has {len(classes)}.")
    return classes


def classes_of(labels):
    """The sorted distinct labels."""
    labels = plain_labels(labels)
    try:
        found = np.unique(labels)
    except TypeError:
        refuse_unsorted(labels, "y")
    check_classification_targets(labels)
    return found


def _union(sets):
    """All labels of several sets; of different types they stay objects, not sorted."""
    if len({labels.dtype.kind for labels in sets}) == 1:
        return np.unique(np.concatenate(sets))
    return np.array(list(dict.fromkeys(label for labels in sets for label in labels.tolist())), dtype=object)


# --- how estimators answer ---


class TargetMixin:
    """Predictions and scores of an estimator in the terms of its target.

    A subclass has `_predictors(X, tasks)`: linear predictors in the shapes above, and the positions of the
    tasks of the rows, or None: all tasks. Its fit calls `_encode`, which sets the target.
    """

    _takes_offset = True
    __metadata_request__fit = {"offset": True}
    __metadata_request__predict = {"offset": True}
    __metadata_request__predict_proba = {"offset": True}
    __metadata_request__decision_function = {"offset": True}
    __metadata_request__score = {"offset": True}

    @cached_property
    def _target_(self):
        """What the labels of the fit were; made up here for models saved by version 0.1.0 only."""
        return self._known_target()

    def _asked(self, X, tasks, offset):
        """Predictors, in a fit of one task without label those of that task, and positions of the tasks."""
        eta, codes = self._predictors(X, tasks)
        eta = eta[:, 0] if codes is None and self._layout_ == "single" else eta
        if offset is None:
            self._refuse_without_offset(in_cross_validation())
            return eta, codes
        offset = shaped_offset(check_offset(offset, len(eta)), eta.shape[:-1], eta.shape[-1])
        return eta + offset.reshape(*eta.shape[:-1], -1), codes

    @by_name
    def predict(self, X, *, tasks=None, offset=None):
        """Predict targets: numbers, or class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.
        offset : array-like, optional
            Added to the linear predictors, as in `fit`. None is zero: a rate, where that of `fit` was the
            logarithm of an exposure.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            2-D after a fit on a 2-D y (unless `tasks` is given). Of objects where tasks have targets of
            different kinds, or labels of different types.

        Raises
        ------
        ValueError
            If tasks are missing or unknown.
        """
        eta, codes = self._asked(X, tasks, offset)
        return self._target_.predict(eta, codes)

    @by_name
    def score(self, X, y, sample_weight=None, *, tasks=None, offset=None):
        """R^2 of numbers, accuracy of classes; missing labels (NaN in a 2-D y) are left out.

        Parameters
        ----------
        X, y
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.
        offset : array-like, optional
            As in `predict`; required after a fit with one.

        Returns
        -------
        float
            For a 2-D y the plain mean over its columns; for tasks of different kinds over the tasks.
        """
        if offset is None:
            self._refuse_without_offset()
        eta, codes = self._asked(X, tasks, offset)
        y = as_target(y)
        weight = check_sample_weight(sample_weight, y.shape)
        return self._target_.score(y, self._target_.predict(eta, codes), codes, weight)


class NumbersMixin(TargetMixin, RegressorMixin):
    """Regression, with a parameter `loss`."""

    def _known_target(self):
        return Numbers(get_loss(self.loss, REGRESSION_LOSSES))

    def _encode(self, y, codes, sample_weight):
        """Targets as numbers; sets what is known of them."""
        self._target_ = self._known_target()
        return self._target_.encode(y, None if sample_weight is None else used_labels(y, sample_weight))


class ClassesMixin(TargetMixin, ClassifierMixin):
    """Classification, with a parameter `loss`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or list of ndarray
        Class labels; one array per column where the columns of a 2-D y have different labels (and
        more than two in all).
    """

    def _known_target(self):
        if isinstance(self.classes_, list):
            return OwnClasses({t: Classes(own, Multinomial(len(own))) for t, own in enumerate(self.classes_)})
        return Classes.of(self.classes_, self.loss)

    def _encode(self, y, codes, sample_weight):
        """Targets as numbers; sets what is known of them."""
        used = used_labels(y, sample_weight)
        self.classes_ = find_classes(y, used, self.loss)
        self._target_ = self._known_target()
        return self._target_.encode(y, used, np.arange(self.n_tasks_))

    @by_name
    def decision_function(self, X, *, tasks=None, offset=None):
        """Log-odds of ``classes_[1]``, or one score per class.

        Parameters
        ----------
        X, tasks, offset
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            With one more axis, over the classes, for more than two. A class that a task does not
            know scores minus infinity.
        """
        eta, codes = self._asked(X, tasks, offset)
        return self._target_.decision(eta, codes)

    @available_if(lambda self: self.loss == "log_loss")
    @by_name
    def predict_proba(self, X, *, tasks=None, offset=None):
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X, tasks, offset
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            After a fit on a 2-D y, (n_samples, n_tasks, n_classes); for two classes the probability
            of ``classes_[1]`` in each task, (n_samples, n_tasks), as scikit-learn's classifiers give
            it for several binary outputs; where the columns have labels of their own a list with
            one array (n_samples, n_classes) for each.
        """
        eta, codes = self._asked(X, tasks, offset)
        return self._target_.probabilities(eta, codes)


class KindsMixin(TargetMixin):
    """Tasks of different kinds, with a parameter `losses`.

    Attributes
    ----------
    classes_ : dict of {task: ndarray}
        Class labels of the classification tasks.
    """

    def _known_target(self):
        known, named = self.classes_, zip(self.tasks_.tolist(), self._losses_, strict=True)
        return Kinds({t: Classes(known[t], loss) if t in known else Numbers(loss) for t, loss in named})

    def _encode(self, y, codes, sample_weight):
        """Targets as numbers; sets what is known of them."""
        if self.handle_unknown == "average":
            raise ValueError("handle_unknown='average' has no meaning for tasks of different kinds.")
        used = used_labels(y, sample_weight)
        of_task = np.arange(self.n_tasks_) if codes is None else codes
        self._target_ = Kinds.of(y, used, of_task, self._losses_by_task())
        self.classes_ = self._target_.classes
        return self._target_.encode(y, used, of_task)

    def _losses_by_task(self):
        """{task: name or object of its loss}, in the order of `tasks_`."""
        labels = self.tasks_.tolist()
        if not isinstance(self.losses, Mapping):
            return dict.fromkeys(labels, "squared_error" if self.losses is None else self.losses)
        named = for_each_task(self.losses, self.tasks_, "losses", "loss")
        wrong = [v for v in named if not (isinstance(v, Loss) or v in LOSSES)]
        if wrong:
            raise ValueError(f"losses must be Loss objects or among {sorted(LOSSES)}; got {wrong[0]!r}.")
        return dict(zip(labels, named, strict=True))

    def _has_classes(self):
        losses = self.losses.values() if isinstance(self.losses, Mapping) else [self.losses]
        return any(isinstance(loss, str) and loss in CLASSIFICATION_LOSSES for loss in losses)

    @available_if(lambda self: self._has_classes())
    @by_name
    def predict_proba(self, X, *, tasks=None, offset=None):
        """Probabilities of the classes of the classification tasks.

        Parameters
        ----------
        X, tasks, offset
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
        eta, codes = self._asked(X, tasks, offset)
        return self._target_.probabilities(eta, codes)
