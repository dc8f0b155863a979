"""What scikit-learn asks of every estimator."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # read at the first import of scipy; else one check is skipped

import pytest
from conftest import estimators
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmtl import GroupSparseClassifier, MultiTaskLasso, PathSearchCV

pytestmark = pytest.mark.no_cover  # coverage costs half as much again, and others run these lines
ALL = [cls() for cls in estimators().values()]
ALL += [
    PathSearchCV(MultiTaskLasso(), [0.01, 0.1], cv=2),
    PathSearchCV(GroupSparseClassifier(), [0.01], cv=2),
]


@parametrize_with_checks(ALL)
def test_sklearn_checks(estimator, check):
    check(estimator)
