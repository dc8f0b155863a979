"""Rows and a loss of which a mixed model is made, as second moments are of the squared loss."""

import numpy as np
from scipy import sparse

from ._laplace import Likelihood
from ._laplace_classes import ClassLikelihood

MOST_DENSE = 2**26  # numbers of a sparse X that is made dense


class SeenRows:
    """Rows and a loss that is minus a log-likelihood, where second moments stand for the squared loss."""

    def __init__(self, data, loss):
        self.data, self.loss, self.tasks = data, loss, data.tasks
        self.n_tasks, self.n_features = self.n_designs, _ = data.n_tasks, data.n_features
        self.weight = data.task_sums(np.broadcast_to(data.row_weight, data.y.shape)) * data.unit

    def turned(self, R):
        """The same of features X R."""
        return SeenRows(self.data.turned(R), self.loss)

    def likelihood(self, precision, fit_intercept, free):
        """That of the rows under their weights times a precision of each task (n_tasks,)."""
        data = self.data
        weight = data.row_weight * data.spread(data.unit * precision)
        data = data._with(row_weight=weight, scale=np.ones(data.n_tasks))
        if sparse.issparse(data.X) and np.prod(data.X.shape) <= MOST_DENSE:  # moments are dense anyway
            data = data.dense()
        form = Likelihood if self.loss.n_outputs == 1 else ClassLikelihood
        return form(data, self.loss, precision, fit_intercept, fit_intercept and free)
