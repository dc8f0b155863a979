"""A race of models on the same folds: what is clearly worse on the first ones drops out.

Strengths are compared on these folds too, not on further ones inside each. Nothing is judged by rows that
chose it: the strength on a fold is the best one over the others, and so is the model whose score is told.
"""

import sys
import time
import warnings
from copy import copy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed

from .._labels import missing_labels
from .._task_scores import standard_deviation
from ..metrics import has_own_steps, request_of_scores, without_steps
from ..model_selection import MOST_DECADES, PathSearchCV, beyond
from ._folds import FoldRun

STRENGTH, ROUNDS = "model__alpha", "model__estimator__rounds"
N_ALPHAS, RANGE = 8, 1e-2  # strengths, and the least over the greatest, before the grid grows
SCREEN = 2  # folds after which models drop out that are clearly worse
NEAR = 4.0  # factor from the best strength of one fold within which the next one looks
CLEARLY = 2.5  # standard errors: a model drops out
FAR, FAR_SURELY = 0.05, 3.0  # the same of the error, and in standard errors, after the first fold already
FUTILE = 1.0  # standard errors behind a simple model, above which it had to be by twice as many to be used
WORSE = 0.01  # of the error: a model drops out, is named beside the one to use
MOST = 6  # models that are in all folds, beside the simple ones
OTHERS = 2  # of those that are no linear structures, which are alike, so many are in all folds in any case
MOST_PARTS = 10  # folds up to which what their rows would add is estimated
PATIENCE = 10.0  # seconds after which a line says what goes on
SCREEN_TIME = 0.6, 0.8  # of the time that there is, for the first fold, and for the screen
CLEARLY_WORSE, LATE = "Clearly worse on the first folds", "Not tried to the end for lack of time"
BEHIND_OTHERS = f"Behind {MOST} others on the first folds"
BEHIND_SIMPLE = "Behind a simple model on the first folds"


@dataclass
class Candidate:
    """A model in a race.

    Parameters
    ----------
    model : estimator
        Unfitted. If strengths are searched, a Pipeline that `PathSearchCV` takes, its last step "model".
    variants : sequence of dict
        Other parameters of the searched model, a path of strengths for each; none where nothing is searched.
    rounds : sequence of int
        Of boosted trees numbers of rounds, which are searched in the place of strengths, all in one fit.
    simple : bool
        Whether it runs in all folds, and is taken where others are not better.
    structure : bool
        Whether it is a linear model that says what the tasks share.
    shares : bool
        Whether tasks learn from each other.
    alone : (str, Candidate) or None
        Name and model of the same for each task by itself, where that is no linear model of the features.
    follows : dict of {str: str}
        Of a model of each task by itself, parameters that are what that of all tasks has found on the same
        rows, in an attribute of its last step.
    """

    model: Any
    variants: tuple = ()
    rounds: tuple = ()
    simple: bool = False
    structure: bool = False
    shares: bool = True
    alone: tuple | None = None
    follows: dict = field(default_factory=dict)


class Keeper:
    """What a search scores by, and the models that it has scored, by their strengths."""

    def __init__(self, scoring):
        self.scoring, self.models, self.apart = scoring, {}, None

    def __repr__(self):
        return repr(self.scoring)

    def get_metadata_routing(self):
        """The metadata request: `tasks` and `offset` for `score`."""
        return request_of_scores(self)

    def __call__(self, estimator, X, y, **given):
        *steps, (name, model) = estimator.steps
        self.models[model.alpha] = Pipeline([*steps, (name, copy(model))])
        self.apart = has_own_steps(estimator, given) if self.apart is None else self.apart
        estimator, X = without_steps(estimator, X) if self.apart else (estimator, X)
        if self.scoring is None:
            return estimator.score(X, y, **given)
        return self.scoring(estimator, X, y, **given)


@dataclass
class Entrant:
    """A candidate and what its folds have shown so far."""

    candidate: Candidate
    tried: dict = field(default_factory=dict)  # {(variant, strength): {fold: score}}
    outcomes: dict = field(default_factory=dict)  # {fold: (score, errors, seconds)}
    used: dict = field(default_factory=dict)  # {fold: parameters}
    found: dict = field(default_factory=dict)  # {fold: parameters for the same of each task by itself}
    given: dict = field(default_factory=dict)  # {fold: those that it has from that of all tasks}
    params: dict = field(default_factory=dict)  # the best ones over all its folds
    models: dict = field(default_factory=dict)  # {fold: {(variant, strength): (fitted, seconds)}}
    seconds: float = 0.0  # of a fold at one strength
    taken: float = 0.0  # seconds of the last folds

    def score(self, folds):
        """Mean over folds, least where there is none."""
        scores = [self.outcomes[k][0] for k in folds]
        return np.nan_to_num(np.mean(scores), nan=-np.inf) if scores else -np.inf

    def in_folds(self, folds):
        """This as if there were no others."""
        self.outcomes = {k: self.outcomes[k] for k in folds}
        return self

    def on(self, folds, name, field_):
        """This after further folds."""
        start = time.perf_counter()
        n_strengths = self._search(folds, field_) if self.candidate.variants else 1
        done = [*self.outcomes, *folds]
        for k in done:
            params = self._best([other for other in done if other != k] or done) | self.given.get(k, {})
            if self.used.get(k) != params or k not in self.outcomes:
                self.outcomes[k], self.used[k] = self._outcome(k, params, name, field_), params
        given = [self.given[k] for k in done if k in self.given]
        self.params = self._best(done) | max(given, key=given.count, default={})
        self.taken = time.perf_counter() - start
        self.seconds = self.taken / len(folds) / n_strengths
        return self

    def _outcome(self, k, params, name, field_):
        """Score, errors and seconds on a fold, of the model that the search has fitted there if any."""
        train, test = field_.splits[k]
        for (v, alpha), (fitted, seconds) in self.models.get(k, {}).items():
            if params == self._params(v, alpha):
                return *field_.run.judged(fitted, test), seconds
        fitted, seconds = field_.run.fitted(name, clone(self.candidate.model).set_params(**params), train)
        follows = self.candidate.alone[1].follows if self.candidate.alone else {}
        self.found[k] = {to: getattr(fitted[-1], of) for to, of in follows.items()}
        return *field_.run.judged(fitted, test), seconds

    def expected(self, n_folds):
        """Seconds that further folds are expected to take."""
        if not self.tried:
            return self.seconds * n_folds
        if len(self.outcomes) == 1:
            return self.seconds * sum(map(len, self._near([*self.outcomes]).values()))
        return self.seconds * len(self._around([*self.outcomes])[1]) * n_folds

    def _near(self, folds):
        """Strengths tried in all folds, near the best one, by variant; none where no strength has a score.

        Of variants that cost no more than to move the best strength by a step.
        """
        means = self._means(folds)
        if not np.isfinite([*means.values()]).any():
            return {}
        v, around = self._around(folds)
        least, found, best = min(means[v, alpha] for alpha in around), {}, max(means, key=means.get)[1]
        for w, alpha in means:
            top = max(mean for (u, _), mean in means.items() if u == w)
            if top >= least and best / NEAR <= alpha <= best * NEAR:
                found.setdefault(w, []).append(alpha)
        return found

    def _around(self, folds):
        """The best variant, its best strength and the neighbours of that, two a side after the first fold."""
        means = self._means(folds)
        v, best = max(means, key=means.get)
        own, reach = sorted(alpha for w, alpha in means if w == v), 2 if self.outcomes else 1
        return v, own[max(own.index(best) - reach, 0) : own.index(best) + reach + 1]

    def _search(self, folds, field_):
        """Scores of the strengths on further folds, and how many there were for each.

        At first all of one variant, and those near its best one of the others that differ in one parameter
        from the best so far, and those between the best one and its neighbours; on the next fold those near
        the best; then those next to it.
        """
        known, before = [*self.outcomes], len(self.tried)
        near = self._near(known) if known else {}
        if len(known) > 1 and near:
            v, around = self._around(known)
            self._look(v, around, folds, field_)
            return len(around)
        for v, alphas in near.items():
            self._look(v, alphas, folds, field_)
        if near:
            return sum(map(len, near.values()))
        alphas, best, variants = N_ALPHAS, 0, self.candidate.variants
        for v, variant in enumerate(variants):
            if sum(variant[key] != value for key, value in variants[best].items()) <= 1:
                self._look(v, alphas, folds, field_, grow=v == best)
                if v != best and not self.candidate.rounds:
                    self._grow(v, folds, field_)
                alphas, best = next(iter(self._near(folds).values()), N_ALPHAS), self._around(folds)[0]
        v, around = self._around(folds)
        if between := np.sqrt(np.multiply(around[1:], around[:-1])).tolist():
            self._look(v, between, folds, field_)
        return max(len(self.tried) - before, 1)

    def _grow(self, v, folds, field_):
        """Look at further strengths of a variant as long as it is the best one, at the edge of its own.

        These lie near those of the best variant before: how far scores range all strengths tell.
        """
        for _ in range(MOST_DECADES):
            means = self._means(folds)
            spread = np.ptp([mean for mean in means.values() if np.isfinite(mean)] or [0.0])
            own = {alpha: mean for (w, alpha), mean in means.items() if w == v}
            further = beyond([*own], [*own.values()], spread) if self._around(folds)[0] == v else None
            if further is None:
                return
            self._look(v, further.tolist(), folds, field_)

    def _look(self, v, alphas, folds, field_, grow=False):
        """Note the scores of strengths of a variant on some folds, and the models."""
        model = clone(self.candidate.model).set_params(**self.candidate.variants[v])
        for k in folds:
            if self.candidate.rounds:
                self._stages(v, model, alphas, k, field_)
                continue
            keeper = Keeper(field_.scoring)
            search = PathSearchCV(
                model, alphas, RANGE, scoring=keeper, cv=[field_.splits[k]], refit=False, grow=grow
            )
            with warnings.catch_warnings():  # further folds look near the best strength on purpose
                for said in ("the best .* of the strengths tried", "the column.* of X equal tasks"):
                    warnings.filterwarnings("ignore", said, UserWarning)
                found = search.fit(field_.run.X, field_.run.y, **field_.given).cv_results_
            columns = (found[name] for name in ("params", "split0_test_score", "mean_fit_time"))
            for params, score, seconds in zip(*columns, strict=True):
                place = v, params[STRENGTH]
                self.tried.setdefault(place, {})[k] = score
                if place[1] in keeper.models:
                    self.models.setdefault(k, {})[place] = keeper.models[place[1]], seconds

    def _stages(self, v, model, rounds, k, field_):
        """The same of boosted trees after so many rounds, or after those of the candidate."""
        rounds = (
            self.candidate.rounds if rounds == N_ALPHAS else np.unique(np.rint(rounds)).astype(int).tolist()
        )
        train, test = field_.splits[k]
        fitted, seconds = field_.run.fitted("", model.set_params(**{ROUNDS: max(rounds)}), train)
        *steps, (name, last) = fitted.steps
        for n_rounds in rounds:
            own = copy(last)
            if hasattr(own.estimator_, "after"):  # else nothing was counted, and it is a constant
                own.estimator_ = own.estimator_.after(n_rounds)
            one = Pipeline([*steps, (name, own)])
            self.models.setdefault(k, {})[v, n_rounds] = one, seconds
            self.tried.setdefault((v, n_rounds), {})[k] = field_.run.scored(one, test, field_.scoring)

    def _means(self, folds):
        """Mean score of (variant, strength) tried in all folds, over those in which the model has one too."""
        means = {}
        for place, scores in self.tried.items():
            if set(folds) <= set(scores):
                both = ((scores[k], self.outcomes.get(k, (0.0,))[0]) for k in folds)
                known = [score for score, of_model in both if not np.isnan(score + of_model)]
                means[place] = np.mean(known) if known else -np.inf
        return means

    def _best(self, folds):
        """The parameters that are best over folds."""
        if not self.tried:
            return {}
        means = self._means(folds)
        return self._params(*max(means, key=means.get))

    def _params(self, v, alpha):
        return {**self.candidate.variants[v], ROUNDS if self.candidate.rounds else STRENGTH: alpha}


@dataclass
class Race:
    """Candidates by name on the folds of a comparison.

    Strengths are chosen by `scoring`; no model begins that is expected to end after `time_budget` seconds;
    with `verbose` each says its score, with None there is one line if it takes long.
    """

    run: FoldRun
    splits: list
    scoring: Any
    given: dict
    n_jobs: Any = None
    time_budget: float | None = None
    verbose: int | None = None

    def __post_init__(self):
        self.start, self.late, self.behind, self.dropped = time.perf_counter(), [], {}, {}
        self.n_folds, self.said = len(self.splits), False

    def __call__(self, candidates):
        """The entrants that ran in all folds, by name; `behind` and `late` hold the others.

        Where there is no time left for the best one of the first folds, all that ran in these.
        """
        n, before, best = len(self.splits), None, None
        entrants = {name: Entrant(candidate) for name, candidate in candidates.items()}
        for begin, end in pairwise(sorted({0, 1, min(SCREEN, n), n})):
            share = 1.0 if end == n else SCREEN_TIME[end - 1]
            after = self._leg(entrants, range(begin, end), share)
            if best not in (None, *after):
                self.late, self.n_folds = before, begin
                return {name: entrants[name].in_folds(range(begin)) for name in entrants}
            if end == n:
                return after
            told = [k for k in range(end) if not all(np.isnan(one.outcomes[k][0]) for one in after.values())]
            before, entrants = [*self.late], self._ahead(after, told or range(end), end == SCREEN)
            best = max(entrants, key=lambda name: entrants[name].score(told or range(end)))

    def _leg(self, entrants, folds, share):
        """The entrants after some folds, without those for which there is no time left.

        Simple ones come first, then those that are the best so far. What has not run yet is expected to take
        as long as the slowest one that has.
        """
        after, names = {}, sorted(entrants, key=lambda name: -entrants[name].score(entrants[name].outcomes))
        names.sort(key=lambda name: not entrants[name].candidate.simple)
        while names:
            n_batch = len(names) if self.time_budget is None else effective_n_jobs(self.n_jobs)
            batch, slowest = [], max((one.taken for one in after.values()), default=0.0)
            while names and len(batch) < n_batch:
                name = names.pop(0)
                expected = entrants[name].expected(len(folds)) if folds[0] else slowest
                ends = time.perf_counter() - self.start + expected
                late = self.time_budget is not None and ends > share * self.time_budget
                late = late and not (folds[0] == 0 and len(after) + len(batch) == 0)  # one runs at least
                (self.late if late else batch).append(name)
            found = Parallel(n_jobs=self.n_jobs, return_as="generator")(
                delayed(entrants[name].on)(folds, name, self) for name in batch
            )
            for name, after[name] in zip(batch, found, strict=True):
                done = f"{len(after)} of {len(entrants)} models"
                self._report(name, after[name], done, len(folds) + folds[0])
        return {name: after[name] for name in entrants if name in after}

    def _report(self, name, entrant, done, n_folds):
        """A line for each model, or by default a single one if it takes long."""
        seconds = time.perf_counter() - self.start
        if self.verbose:
            print(f"[{seconds:.1f} s] {name}: {entrant.score(entrant.outcomes):.4f} on {n_folds} folds")
        elif self.verbose is None and seconds > PATIENCE and not self.said:
            self.said = True
            words = "time_budget= (seconds) bounds it, verbose=1 shows each model, verbose=0 not even this"
            at = f"{done} on {n_folds} of {len(self.splits)} folds after {seconds:.0f} s"
            print(f"suggest has tried {at} and goes on; {words}.", file=sys.stderr)

    def _ahead(self, entrants, folds, screened):
        """Those that are not clearly worse than the best one, and the simple ones.

        `screened`: after the second fold; before, only those drop out that are far behind, or behind a
        simple one.
        """
        best = max(entrants, key=lambda name: entrants[name].score(folds))
        ranked = sorted(entrants, key=lambda name: -entrants[name].score(folds))
        racing = [name for name in ranked if not entrants[name].candidate.simple]
        others = [name for name in racing if not entrants[name].candidate.structure][:OTHERS]
        least = (WORSE, CLEARLY) if screened else (FAR, FAR_SURELY)
        simple = next((name for name in ranked if entrants[name].candidate.simple), None)
        for place, name in enumerate(racing):
            one, reason = entrants[name], None
            if self._worse(one, entrants[best], folds, *least):
                reason = CLEARLY_WORSE
            elif place and simple and self._worse(one, entrants[simple], folds, 0.0, FUTILE):
                reason = BEHIND_SIMPLE
            elif screened and place >= MOST and name not in others:
                reason = BEHIND_OTHERS
            if reason:
                self.dropped[name] = reason, f"{one.score(folds) - entrants[best].score(folds):+.3f}"
                self.behind[name] = one
        return {name: entrant for name, entrant in entrants.items() if name not in self.behind}

    def alone(self, entrant):
        """The same for each task by itself, by name; nothing if it is clearly worse, or there is no time."""
        name, candidate = entrant.candidate.alone
        one, last = Entrant(candidate, given=entrant.found), entrant.taken
        for k in entrant.outcomes:
            if self.time_budget is not None and time.perf_counter() + last > self.start + self.time_budget:
                self.late.append(name)
                return {}
            last = one.on([k], name, self).taken
            if len(one.outcomes) >= SCREEN and self._worse(one, entrant, one.outcomes, WORSE, CLEARLY):
                by = one.score(one.outcomes) - entrant.score(one.outcomes)
                self.behind[name], self.dropped[name] = one, (CLEARLY_WORSE, f"{by:+.3f}")
                return {}
        return {name: one}

    def with_fewer_rows(self, name, entrant):
        """Scores of a model on the folds, fitted without the rows of the fold before as well.

        None where folds are not the parts of one whole, or many, or too small to lack two, or time is over,
        and for networks and trees, which take long and differ by chance.
        """
        n, tests, one = len(self.splits), [test for _, test in self.splits], entrant.candidate
        linear = one.simple or one.structure or one.variants
        if not (linear and 2 < n <= MOST_PARTS and len(entrant.outcomes) == n):
            return None
        pairs = [(train, np.isin(train, tests[k - 1])) for k, (train, _) in enumerate(self.splits)]
        apart = len(np.unique(np.concatenate(tests))) == sum(map(len, tests))
        seconds = time.perf_counter() - self.start + sum(outcome[2] for outcome in entrant.outcomes.values())
        if not (apart and all(lost.sum() == len(tests[k - 1]) for k, (_, lost) in enumerate(pairs))):
            return None
        if self.time_budget is not None and seconds > self.time_budget:
            return None
        models = [clone(one.model).set_params(**entrant.used[k]) for k in range(n)]
        try:
            found = Parallel(n_jobs=self.n_jobs)(
                delayed(self.run)(name, model, train[~lost], test)
                for model, (train, lost), test in zip(models, pairs, tests, strict=True)
            )
        except ValueError:  # a task, or a class, that has no row left
            return None
        return np.array([score for score, *_ in found])

    def _worse(self, entrant, best, folds, share, surely):
        """Whether the score is lower in each fold, and errors of single labels are clearly greater."""
        one, other = ([of.outcomes[k] for k in folds] for of in (entrant, best))
        if not all(a[0] < b[0] for a, b in zip(one, other, strict=True)):
            return False
        more, errors = self.excess([a[1] for a in one], [b[1] for b in other])
        return more > share and errors > surely

    def excess(self, errors, others):
        """By how much errors of labels are above others: as a share of these, and in standard errors.

        Those of a column of numbers count in units of its variance.
        """
        unit = 1.0
        if self.run.measure == "rmse" and self.run.y.ndim == 2:
            unit = np.array([standard_deviation(one[~missing_labels(one)]) ** 2 for one in self.run.y.T])
        pairs = [(one / unit, other / unit) for one, other in zip(errors, others, strict=True)]
        d = np.concatenate([(one - other).reshape(len(one), -1) for one, other in pairs])
        level = np.nanmean(np.concatenate([other.ravel() for _, other in pairs]))
        known = np.count_nonzero(~np.isnan(d), axis=1)
        mean = np.nansum(d) / known.sum()
        # labels of a row go together: what counts is how rows differ
        left = (np.nansum(d, axis=1) - mean * known)[known > 0]
        deviation = standard_deviation(left) * np.sqrt(len(left)) / known.sum()
        return mean / level if level > 0 else 0.0, mean / deviation if deviation > 0 else 0.0
