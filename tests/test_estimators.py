"""What scikit-learn asks of every estimator."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read at the first import of scipy; else one check is skipped

import pytest
from conftest import estimators
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import check_estimator

from skmtl import (
    GroupSparseClassifier,
    MultiTaskLasso,
    PathSearchCV,
    TaskConformalClassifier,
    TaskConformalRegressor,
    TaskResidual,
)

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines
QUICK = {  # what changes none of the code that a check runs, but how often
    "LatentBasisClassifier": {"n_init": 1, "alpha": 0.3},
    "LatentBasisRegressor": {"n_init": 1},
    "MultiTaskLassoCV": {"alphas": 5, "cv": 2},
    "MultiTaskElasticNetCV": {"alphas": 5, "cv": 2},
}
ALL = [
    cls(**QUICK.get(name, {}), **({"tol": 0.5} if name.endswith("Classifier") else {}))
    for name, cls in estimators().items()
]
ALL += [
    PathSearchCV(MultiTaskLasso(), [0.01, 0.1], cv=2),
    PathSearchCV(GroupSparseClassifier(tol=0.5), [0.05], cv=2),
    TaskConformalRegressor(MultiTaskLasso(0.01), level=0.5, cv=2),
    TaskConformalClassifier(LogisticRegression(), level=0.5, cv=2),
    TaskResidual(Ridge(tol=1e-12), MultiTaskLasso(0.01), cv=2),
    TaskResidual(LogisticRegression(), GroupSparseClassifier(0.1, tol=0.5), cv=2),
]


@pytest.mark.parametrize("estimator", ALL, ids=repr)
def test_sklearn_checks(estimator, monkeypatch):
    monkeypatch.setattr("skmtl.solvers.alternating.TRIAL_ROUNDS", 1)  # of starts, also but how often
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert [r for r in results if r["status"] != "passed"] == []
