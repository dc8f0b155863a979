"""
Does sharing between countries help?
====================================

How many children a woman has, in 193 countries from 1960 to 2010, known in one year of ten. Half of
these years are for training: three numbers a country, too few for a trend of its own, and trends differ
too much for one of all. `compare` fits a multi-task model and what one would use otherwise on the same folds,
prints a table, and says per country who gains and who loses.
"""

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MeanRegularizedRegressor, TaskShuffleSplit, compare
from skmtl.datasets import load_fertility

frame = load_fertility(as_frame=True).frame
frame = frame[frame["year"] % 10 == 0]
X, y = frame[["country", "year"]], frame["births"]

# %%
# An ordinary scikit-learn pipeline. The column "country" passes through it, and the last step knows from
# `task_column` that it holds the tasks: nothing has to be routed. The trend of a country is pulled to that of
# all, and its level likewise, as strongly as the rows say: nothing has to be searched.
preprocess = make_column_transformer(
    (StandardScaler(), ["year"]), remainder="passthrough", verbose_feature_names_out=False
).set_output(transform="pandas")
model = MeanRegularizedRegressor(alpha="auto", intercept_alpha="auto", task_column="country")

# %%
# The baselines "single" (one ridge regression per country, one tuned strength), "pooled" (one ridge
# regression for all) and "intercepts" (the same with a shrunken intercept per country) get the same steps.
comparison = compare(
    {"mean-regularised": make_pipeline(preprocess, model)},
    X,
    y,
    cv=TaskShuffleSplit(10, train_size=0.5, task_column="country", random_state=0),
    baselines=("single", "pooled", "intercepts"),
)

# %%
# The picture: what each country gains over its own model.
try:
    import matplotlib

    matplotlib.use("Agg")
except ImportError:
    print("Install matplotlib to get the picture of the gain per country.")
else:
    axes = comparison.plot()
    axes.figure.savefig("does_sharing_help.png", dpi=150, bbox_inches="tight")
    print("Saved does_sharing_help.png.")

# %%
# The table, and what to make of it.
print(comparison)
