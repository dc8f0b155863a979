"""
Labels that are missing
=======================

Ten assays on the same 120 compounds, but most compounds were only tested in some of them. Every
label that is there is used; what assays have in common fills the gaps.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV

from skmtl import PathSearchCV, SingleTask, TraceNormRegressor
from skmtl.datasets import make_multitask_regression

shares = [0.0, 0.3, 0.5, 0.7, 0.8]
models = {
    "an assay alone": SingleTask(RidgeCV(np.logspace(-2, 3, 11))),
    "all assays": PathSearchCV(TraceNormRegressor(), alphas=12, cv=3),
}
errors = {name: [] for name in models}
for share in shares:
    data = make_multitask_regression(
        n_tasks=10, n_samples=120, n_features=15, structure="low_rank", rank=2, layout="shared",
        missing=share, noise=2.0, random_state=1,
    )  # fmt: skip
    for name, model in models.items():
        predicted = model.fit(data.X, data.y).predict(data.X)  # NaN in y is a missing label
        truth = data.X @ data.coef.T + data.intercept
        errors[name].append(np.mean((predicted - truth) ** 2) / truth.var())

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for (name, values), marker in zip(errors.items(), "so", strict=True):
    ax.plot(100 * np.array(shares), values, marker=marker, label=name)
ax.set(xlabel="labels missing (%)", ylabel="squared error, share of the variance", ylim=(0, None))
ax.legend()
plt.show()
