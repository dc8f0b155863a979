"""Tasks of different kinds: what scores them, their errors, and models to beat."""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import r2_score

from .._labels import find_tasks, for_each_task, missing_labels, plain_labels
from .._task_scores import block_scores, mean_of_tasks, squared_errors, task_blocks
from .._tasks import final_model
from ..linear_model import MixedTaskModel
from ..losses import CLASSIFICATION_LOSSES
from ..model_selection import PathSearchCV
from ..penalties import Ridge

NOTHING = 1e30  # a strength at which no feature is in use


def _of_classes(loss):
    return isinstance(loss, str) and loss in CLASSIFICATION_LOSSES


class Kinds:
    """Mean over tasks of R^2, where the loss of a task is one of numbers, or of the share of right labels.

    Errors of labels are in units in which tasks can be compared: squared ones over the variance of the task,
    and 1 for a wrong class. The tasks are those of the labels of the rows, or the columns of y.
    """

    __name__ = "r2_or_accuracy"

    @classmethod
    def of(cls, models, *data):
        """Those of the first of some models that has classes in some tasks, else None."""
        for model in models.values():
            losses = getattr(final_model(model), "losses", None)
            each = losses.values() if isinstance(losses, Mapping) else [losses]
            if any(map(_of_classes, each)):
                return cls(losses, *data)
        return None

    def __init__(self, losses, names, y, labels):
        named = isinstance(losses, Mapping)
        each = for_each_task(losses, names, "losses", "loss") if named else [losses] * len(names)
        self.losses, self.names = losses, names
        self.classes, self.unit = [*map(_of_classes, each)], np.ones(len(names))
        for t, own in self._rows(y, labels):
            known = y[own][~missing_labels(y[own])]
            if not self.classes[t] and len(known):
                self.unit[t] = np.var(known.astype(np.float64)) or 1.0

    def __call__(self, y_true, y_pred, tasks=None):
        found, blocks = task_blocks(y_true, y_pred, tasks, None)
        codes = find_tasks(np.asarray(found), self.names) if tasks is not None else range(len(found))
        scores = [self._score(t, *block[:2]) for t, block in zip(codes, blocks, strict=True)]
        return mean_of_tasks(dict(zip(found, scores, strict=True)))

    def _score(self, t, y, predicted):
        if self.classes[t]:
            return np.mean(y == predicted) if len(y) else np.nan
        return block_scores(r2_score, [(y.astype(np.float64), predicted.astype(np.float64), None)], {})[0]

    def _rows(self, y, labels):
        """(task, its labels in y) for every task."""
        codes = None if labels is None else find_tasks(labels, self.names)
        for t in range(len(self.names)):
            yield t, (slice(None), t) if codes is None else np.flatnonzero(codes == t)

    def errors(self, y, found, labels):
        """Errors of the shape of y, NaN where a label is missing."""
        out, missing = np.zeros(y.shape), missing_labels(y)
        for t, own in self._rows(y, labels):
            if self.classes[t]:
                out[own] = plain_labels(y[own]) != plain_labels(found[own])
            else:
                true = np.where(missing[own], np.nan, y[own]).astype(np.float64)
                out[own] = squared_errors(true, found[own].astype(np.float64)) / self.unit[t]
        return np.where(missing, np.nan, out)

    def rival(self, name, column):
        """A model to beat of that name."""
        options = {"losses": self.losses, "task_column": column}
        if name == "single":
            return PathSearchCV(MixedTaskModel(penalty=Ridge(), **options), 10, 1e-3, grow=True)
        if name == "mean":
            return MixedTaskModel(NOTHING, **options)
        raise ValueError(f"baselines must be 'single' and 'mean' for tasks of different kinds; got {name!r}.")
