"""
Shops in states: a tree of tasks
================================

Tasks that are the leaves of a tree: 24 shops in three states. Which features matter is decided by
the state; how much, by the shop. A group penalty over all shops must take a feature for all of them
or for none, a Lasso for each shop learns nothing from its neighbours.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import GroupSparseRegressor, HierarchicalRegressor, MultiTaskRegressor, PathSearchCV
from skmtl.penalties import L1, Entries

rng = np.random.default_rng(0)
n_rows, p = 20, 40
state = np.repeat([0, 1, 2], 8)
coef = np.zeros((24, p))
for s in range(3):
    own = np.ix_(state == s, range(4 * s, 4 * s + 4))
    coef[own] = rng.choice([-1, 1], 4) + 0.3 * rng.normal(size=(8, 4))
shop = np.repeat(np.arange(24), n_rows)
X = rng.normal(size=(len(shop), p))
y = (X * coef[shop]).sum(axis=1) + rng.normal(size=len(shop))

# %%
# The tree gives for each task the way from its parent to the root, which needs no name.
tree = {t: (f"state {state[t]}",) for t in range(24)}
models = {
    "tree": HierarchicalRegressor(tree=tree),
    "one group": GroupSparseRegressor(),
    "a Lasso for each shop": MultiTaskRegressor(penalty=Entries(L1())),
}
maps = {"truth": coef}
for name, model in models.items():
    search = PathSearchCV(model, alphas=15, eps=0.02).fit(X, y, tasks=shop)
    maps[name] = search.best_estimator_.coef_
    error = np.mean((maps[name] - coef) ** 2) / np.mean(coef**2)
    print(f"{name}: squared error of the effects {error:.2f} of their size")

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained", sharey=True)
for ax, (name, values) in zip(axes, maps.items(), strict=True):
    image = ax.imshow(values, cmap="RdBu_r", vmin=-1.5, vmax=1.5, aspect="auto", interpolation="nearest")
    ax.set(title=name, xlabel="feature")
axes[0].set(ylabel="shop", yticks=[3.5, 11.5, 19.5], yticklabels=[f"state {s}" for s in range(3)])
figure.colorbar(image, ax=axes, label="effect")
plt.show()
