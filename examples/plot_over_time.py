"""
Effects that change over time
=============================

Tasks in an order: 40 weeks, a few rows each, with effects that stay the same until they jump. A
fused penalty finds the jumps; a quadratic one draws smooth curves through them.
"""

import matplotlib.pyplot as plt
import numpy as np

from skmtl import PathSearchCV, TemporalRegressor
from skmtl.datasets import make_multitask_regression

data = make_multitask_regression(
    n_tasks=40, n_samples=15, n_features=6, structure="temporal", n_informative=3, n_changes=3, random_state=5
)

# %%
# Two strengths are searched: of the differences between weeks, and of whole features.
models = {
    "jumps": PathSearchCV(TemporalRegressor(), alphas=15, param_grid={"group_ratio": [0.0, 0.1, 0.3]}),
    "smooth": PathSearchCV(
        TemporalRegressor(smooth="quadratic"), alphas=15, param_grid={"group_ratio": [0.0, 0.1, 0.3]}
    ),
}
feature = np.argmax(np.ptp(data.coef, axis=0))
figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
ax.step(range(40), data.coef[:, feature], color="gray", where="mid", linewidth=4, alpha=0.5, label="truth")
for name, search in models.items():
    search.fit(data.X, data.y, tasks=data.tasks)
    coef = search.best_estimator_.coef_
    ax.step(range(40), coef[:, feature], where="mid", label=name)
    print(f"{name}: mean squared error of all effects {np.mean((coef - data.coef) ** 2):.4f}")
ax.set(xlabel="week", ylabel=f"effect of feature {feature}")
ax.legend()
plt.show()
