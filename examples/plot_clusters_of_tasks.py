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
# Tasks in the order of their true kind, coloured by how alike their coefficients are.
order = np.argsort(data.labels, kind="stable")
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
image = axes[0].imshow(np.corrcoef(fitted.coef_[order]), cmap="RdBu_r", vmin=-1, vmax=1)
axes[0].set(title="correlation of the fitted tasks", xlabel="task", ylabel="task")
figure.colorbar(image, ax=axes[0])
axes[1].barh(list(errors), list(errors.values()))
axes[1].set(xlabel="squared error on new rows, share of the variance")
plt.show()
