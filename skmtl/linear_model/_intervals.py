"""How far off predictions may be."""

import numpy as np
from scipy import sparse, special

from .._parameters import with_parameters
from .._tasks import by_name
from ._base import LinearRegressor
from ._empirical_bayes import EmpiricalBayes
from ._fitting import as_fitted

CHUNK = 2**16  # rows whose quantiles are found at once


@with_parameters
class EmpiricalBayesRegressor(EmpiricalBayes, LinearRegressor):
    """The same of regressors, with standard deviations of targets."""

    @as_fitted
    def _deviations(self, X, tasks, of_rows):
        """Standard deviations of predictors, or of targets, of rows, in the shape of predictions."""
        X, codes = self._predict_inputs(X, tasks)
        X = self._check_features(X)
        X = X.tocsr() if sparse.issparse(X) else X
        if codes is not None:
            return self._errors(X, codes, of_rows)
        every = [self._errors(X, np.full(X.shape[0], t), of_rows) for t in range(self.n_tasks_)]
        return every[0] if self._layout_ == "single" else np.column_stack(every)

    @as_fitted
    def _predictors_and_errors(self, X, tasks, offset):
        """Linear predictors of rows, and their standard deviations."""
        eta, std = self._asked(X, tasks, offset)[0], self._deviations(X, tasks, False)
        return eta.reshape(std.shape), std

    def _standard_deviations(self, X, tasks, offset):
        """Of the targets of rows, in the shape of predictions."""
        loss = self._target_.loss
        if loss.quadratic:
            return self._deviations(X, tasks, True)
        eta, std = self._predictors_and_errors(X, tasks, offset)
        return np.sqrt(loss.target_variance(eta, std**2))

    @by_name
    def predict(self, X, *, tasks=None, offset=None, return_std=False):
        """Predict targets, and how far off they may be.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features, with the task column if `task_column` is set.
        tasks : array-like of shape (n_samples,), optional
            Task label of every row; required after a fit with `tasks`.
        offset : array-like, optional
            Added to the linear predictors, as in `fit`; None is zero.
        return_std : bool, default=False
            Whether to return standard deviations of targets about predictions as well: of the noise of a
            row of weight 1, of the coefficients of its task, and of the common ones; of a task that is
            unknown (``handle_unknown="average"``) all that its coefficients may be.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            Predictions; 2-D after a fit on a 2-D y (unless `tasks` is given).
        std : ndarray of the same shape
            Standard deviations, with `return_std`.

        Raises
        ------
        ValueError
            If tasks are missing or unknown, or the model gives no standard deviations: with another loss,
            ``mean_alpha`` or ``ridge``.
        """
        y = super().predict(X, tasks=tasks, offset=offset)
        return (y, self._standard_deviations(X, tasks, offset)) if return_std else y

    @by_name
    def prediction_interval(self, X, *, tasks=None, offset=None, level=0.95):
        """Intervals that hold the target of a row with a probability.

        Of counts their ends are whole numbers, and they hold at least as much.

        Parameters
        ----------
        X, tasks, offset
            As in `predict`.
        level : float in (0, 1), default=0.95
            Probability.

        Returns
        -------
        ndarray of shape (2, n_samples) or (2, n_samples, n_tasks)
            Lower and upper ends.

        See Also
        --------
        TaskConformalRegressor.predict_interval : Intervals around any model, whatever its noise.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1; got {level!r}.")
        loss = self._target_.loss
        if not (loss.quadratic or loss.log_link):
            raise ValueError(
                f"prediction_interval needs loss='squared_error' or 'poisson'; got loss={self.loss!r}."
            )
        if loss.log_link:
            eta, std = self._predictors_and_errors(X, tasks, offset)
            rows = [slice(start, start + CHUNK) for start in range(0, eta.size, CHUNK)]
            ends = [loss.interval(eta.ravel()[at], std.ravel()[at], level) for at in rows]
            return np.concatenate(ends, axis=1).reshape(2, *eta.shape)
        y, std = self.predict(X, tasks=tasks, offset=offset, return_std=True)
        width = special.stdtrit(self._known_posterior().moments.df, 0.5 + 0.5 * level) * std
        return np.stack([y - width, y + width])
