"""A model on its data: the one door from rows or second moments to solutions and a fitted model."""

from copy import copy
from functools import cached_property, wraps

import numpy as np

from .._data import task_data
from .._inputs import refuse_size, resolve_task_weight
from ..objective import MomentsTerm, comes_apart, make_term, rows_pay
from ..solvers import (
    alpha_range,
    at_once,
    blas_threads,
    greatest_alpha,
    make_problem_of,
    result_at,
    run,
    serves,
)
from ..statistics import TaskStatistics

ROUNDING = 1e-14  # of the greatest strength: what smaller ones are made of


def takes_statistics(model):
    """Whether an estimator takes `TaskStatistics` in the place of its rows."""
    return getattr(model, "_takes_statistics", False)


def as_fitted(method):
    """A method that answers by the parameters of the fit, whatever these are now."""

    @wraps(method)
    def answered(self, *args, **kwargs):
        asked = self._asked_
        if all(vars(self)[name] is value for name, value in asked.items()):
            return method(self, *args, **kwargs)
        other = copy(self)
        vars(other).update(asked)
        found, self._posterior_ = method(other, *args, **kwargs), other._posterior_
        return found

    return answered


class NoErrorsError(ValueError, AttributeError):
    """Standard errors that a fit does not have."""


def standard_errors(method):
    """An attribute of the fit; `hasattr` says where there is none, and the error why."""
    answered = as_fitted(method)

    @wraps(method)
    def found(self):
        try:
            return answered(self)
        except ValueError as error:
            raise error if isinstance(error, AttributeError) else NoErrorsError(*error.args) from error

    return property(found)


class Fitting:
    """A model, the data as it reads them, and the data term, which serves every strength.

    The model is told by its reading what it knows of the data (`tasks_`, `classes_`, ...); `keep` fits it.
    `rows`, (X, y, codes, sample_weight, offset), are what the data are made of, checked; `start` holds parts
    that are about the solution, where they are known.
    """

    def __init__(self, model, data, rows=None, start=None):
        self.model, self.data, self.rows, self.start = model, data, rows, start

    @classmethod
    def of(cls, model, X, y=None, tasks=None, sample_weight=None, offset=None):
        """Of a model with checked parameters on the arguments of `fit`, or on `TaskStatistics` alone."""
        model._validate_params()
        if not isinstance(X, TaskStatistics):
            return cls.of_rows(model, X, y, tasks, sample_weight, offset)
        if any(given is not None for given in (y, tasks, sample_weight, offset)):
            raise ValueError("y, tasks, sample_weight and offset must be None: TaskStatistics hold all data.")
        return cls(model, model._read_statistics(X))

    @classmethod
    def of_rows(cls, model, X, y, tasks, sample_weight, offset=None):
        """Of a model whose parameters are checked, on the arguments of `fit`."""
        rows = model._read(X, y, tasks, sample_weight, offset)
        data = task_data(*rows, model.task_weight, model.tasks_)
        refuse_size((data.n_tasks, model._n_outputs * data.n_features), "coef_")
        model._prepare(data)
        return cls(model, data, rows)

    def part(self, at):
        """The same model on its rows at some positions, among which are some of every task."""
        rows = tuple(None if own is None else own[at] for own in self.rows)
        model = copy(self.model)
        model._refuse_parts()
        data = task_data(*rows, model.task_weight, model.tasks_)
        model._prepare(data)
        return Fitting(model, data, rows)

    @cached_property
    def _selecting(self):
        """Penalties of the parts at alpha = 1."""
        return self._of_unit_strength()[0].for_classes(self.model._n_outputs).parts()

    def pattern(self, parts=None):
        """What exact zeros of the parts of a solution (of W = 0) select, {kind: (sizes, labels of groups)}.

        The kinds of a part that one before has as well are numbered. See `Penalty.pattern`.
        """
        shape, found = (self.data.n_tasks, self.model._n_outputs, self.data.n_features), {}
        parts = [np.zeros(shape)] * len(self._selecting) if parts is None else parts
        for k, (penalty, V) in enumerate(zip(self._selecting, parts, strict=False), 1):
            for kind, own in penalty.pattern(V.reshape(shape)).items():
                found[f"{kind} {k}" if kind in found else kind] = own
        return found

    def names(self, kind, labels=None):
        """Names of what is of a kind, in the order of the sizes of `pattern`: for coefficients of two."""
        if labels is not None:
            return labels.tolist()
        features, tasks = self.model._names(), self.model.tasks_.tolist()
        if kind.startswith(("features", "tasks")):
            return features if kind.startswith("features") else tasks
        return [(task, feature) for task in tasks for feature in features]

    def moments(self, at):
        """`TaskStatistics` of the rows at some positions; ValueError where these say too little."""
        return TaskStatistics.of_some(at, *self.rows, self.model.tasks_)

    def moved(self, model, stats):
        """Another model on moments of some of the rows, which knows of X and y what this one does."""
        found = Fitting.of(model, stats)
        for name in ("_layout_", "tasks_", "n_features_in_", "feature_names_in_"):
            if hasattr(self.model, name):
                setattr(model, name, getattr(self.model, name))
        return found

    shared = property(lambda self: self.model._layout_ == "shared")  # the tasks are the columns of y

    @property
    def n_rows(self):
        """Rows of X; of the largest task where only moments are known."""
        return int(self.data.count.max()) if isinstance(self.data, TaskStatistics) else len(self.data.y)

    @cached_property
    def term(self):
        """The data term, which does not depend on the strength."""
        pull = self.model.intercept_alpha  # still to be found where a range of strengths is asked for
        return self._term(0.0 if isinstance(pull, str) else pull)

    def _term(self, intercept_alpha):
        """The data term with intercepts pulled together so strongly."""
        model = self.model
        data, options = model._scaled(self.data), (model.fit_intercept, intercept_alpha)
        if not isinstance(data, TaskStatistics):
            apart = rows_pay(data) and self.comes_apart  # which it takes longer to ask
            return make_term(data, model._target_.loss, *options, apart=apart)
        scale = resolve_task_weight(model.task_weight, data.tasks, data.weight) / data.weight
        return MomentsTerm(data, scale, *options)

    def _of_unit_strength(self):
        """Penalty at alpha = 1, ridge, and strength of the shared model."""
        model = copy(self.model)
        model.alpha = 1.0
        return model._omega(), model.ridge, model._shared_mean()

    @property
    def comes_apart(self):
        """Whether tasks share no more than their mean."""
        penalty, _, shared = self._of_unit_strength()
        return shared is None and comes_apart(penalty, self.data.n_tasks)

    # whether the penalty is convex; the solutions at other strengths are of use for a start then
    convex = property(lambda self: self._of_unit_strength()[0].convex)

    def alpha_max(self):
        """Smallest strength at which the penalised coefficients are all zero."""
        with blas_threads(self.data):
            return greatest_alpha(self.term, *self._of_unit_strength())

    def alphas(self, n_alphas, eps):
        """So many falling strengths on a geometric scale over the range that matters.

        Coefficients of features far from zero do the work of intercepts that are tied: the strength that
        keeps them from it grows with that offset. The least one is where it is with free intercepts.
        """
        with blas_threads(self.data):
            options = *self._of_unit_strength(), eps
            bounds = alpha_range(self.term, *options)
            if self.term.tied_intercepts:
                least = alpha_range(self._term(0.0), *options)[1]
                if ROUNDING * bounds[0] < least < bounds[1]:
                    bounds = bounds[0], least
        if not bounds[1] > 0:  # a constant target, or features that say nothing: any strength gives zeros
            bounds = 1.0, eps
        return np.geomspace(*bounds, n_alphas)

    def at(self, alpha, start=None, after=None):
        """SolverResult at a strength, which the model takes; from parts to start from or None.

        `after` is told of each iteration, see `StepsMixin`.
        """
        with blas_threads(self.data):
            own, problem = self._problem(alpha)
            model = own.model
            start = own.start if start is None else start

            def stored(parts):
                return vars(copy(self.model)._store(model._unscaled(result_at(problem, parts))))

            listens = after and (lambda n_iter, parts: after(lambda: stored(parts)))
            found = run(problem, model.solver, start, model.max_iter, model.tol, listens, model.verbose)
        return model._unscaled(found)

    def _in_numbers(self, alpha):
        """The same with numbers in the place of strengths that are found, at one that the model takes."""
        self.model.alpha = alpha
        return self.model._in_numbers_on(self)

    def _problem(self, alpha):
        """The same and its objective."""
        own = self._in_numbers(alpha)
        model = own.model
        return own, make_problem_of(own.term, model._omega(), model.ridge, model._shared_mean())

    def along(self, alphas, warm=True):
        """(alpha, SolverResult) at each of falling strengths, whose solution starts the next if `warm`.

        Or all are found at once, where the objective is one for that.
        """
        alphas = [alpha if isinstance(alpha, str) else float(alpha) for alpha in alphas]
        parts, known = None, self._at_once(alphas)
        for alpha in alphas:
            found = next(known, None)
            if found is None:
                found = self.at(alpha, parts)
            else:
                self._in_numbers(alpha)
            parts = found.parts if warm else None
            yield alpha, found

    def _at_once(self, alphas):
        """SolverResult at each strength, None where that is for a solver; fewer if none is known."""
        model = self.model
        if model.solver not in ("auto", "direct") or model.verbose:
            return
        with blas_threads(self.data):
            problems = self._alike(alphas)
        yield from at_once(problems, model.tol) if problems else ()

    def _alike(self, alphas):
        """Objectives at these strengths, if tasks share no more than their mean in them."""
        if any(isinstance(alpha, str) for alpha in (*alphas, self.model.intercept_alpha)):
            return None
        if not self.comes_apart or not serves(self.term, len(alphas)):
            return None
        found = [self._problem(alpha) for alpha in alphas]
        # else features are in units of their own
        return [problem for _, problem in found] if all(own is self for own, _ in found) else None

    def shaped(self, result):
        """Coefficients and intercepts in the shapes of `coef_` and `intercept_`."""
        return self.model._shaped(result.coef), self.model._rows(result.intercept)

    def fit(self, after=None):
        """The model, fitted at its own strength; with `warm_start` from the fit before."""
        model = self.model
        found = self.at(model.alpha, model._start(self.data) if model.warm_start else None, after)
        model._remember(self)
        model._warn_of_fit(self.data, found)
        return self.keep(found)

    def keep(self, result):
        """The model, fitted: its attributes are those of the solution."""
        return self.model._store(result)
