"""
How do I know that it has converged?
====================================

While a solver runs, the objective falls and a lower bound rises. Between them lies the optimum:
their distance is the certificate that every convex fit returns as ``dual_gap_``.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skmtl import TraceNormRegressor
from skmtl.datasets import make_multitask_regression

data = make_multitask_regression(
    n_tasks=20, n_samples=40, n_features=50, structure="low_rank", random_state=0
)
upper, lower, steps = [], [], list(range(1, 60))
for n in steps:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
        model = TraceNormRegressor(0.3, solver="fista", max_iter=n, tol=1e-12).fit(
            data.X, data.y, tasks=data.tasks
        )
    upper.append(model.objective_)
    lower.append(model.objective_ - model.dual_gap_)
best = TraceNormRegressor(0.3, tol=1e-12).fit(data.X, data.y, tasks=data.tasks)

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
axes[0].plot(steps, upper, label="objective")
axes[0].plot(steps, np.maximum.accumulate(lower), label="lower bound")
axes[0].axhline(best.objective_, color="gray", linestyle="--", label="optimum")
axes[0].set(xlabel="iterations", ylim=(0.8 * best.objective_, 1.5 * best.objective_))
axes[0].legend()
axes[1].semilogy(steps, np.subtract(upper, lower), label="gap")
axes[1].semilogy(steps, np.maximum(np.subtract(upper, best.objective_), 1e-16), label="true distance")
axes[1].set(xlabel="iterations")
axes[1].legend()
plt.show()
