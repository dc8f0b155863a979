"""
Does sharing between schools help?
==================================

7185 pupils of 160 schools, five columns and a test in mathematics. With a quarter of each school for
training there are 3 to 16 pupils a school: too few for a model of its own, and the schools differ too much
for one model of all. `compare` fits a multi-task model and the models that one would use otherwise on the
same folds, prints a table, and says per school who gains and who loses.
"""

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl import MeanRegularizedRegressor, PathSearchCV, TaskKFold, TaskShuffleSplit, compare
from skmtl.datasets import load_hsb82

data = load_hsb82(as_frame=True)
X, y = data.data, data.target

# %%
# An ordinary scikit-learn pipeline. The column "school" passes through it, and the last step knows from
# `task_column` that it holds the tasks: nothing has to be routed.
preprocess = make_column_transformer(
    (OneHotEncoder(drop="if_binary", sparse_output=False), ["minority", "sex", "sector"]),
    (StandardScaler(), ["ses"]),
    remainder="passthrough",
    verbose_feature_names_out=False,
).set_output(transform="pandas")
model = make_pipeline(preprocess, MeanRegularizedRegressor(mean_alpha=0.05, task_column="school"))

# %%
# `alpha` is how strongly the slopes of a school are pulled to those of all, `intercept_alpha` how strongly
# its level is. `TaskKFold` keeps every school in every training set.
search = PathSearchCV(
    model,
    alphas=[1, 10, 100, 1000],
    param_grid={"meanregularizedregressor__intercept_alpha": [0.5, 1, 2, 4]},
    scoring="r2",
    cv=TaskKFold(3, task_column="school", shuffle=True, random_state=0),
)

# %%
# The baselines "single" (one ridge regression per school, one tuned strength), "pooled" (one ridge regression
# for all) and "intercepts" (the same with a shrunken intercept per school) get the same preprocessing.
comparison = compare(
    {"mean-regularised": search},
    X,
    y,
    cv=TaskShuffleSplit(5, train_size=0.25, task_column="school", random_state=0),
    baselines=("single", "pooled", "intercepts"),
)

# %%
# The picture: what each school gains over its own model.
try:
    import matplotlib

    matplotlib.use("Agg")
except ImportError:
    print("Install matplotlib to get the picture of the gain per school.")
else:
    axes = comparison.plot()
    axes.figure.savefig("does_sharing_help.png", dpi=150, bbox_inches="tight")
    print("Saved does_sharing_help.png.")

# %%
# The table, and what to make of it.
print(comparison)
