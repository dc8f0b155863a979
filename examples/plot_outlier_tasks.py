"""
Which tasks do not belong?
==========================

Two of twenty tasks have nothing in common with the rest. A model that splits coefficients into a
shared and a private part finds them, and keeps them from spoiling what the others share.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import PathSearchCV, RobustRegressor
from skmtl.datasets import make_multitask_regression

data = make_multitask_regression(
    n_tasks=20,
    n_samples=40,
    n_features=15,
    structure="outliers",
    n_outliers=2,
    task_spread=0.0,
    random_state=1,
)

# %%
# W = shared + private, with a penalty on features of the one and on whole tasks of the other.
search = PathSearchCV(RobustRegressor(), alphas=15, param_grid={"shared_ratio": [0.3, 0.5, 0.7]})
search.fit(data.X, data.y, tasks=data.tasks)
model = search.best_estimator_
size = np.linalg.norm(model.private_coef_, axis=1)
found = np.flatnonzero(size > 0.1 * size.max())
truth = np.isin(np.arange(20), data.outlier_tasks)
print("found:", found.tolist(), "true:", np.flatnonzero(truth).tolist())

# %%
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for own, color, label in [(~truth, "C0", "shares"), (truth, "C1", "outlier by construction")]:
    ax.bar(np.arange(20)[own], size[own], color=color, label=label)
ax.set(xlabel="task", ylabel="size of the private part", xticks=range(20))
ax.set_title("Private parts name the outliers")
ax.legend()
plt.show()
