"""Data sets to try multi-task learning on: two real ones, some of a known truth, and benchmarks."""

from ._benchmarks import fetch_landmine, fetch_mulan, fetch_parkinsons, fetch_sarcos, fetch_school
from ._bundled import load_fertility, load_hsb82
from ._make import make_multitask_classification, make_multitask_regression

__all__ = [
    "fetch_landmine", "fetch_mulan", "fetch_parkinsons", "fetch_sarcos", "fetch_school",
    "load_fertility", "load_hsb82", "make_multitask_classification", "make_multitask_regression",
]  # fmt: skip
