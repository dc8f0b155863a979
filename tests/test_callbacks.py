"""Callbacks of scikit-learn 1.9 hear of every step of a fit, see the model there, and may stop it."""

import numpy as np
import pytest
from conftest import estimators
from sklearn.metrics import r2_score

import skmtl
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.linear_model._base import LinearModel

callback = pytest.importorskip("sklearn.callback")  # of 1.9; before, nobody can listen
NUMBERS = make_multitask_regression(4, 30, 6, random_state=0)
CLASSES = make_multitask_classification(4, 30, 6, random_state=0)
TWINS = "GroupSparseClassifier", "LatentBasisClassifier", "MeanRegularizedClassifier", "TraceNormClassifier"
CHAIN = np.eye(4, k=1) + np.eye(4, k=-1)


class Listener:
    """Keeps what it hears, and stops at the step that it is told."""

    def __init__(self, name, stop_at=None):
        self.name, self.stop_at, self.models, self.ends = name, stop_at, [], 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == self.name:
            self.models.append(fitted_estimator)
        return len(self.models) == self.stop_at

    def teardown(self, estimator, context):
        self.ends += 1


def linear():
    options = {"Graph": {"graph": CHAIN}, "Mixed": {"losses": "squared_error"}, "Latent": {"random_state": 0}}
    for name, cls in estimators().items():
        twin = name.endswith("Classifier") and name not in TWINS  # the same code with another loss
        if issubclass(cls, LinearModel) and "Incomplete" not in name and not name.endswith("CV") and not twin:
            own = next((own for word, own in options.items() if word in name), {})
            yield pytest.param(cls, own, id=name)


@pytest.mark.parametrize("cls, options", list(linear()))
def test_every_iteration_is_heard_and_has_its_model(cls, options):
    data = CLASSES if cls.__name__.endswith("Classifier") else NUMBERS
    given = {"X": data.X, "y": data.y, "tasks": data.tasks}
    plain = cls(0.05, **options).fit(**given)
    heard = Listener("iteration")
    model = cls(0.05, **options).set_callbacks(heard).fit(**given)
    assert heard.ends == 1 and 1 <= len(heard.models) <= model.n_iter_ + 1
    np.testing.assert_array_equal(model.coef_, plain.coef_)  # listening changes nothing
    last = heard.models[-1]
    np.testing.assert_allclose(last.coef_, model.coef_, atol=1e-12)
    np.testing.assert_allclose(last.intercept_, model.intercept_, atol=1e-9)
    assert last.predict(data.X, tasks=data.tasks).shape == data.y.shape
    objectives = [one.objective_ for one in heard.models]
    assert min(objectives) >= model.objective_ - model.dual_gap_ - 1e-9 or np.isnan(model.dual_gap_)
    assert "_callback_fit_ctx" not in vars(model)


def test_a_callback_stops_a_fit_without_a_warning():
    stop = Listener("iteration", stop_at=3)
    model = skmtl.TraceNormRegressor(0.3, solver="fista", tol=1e-12).set_callbacks(stop)
    model.fit(NUMBERS.X, NUMBERS.y, tasks=NUMBERS.tasks)
    assert model.n_iter_ == 3 == len(stop.models) and model.dual_gap_ > 0


def test_scores_of_each_iteration_by_the_monitor_of_scikit_learn():
    monitor, X = callback.ScoringMonitor(scoring="r2"), np.column_stack([NUMBERS.X, NUMBERS.tasks])
    model = skmtl.RobustRegressor(0.1, task_column=-1).set_callbacks(monitor).fit(X, NUMBERS.y)
    scores = [row["r2"] for row in monitor.get_logs().data if row["task_name"] == "iteration"]
    assert len(scores) > 1 and scores[-1] == pytest.approx(r2_score(NUMBERS.y, model.predict(X)))


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.processes)])
def test_every_path_of_a_search_is_heard(n_jobs):
    heard = Listener("path")
    search = skmtl.PathSearchCV(
        skmtl.GroupSparseRegressor(), alphas=4, cv=3, param_grid={"ridge": [0.0, 0.1]}, n_jobs=n_jobs
    ).set_callbacks(heard)
    search.fit(NUMBERS.X, NUMBERS.y, tasks=NUMBERS.tasks)
    assert len(heard.models) == 6 and heard.ends == 1
    lasso = skmtl.MultiTaskLassoCV(alphas=4, cv=3, n_jobs=n_jobs).set_callbacks(heard)
    lasso.fit(NUMBERS.X, NUMBERS.y, tasks=NUMBERS.tasks)
    assert len(heard.models) == 9 and heard.ends == 2
