"""
How sure is it, for each task?
==============================

Intervals that should hold 90 % of new rows: from the model itself, if its noise is normal, or
around any model from held-out rows. Do they hold in every school?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, TaskConformalRegressor, TaskShuffleSplit
from skmtl.datasets import load_hsb82

data = load_hsb82()
X, y, school = StandardScaler().fit_transform(data.data[:, :3]), data.target, data.tasks
train, test = next(TaskShuffleSplit(1, train_size=0.5, random_state=0).split(X, y, tasks=school))
model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto").fit(
    X[train], y[train], tasks=school[train]
)
conformal = TaskConformalRegressor(model, level=0.9).fit(X[train], y[train], tasks=school[train])

# %%
intervals = {
    "of the model": model.prediction_interval(X[test], tasks=school[test], level=0.9),
    "conformal": conformal.predict_interval(X[test], tasks=school[test]),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, (name, (lower, upper)) in zip(axes, intervals.items(), strict=True):
    inside = (lower <= y[test]) & (y[test] <= upper)
    tasks, at, n = np.unique(school[test], return_inverse=True, return_counts=True)
    share = np.bincount(at, inside) / n
    ax.plot(n, 100 * share, "o", alpha=0.5)
    ax.axhline(90, color="black", linewidth=0.8)
    size = np.arange(n.min(), n.max() + 1)  # what chance alone does in a school of so many rows
    chance = 100 * 1.96 * np.sqrt(0.09 / size)
    ax.fill_between(size, 90 - chance, np.minimum(90 + chance, 100), color="gray", alpha=0.25)
    width = np.mean(upper - lower)
    ax.set(
        title=f"{name}: {100 * inside.mean():.1f} % of rows, width {width:.1f}",
        xlabel="test rows of the school",
    )
    print(f"{name}: {100 * inside.mean():.1f} % of rows, {np.mean(share >= 0.8):.0%} of schools above 80 %")
axes[0].set_ylabel("rows inside (%)")
plt.show()
