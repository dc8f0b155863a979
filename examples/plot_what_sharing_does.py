"""
What does sharing do to each task?
==================================

A school alone has a noisy idea of how much social status matters. Sharing moves each school towards
what all have in common: the fewer pupils it has, and the less its own estimate can be trusted, the
further.
"""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, summary
from skmtl.datasets import load_hsb82
from skmtl.inspection import CoefficientDisplay, ShrinkageDisplay

data = load_hsb82()
names, y, school = data.feature_names[:3], data.target, data.tasks
X = pd.DataFrame(StandardScaler().fit_transform(data.data[:, :3]), columns=names)
model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto").fit(X, y, tasks=school)
print(summary(model))

# %%
# From each school's own estimate to that of the model, with its interval.
ShrinkageDisplay.from_estimator(model, X, y, school, feature="ses")
plt.show()

# %%
# All effects at once; schools that are alike stand together.
CoefficientDisplay.from_estimator(model)
plt.show()
