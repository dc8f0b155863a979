"""What to use after a race of models, how good it is on other rows, and in which words."""

from dataclasses import replace
from functools import partial
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import r2_score, roc_auc_score

from .._inputs import present
from .._labels import plain_labels
from .._tables import p_words
from .._task_scores import d2_poisson_score, deviances, standard_deviation
from .._threads import threads_for
from ..model_selection import routing
from ._compare import headline, labelled, splits_of
from ._folds import ALIKE, NO_OFFSET, SIGNIFICANCE, FoldRun, FoldScores, error_measure, with_offset
from ._race import BEHIND_OTHERS, BEHIND_SIMPLE, CLEARLY_WORSE, LATE, WORSE, Race
from ._result import BY, ERRORS, Suggestion, losses, tabulated, tasks_against, tasks_won, untested

# what one prediction for all scores
SAME_FOR_ALL = {r2_score: 0.0, d2_poisson_score: 0.0, roc_auc_score: 0.5}
SURELY, RATHER = 2.0, 1.5  # standard errors: a simple model is worse, another one
LITTLE = 0.03  # of the error, which a simpler model may have more where it is not sure


def race(
    candidates, X, y, tasks, cv, scoring, strengths_by, kind="numbers", n_jobs=None, time_budget=None,
    verbose=None, offset=None,
):  # fmt: skip
    """Comparison of candidates by name, with what to use.

    Parameters
    ----------
    candidates : dict of {str: Candidate}
        Models that take ``fit(X, y, tasks=tasks)`` under metadata routing.
    X, y, tasks, cv, scoring : object
        As in `compare`.
    strengths_by : task_scorer or None
        What strengths are chosen by, the score of the models if None.
    kind : {"numbers", "counts", "classes"}
        What the targets are.
    n_jobs, time_budget, verbose : object
        See `Race`.
    offset : object
        As in `compare`.

    Returns
    -------
    found : Suggestion
        Of those that ran in all folds; `params` and `estimators` are of all.
    """
    if time_budget is not None and not (isinstance(time_budget, Real) and time_budget > 0):
        raise ValueError(f"time_budget must be a positive number of seconds; got {time_budget!r}.")
    if verbose is not None and not isinstance(verbose, Integral):
        raise TypeError(f"verbose must be None, 0 or 1; got {verbose!r}.")
    models = {name: candidate.model for name, candidate in candidates.items()}
    X = X.tocsr() if sparse.issparse(X) else X
    labels, y, names, _ = labelled(models, X, y, tasks, cv)
    with routing(tasks, offset):
        taking, offset = with_offset(models, offset, y)
    if not taking:
        raise ValueError(f"offset was given, but no candidate takes one: {[*models]}.")
    score, measure = headline(scoring, taking, y, kind), error_measure(taking, kind)
    run = FoldRun(X, y, labels, tasks is not None, score, measure, offset)
    given, splits = present(tasks=tasks, offset=offset), splits_of(cv, X, y, labels)
    one = Race(run, splits, strengths_by, given, n_jobs, time_budget, verbose)
    one.dropped |= {name: (NO_OFFSET, "") for name in candidates if name not in taking}
    candidates, models = {name: candidates[name] for name in taking}, taking
    with routing(tasks, offset), threads_for(X):
        entrants = one(candidates)
        folds = _scores(entrants, one)
        use = _choice(folds, candidates, one)
        found, gains = tabulated(folds, run, names, Suggestion)
        wins = "single" in folds.mean and _is_above(folds, gains, use, "single", measure)[0]
        if wins and candidates[use].shares and candidates[use].alone:
            name, own = candidates[use].alone
            candidates, models = {name: own, **candidates}, {**models, name: own.model}
            if further := one.alone(entrants[use]):
                folds = _scores(entrants := entrants | further, one)
                found, gains = tabulated(folds, run, names, Suggestion)
        known = {name: entrants[name] for name in folds.ranked} | one.behind
        found.params = {name: entrant.params for name, entrant in known.items()}
        found.estimators = {name: clone(models[name]).set_params(**found.params[name]) for name in known}
        return replace(found, **_advice(folds, gains, candidates, one, entrants))


def _scores(entrants, one):
    """Those of the entrants on the folds that all of them have."""
    done = list(next(iter(entrants.values())).outcomes)
    outcomes = [entrant.outcomes[k] for entrant in entrants.values() for k in done]
    reference = next(name for name in ("single", *entrants) if name in entrants)
    return FoldScores(entrants, [one.splits[k] for k in done], outcomes, reference)


def honest(scores, choose):
    """Mean score over folds of what `choose` takes by the other ones, and its standard error.

    `scores` are those of the folds by name; training sets overlap.
    """
    n = len(next(iter(scores.values())))
    others = [[j for j in range(n) if j != k] or [k] for k in range(n)]
    found = np.array([scores[choose(others[k])][k] for k in range(n)])
    return found.mean(), standard_deviation(found) * np.sqrt(1 / n + 1 / (n - 1)) if n > 1 else np.nan


def _gain_of_rows(folds, use, one, entrant):
    """What the rows of a fold, which its model lacks, would add to the score; 0 where it is not known.

    What those of one more fold add, by the law that errors fall as one over the number of rows; more rows are
    not said to harm.
    """
    n, scores = len(one.splits), np.array(folds.scores[use])
    fewer = one.with_fewer_rows(use, entrant) if len(scores) == n else None
    gain = 0.0 if fewer is None else (n - 2) / n * (scores - fewer).mean()
    return max(gain, 0.0) if np.isfinite(gain) else 0.0


def _least_deviation(folds, use, one, score):
    """Standard error of a score on as many rows that are independent, by errors or classes; else 0."""
    metric, n_columns = one.run.scorer.metric, one.run.y.reshape(len(one.run.y), -1).shape[1]
    if metric is roc_auc_score and n_columns == 1:  # Hanley & McNeil (1982)
        n, m = np.unique(plain_labels(one.run.y), return_counts=True)[1][[0, -1]]
        both = (n - 1) * score / (2 - score) + (m - 1) * 2 * score**2 / (1 + score)
        return np.sqrt((score + both - (n + m - 1) * score**2) / (n * m))
    if metric not in (r2_score, d2_poisson_score):
        return 0.0
    y = (
        np.concatenate([one.run.y[test] for _, test in folds.splits])
        .astype(np.float64)
        .reshape(-1, n_columns)
    )
    errors = np.concatenate(folds.errors[use]).reshape(y.shape)
    y, mean = np.where(np.isnan(errors), np.nan, y), np.nanmean(np.where(np.isnan(errors), np.nan, y), axis=0)
    errors_of_mean = deviances(y, mean) if metric is d2_poisson_score else (y - mean) ** 2
    level = np.nansum(errors_of_mean, axis=0)
    level = np.where(level > 0, level, np.inf) * n_columns
    # how the score, one less errors over errors of the mean, is moved by single rows
    moves = (errors - np.nansum(errors, axis=0) / level * n_columns * errors_of_mean) / level
    return standard_deviation(np.nansum(moves, axis=1)) * np.sqrt(len(y))


def _choice(folds, candidates, one, at=None):
    """The model to use by the folds at some places: the first candidate that no other one clearly beats.

    Simple ones come first. The best of many scores is often that of a model more general than it has to be.
    """
    at = range(len(folds.scored)) if at is None else at
    ranked = [name for name in candidates if name in folds.ranked]
    errors = {name: [folds.errors[name][k] for k in folds.scored[list(at)]] for name in ranked}
    for name in sorted(errors, key=lambda name: not candidates[name].simple):
        sure = SURELY if candidates[name].simple else RATHER
        above = (one.excess(errors[name], errors[other]) for other in errors if other != name)
        if all(more <= ALIKE or (more <= LITTLE and surely <= sure) for more, surely in above):
            return name
    means = {name: np.mean([folds.scores[name][k] for k in at]) for name in folds.ranked}
    return max(means, key=lambda name: np.nan_to_num(means[name], nan=-np.inf))


def _advice(folds, gains, candidates, one, entrants):
    """What to use, how good it is on other rows, and the words."""
    ranked, best = folds.ranked, folds.ranked[0]
    simple = [name for name in candidates if candidates[name].simple and name in ranked]
    choose = partial(_choice, folds, candidates, one)
    use, (score, sd) = choose(), honest(folds.scores, choose)
    hurried = use in ("mean", "pooled") or not candidates[use].shares
    if hurried and any(candidates[name].shares and name != "pooled" for name in one.late):
        sharing = "There was no time to say whether sharing helps."
    else:
        sharing = _whether_to_share(folds, gains, use, candidates, one)
    words = [sharing, f"Use {use!r}.{_at_what_cost(folds, use, simple, one)}"]
    more, sd = (
        _gain_of_rows(folds, use, one, entrants[use]),
        max(sd, _least_deviation(folds, use, one, score)),
    )
    expected = score + more, sd
    sure = f"Chosen by the other folds, model and strength have a score of {score:.3f}"
    sure += "" if np.isnan(sd) else f" (standard error {sd:.3f})"
    nothing = score <= SAME_FOR_ALL.get(one.run.scorer.metric, -np.inf)
    sure += ", no better than the same prediction for every row" if nothing else ""
    sure += f", and {more:+.3f} by the rows that a fold lacks" if more >= 5e-4 else ""
    words += [f"{sure}.", f"The best score on these folds is the {folds.mean[best]:.3f} of {best!r}."]
    if use != folds.reference:
        words.append(losses(gains[use], folds.reference, one.run.measure))
    if one.n_folds < len(one.splits):
        first = "fold" if one.n_folds == 1 else f"{one.n_folds} folds"
        words.append(f"There was time for the first {first} only.")
    one.dropped.update(dict.fromkeys(one.late, (LATE, "")))
    for reason in (NO_OFFSET, CLEARLY_WORSE, BEHIND_SIMPLE, BEHIND_OTHERS, LATE):
        left = [f"{name!r}{by and f' ({by})'}" for name, (why, by) in one.dropped.items() if why == reason]
        words += [f"{reason}: {', '.join(left)}."] if left else []
    dropped = {name: f"{why} {by}".strip() for name, (why, by) in one.dropped.items()}
    verdict = " ".join(words) + untested(gains[use])
    return {"best": use, "expected": expected, "dropped": dropped, "verdict": verdict}


def _whether_to_share(folds, gains, use, candidates, one):
    """Whether the tasks are better off together, in sentences that say what they compare with.

    A linear model with linear ones of each task by itself and of all rows; another one with its like for each
    task as well, so that what is not linear is no gain of sharing.
    """
    if use == "mean":
        return "No model beats the mean of each task."
    candidate = candidates[use]
    if not candidate.shares:
        sharing = next((name for name in folds.ranked if name != "pooled" and candidates[name].shares), use)
        against = tasks_against(gains, sharing, use, -1, one.run.measure)
        against += f", by {sharing!r}" if against else ""
        return f"Sharing does not help here: a model for each task by itself is as good{against}."
    if use == "pooled":
        return "Tasks do not differ in a way that helps to predict: one model for all rows is as good."
    alone = candidate.alone[0] if candidate.alone else None
    rivals = ["single", alone or "pooled"]
    if not any(name in folds.mean for name in rivals):
        return f"Whether sharing helps is not known: neither {' nor '.join(map(repr, rivals))} ran."
    tests = [_is_above(folds, gains, use, name, one.run.measure) for name in rivals if name in folds.mean]
    clear, words = all(clear for clear, _ in tests), ". It is ".join(words for _, words in tests)
    reason, by = one.dropped.get(alone, ("", ""))
    if reason == CLEARLY_WORSE:
        words += f". It is above {alone!r} by {by[1:]} on the first folds"
    elif alone and alone not in folds.mean:
        clear, alone = False, None
        words += f", which is linear. {candidate.alone[0]!r} was not tried"
    words += ", of models of each task by itself" if alone else ""
    unclear = "may help, not clearly" if words.startswith("above") else "does not clearly help"
    return f"Sharing {'helps' if clear else unclear}: {use!r} is {words}."


def _is_above(folds, gains, use, other, measure):
    """Whether a model is above another one, by the folds or, but for all rows, the tasks; and the words."""
    gap, p = folds.test(use, other)
    words = f"{'below' if gap < 0 else 'above'} {other!r} by {abs(gap):.3f} ({p_words(p)})"
    clear = bool(gap > 0 and p < SIGNIFICANCE)
    if clear and (against := tasks_against(gains, use, other, 1, measure)):
        return False, words + against
    if other == "pooled" or clear:
        return clear, words
    (won, p), n_tasks = tasks_won(gains, use, other), len(gains[use])
    if p < SIGNIFICANCE and won > n_tasks / 2:
        return True, f"{words}. {won} of {n_tasks} tasks gain{BY.get(measure, '')} ({p_words(p)})"
    return False, words + tasks_against(gains, use, other, 0, measure)


def _at_what_cost(folds, use, simple, one):
    """Sentences: what the best simpler model, or the best other one, would cost; which are as good."""
    others = [name for name in folds.ranked if name != use]
    more = {name: one.excess(folds.errors[name], folds.errors[use])[0] for name in others}
    other = next((name for name in more if (name in simple) != (use in simple)), None)
    if other is None:
        return ""
    error = ERRORS[one.run.measure]
    if use in simple:
        return f" The best other one, {other!r}, changes the {error} by {more[other]:+.1%}."
    alike = [repr(name) for name in more if abs(more[name]) < WORSE and name not in simple]
    words = f" As good, within {WORSE:.0%} of its {error}: {', '.join(alike)}." if alike else ""
    least = min(more, key=more.get)
    lower = f" {least!r} has {more[least]:+.1%}, not surely less." if more[least] <= -WORSE else ""
    return f"{words}{lower} The simpler {other!r} has {more[other]:+.1%} {error}."
