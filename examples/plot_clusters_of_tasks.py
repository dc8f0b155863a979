"""
Groups of tasks that nobody told
================================

Thirty tasks come in three kinds, and nobody knows which is which. The clustered model finds the
kinds while it fits, and tasks borrow from their own kind only.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.metrics import adjusted_rand_score

from skmtl import ClusteredRegressor, MeanRegularizedRegressor, PathSearchCV, SingleTask
from skmtl.datasets import make_multitask_regression
from skmtl.inspection import TaskSimilarityDisplay

data = make_multitask_regression(
    n_tasks=30,
    n_samples=12,
    n_features=10,
    structure="clustered",
    n_clusters=3,
    task_spread=0.1,
    random_state=0,
)

# %%
models = {
    "a ridge per task": SingleTask(RidgeCV(np.logspace(-2, 3, 11))),
    "around one mean": MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto"),
    "clustered": PathSearchCV(
        ClusteredRegressor(n_clusters=3, relaxation="kmeans", random_state=0), alphas=10, cv=3
    ),
}
new = np.random.default_rng(1).normal(size=(300, 10))
tasks = np.arange(30).repeat(10)
truth = (new * data.coef[tasks]).sum(axis=1) + data.intercept[tasks]
errors = {}
for name, model in models.items():
    predicted = model.fit(data.X, data.y, tasks=data.tasks).predict(new, tasks=tasks)
    errors[name] = np.mean((predicted - truth) ** 2) / truth.var()
fitted = model.best_estimator_
print({name: round(float(error), 3) for name, error in errors.items()})
print("agreement of the clusters with the truth:", adjusted_rand_score(data.labels, fitted.labels_))

# %%
# How alike the coefficients of each two tasks are.
TaskSimilarityDisplay.from_estimator(fitted, of="coefficients")
plt.show()

# %%
figure, ax = plt.subplots(figsize=(6, 2), layout="constrained")
ax.barh(list(errors), list(errors.values()))
ax.set(xlabel="squared error on new rows, share of the variance")
plt.show()
