"""
Which features, with few false ones?
====================================

A cross-validated Lasso keeps too many features. Stability selection counts how often halves of the
rows pick each of them, and bounds the number that are picked by mistake.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import GroupSparseRegressor, PathSearchCV, stability_selection
from skmtl.datasets import make_multitask_regression
from skmtl.inspection import StabilityDisplay

data = make_multitask_regression(
    n_tasks=6, n_samples=40, n_features=60, n_informative=5, noise=2.0, random_state=1
)
true = np.flatnonzero(data.coef.any(axis=0))
search = PathSearchCV(GroupSparseRegressor(), alphas=20).fit(data.X, data.y, tasks=data.tasks)
kept = np.flatnonzero(search.best_estimator_.coef_.any(axis=0))
print(f"cross-validation keeps {len(kept)} features, {len(np.setdiff1d(kept, true))} of them by mistake")

# %%
found = stability_selection(GroupSparseRegressor(), data.X, data.y, data.tasks, random_state=0)
print(found)
print("true:", true.tolist())

# %%
StabilityDisplay(found).plot()
plt.show()
