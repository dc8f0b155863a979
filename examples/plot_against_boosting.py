"""
Against boosted trees with the task as a category
=================================================

What one would use otherwise: gradient boosting that is told the school. `compare` runs it beside
linear models on the same folds, with ten pupils of each school for training.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, Pooled, TaskResidual, TaskShuffleSplit, compare
from skmtl.datasets import load_hsb82

data = load_hsb82()
linear = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto")
trees = HistGradientBoostingRegressor(max_iter=40, learning_rate=0.08, random_state=0)
models = {
    "mixed model": make_pipeline(StandardScaler(), linear),
    "trees, school as a category": Pooled(trees, task_indicators="category"),
    "trees, school by its mean": Pooled(trees, task_indicators="encoded"),
    "trees for all, mixed model on top": TaskResidual(trees, linear),
}
found = compare(
    models, data.data[:, :3], data.target, data.tasks,
    cv=TaskShuffleSplit(4, train_size=10, random_state=0), baselines=("single", "pooled", "intercepts"),
)  # fmt: skip
print(found)

# %%
table = found.table
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
where = np.arange(len(table))[::-1]
ax.errorbar(table["mean"], where, xerr=table["sd"] / 2, fmt="o")
ax.set(yticks=where, yticklabels=table["model"], xlabel="score on held-out pupils, with its standard error")
plt.show()
