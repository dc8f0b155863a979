"""
A penalty of your own
=====================

Costs of features that differ: a test in the laboratory is dear, a question is cheap. Two methods,
the value of the penalty and its prox, make an estimator with a path, a search and a duality gap.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import MultiTaskRegressor, path
from skmtl.datasets import make_multitask_regression
from skmtl.penalties import Penalty


class Costs(Penalty):
    """alpha sum_j cost_j ||W_j||_2, W_j the coefficients of feature j in all tasks."""

    def __init__(self, cost, alpha=1.0):
        self.cost, self.alpha = cost, alpha

    def value(self, W):
        return self.alpha * float(self.cost @ np.linalg.norm(W, axis=0))

    def prox(self, W, step):
        norm = np.linalg.norm(W, axis=0)
        return W * np.maximum(1 - step * self.alpha * self.cost / np.maximum(norm, 1e-300), 0)


data = make_multitask_regression(n_tasks=6, n_samples=30, n_features=10, n_informative=10, random_state=0)
dear = np.arange(10) >= 5
found = {}
for name, cost in {
    "all cost the same": np.ones(10),
    "five cost four times as much": np.where(dear, 4.0, 1.0),
}.items():
    model = MultiTaskRegressor(penalty=Costs(cost))
    found[name] = path(model, data.X, data.y, data.tasks, alphas=30, eps=0.01)
    print(f"{name}: largest gap along the path {found[name].gap.max():.1e}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, (name, one) in zip(axes, found.items(), strict=True):
    norms = np.linalg.norm(one.coef, axis=1)
    for kind, color, label in [(~dear, "C0", "questions"), (dear, "C1", "laboratory")]:
        lines = ax.plot(one.alphas, norms[:, kind], color=color)
        lines[0].set_label(label)
    ax.set(title=name, xscale="log", xlabel="alpha")
    ax.invert_xaxis()
axes[0].set_ylabel("size of a feature's coefficients")
axes[0].legend()
plt.show()
