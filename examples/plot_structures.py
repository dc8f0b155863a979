"""
What can tasks have in common?
==============================

Coefficients of twelve tasks (rows) for sixteen features (columns) under seven structures, each with
the estimator that is made for it.
"""

import matplotlib.pyplot as plt
import numpy as np

rng = np.random.default_rng(3)
T, p = 12, 16
some = rng.permutation(p)[:5]
support = np.zeros((T, p))
support[:, some] = rng.normal(size=(T, 5))
exceptions = support.copy()
exceptions[rng.integers(T, size=7), rng.integers(p, size=7)] = rng.choice([-2, 2], 7)
outliers = support.copy()
outliers[[3, 8]] = rng.normal(size=(2, p))
order = np.cumsum(rng.normal(size=(T, p)) * (rng.random((T, 1)) < 0.3), axis=0) + rng.normal(size=p)
structures = {
    "common model\nMeanRegularized": rng.normal(size=p) + 0.3 * rng.normal(size=(T, p)),
    "shared support\nGroupSparse": support,
    "… with exceptions\nDirty": exceptions,
    "outlier tasks\nRobust": outliers,
    "common subspace\nTraceNorm": rng.normal(size=(T, 2)) @ rng.normal(size=(2, p)),
    "clusters\nClustered": rng.normal(size=(3, p))[np.repeat([0, 1, 2], 4)] + 0.15 * rng.normal(size=(T, p)),
    "an order\nTemporal": order,
}

# %%
# Colours reach from blue (negative) over white (zero) to red (positive).
figure, axes = plt.subplots(1, 7, figsize=(14, 2.6), layout="constrained")
for ax, (title, coef) in zip(axes, structures.items(), strict=True):
    limit = np.abs(coef).max()
    ax.imshow(coef, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    ax.set_title(title, fontsize=11)
    ax.set(xticks=[], yticks=[])
axes[0].set(xlabel="features", ylabel="tasks")
plt.show()
