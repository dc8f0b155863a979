"""
Which effects differ between tasks?
===================================

Do schools differ in their level only, or also in how much the social status, sex or origin of a
pupil matters? One fit estimates how much each effect varies between schools, and tests whether that
is more than chance.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor
from skmtl.datasets import load_hsb82

data = load_hsb82()
names = data.feature_names[:3]  # "sector" is the same for all pupils of a school
X = StandardScaler().fit_transform(data.data[:, :3])
model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto", covariance="diagonal")
model.fit(X, data.target, tasks=data.tasks)

# %%
# ``test_sharing`` has an entry for the levels, for all slopes together, and for each feature.
tests = model.test_sharing()
p_values = [test.p_value for test in tests.values()]
for name, p in zip(["slopes", "levels", *names], p_values, strict=True):
    print(f"{name}: p = {p:.4f}")

# %%
# The mean effect with its standard error, and the spread of schools about it.
spread = np.sqrt(np.append(model.deviation_variance_, model.intercept_variance_))
mean = np.append(model.mean_coef_, 0)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
where = np.arange(4)
axes[0].errorbar(model.mean_coef_, where[:3], xerr=2 * model.mean_coef_std_, fmt="o")
axes[0].axvline(0, color="gray", linewidth=0.8)
axes[0].set(xlabel="mean effect, two standard errors", yticks=where, yticklabels=[*names, "level"])
axes[1].barh(where, spread)
for at, size, p in zip(where, spread, [*p_values[2:], p_values[1]], strict=True):
    axes[1].text(size + 0.03, at, f"p = {p:.4f}", va="center")
axes[1].set_xlim(0, 1.3 * spread.max())
axes[1].set(xlabel="standard deviation between schools")
figure.suptitle("Points of the mathematics test per standard deviation of the feature")
plt.show()
