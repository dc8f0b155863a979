"""
Against boosted trees with the task as a category
=================================================

What one would use otherwise: gradient boosting that is told the school, as a category or by its mean
target, or with a mixed model of what it leaves. `compare` runs it beside
linear models on the same folds, with ten pupils of each school for training.
"""

import matplotlib.pyplot as plt
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, Pooled, TaskResidual, TaskShuffleSplit, compare
from skmtl.datasets import load_hsb82
from skmtl.inspection import ComparisonDisplay

data = load_hsb82()
linear = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto")
trees = HistGradientBoostingRegressor(max_iter=40, learning_rate=0.08, random_state=0)
models = {
    "mixed model": make_pipeline(StandardScaler(), linear),
    "trees, category": Pooled(trees, task_indicators="category"),
    "trees, mean target": Pooled(trees, task_indicators="encoded"),
    "trees + mixed model": TaskResidual(trees, linear),
}
found = compare(
    models, data.data[:, :3], data.target, data.tasks,
    cv=TaskShuffleSplit(4, train_size=10, random_state=0), baselines=("single", "pooled", "intercepts"),
)  # fmt: skip
print(found)

# %%
ComparisonDisplay.from_comparison(found)
plt.show()
