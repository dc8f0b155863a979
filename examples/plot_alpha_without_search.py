"""
A strength without a search
===========================

The curve is what a cross-validated search sees; the line is what one fit estimates by marginal
likelihood, without folds. A search of 18 strengths in five folds costs 90 fits.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, PathSearchCV
from skmtl.datasets import load_hsb82
from skmtl.inspection import PathDisplay

data = load_hsb82()
X, y, school = StandardScaler().fit_transform(data.data[:, :3]), data.target, data.tasks
start = perf_counter()
auto = MeanRegularizedRegressor(
    alpha="auto", intercept_alpha="auto", covariance="spherical", task_weight="samples"
).fit(X, y, tasks=school)
middle = perf_counter()
search = PathSearchCV(
    MeanRegularizedRegressor(intercept_alpha=auto.intercept_alpha_, task_weight="samples"),
    alphas=np.geomspace(1e-2, 1e3, 18), cv=5,
).fit(X, y, tasks=school)  # fmt: skip
print(f"one fit {middle - start:.2f} s, the search {perf_counter() - middle:.2f} s")

# %%
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
PathDisplay.from_cv_results(search.cv_results_, ax=ax)
ax.axvline(auto.alpha_, color="C1", label='alpha="auto"')
ax.legend()
plt.show()
