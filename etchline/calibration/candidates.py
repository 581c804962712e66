"""What the arbitration may be: policies and limits, and which of them is the best."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

from etchline.backends.interface import ROLES, Role
from etchline.evaluation import EsdCounts
from etchline.segmentation.arbitration import ArbitrationLimits, Policy

# A patch of 128 px holds a sixteenth of these: 16 is the first speckle of it, 200 the thirteenth.
SPECKLES = (16, 32, 50, 100, 200)
AGREE_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
GUARDED_AGREE_SHARES = (0.6, 0.7, 0.8, 0.9, 0.95)

SPOTS_PX = (16, 24, 40, 64)
SPOT_MEANS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

SECOND_OPINIONS = (0.2, 0.3, 0.4)

EDGES_BELOW = (1.5, 1.8, 2.1)
USUAL_EDGE = 1.8
"""What many images want (docs/results.md); of equally good limits it is the least surprising."""

SIMPLEST_FIRST: tuple[Policy, ...] = ("patch", "full", "guarded", "paper", "confidence")
"""One network needs half of the time of two, and `paper` trusts the full model furthest."""

_DEFAULT = ArbitrationLimits()


@dataclass(frozen=True)
class Candidate:
    """A policy with its limits; limits that the policy does not ask are the default ones."""

    policy: Policy
    limits: ArbitrationLimits = _DEFAULT

    @property
    def surprise(self) -> tuple[int, int, float]:
        """How far it is from the simplest: its policy, the limits changed, and by what factors."""
        usual = replace(_DEFAULT, edge_below=USUAL_EDGE if self.limits.edge_below else 0.0)
        pairs = [(getattr(self.limits, name), getattr(usual, name)) for name in asdict(usual)]
        factors = [max((own + 1) / (other + 1), (other + 1) / (own + 1)) for own, other in pairs]
        return SIMPLEST_FIRST.index(self.policy), sum(factor != 1 for factor in factors), sum(factors)


@dataclass(frozen=True)
class Scored:
    """A candidate with its errors on each image, in the images' order."""

    candidate: Candidate
    by_image: tuple[EsdCounts, ...]

    @property
    def counts(self) -> EsdCounts:
        """All images together."""
        return sum(self.by_image, EsdCounts())


def list_spots(policy: Policy) -> list[Candidate]:
    """A policy with its default limits and every kind of spots, none first."""
    kinds = itertools.product(SPOTS_PX, SPOT_MEANS)
    spotted = [replace(_DEFAULT, spot_px=size, spot_mean_below=mean) for size, mean in kinds]
    return [Candidate(policy, limits) for limits in (_DEFAULT, *spotted)]


def list_candidates(policies: Collection[Policy], spots: ArbitrationLimits = _DEFAULT) -> list[Candidate]:
    """Every combination of limits for each of the policies, the default ones too; spots as `spots` says."""
    of_spots = spots.spot_px, spots.spot_mean_below
    found = []
    for policy in SIMPLEST_FIRST:
        if policy not in policies:
            continue
        if policy == "patch" or policy == "full":
            found.append(Candidate(policy, spots))
            continue
        agree = AGREE_SHARES if policy == "paper" else (_DEFAULT.agree_share,)
        guarded = GUARDED_AGREE_SHARES if policy == "guarded" else (_DEFAULT.guarded_agree_share,)
        grid = itertools.product(SPECKLES, SPECKLES, agree, guarded)
        found.extend(Candidate(policy, ArbitrationLimits(*limits, *of_spots)) for limits in grid)
    return found


def list_spot_means(chosen: Collection[Candidate]) -> list[Candidate]:
    """Candidates with a second opinion that erase spots, each with the other means below which they do."""
    return [
        replace(one, limits=replace(one.limits, spot_mean_below=mean))
        for one in chosen
        for mean in SPOT_MEANS
        if one.limits.second_opinion and one.limits.spot_px and mean != one.limits.spot_mean_below
    ]


def list_opinions(chosen: Collection[Candidate]) -> list[Candidate]:
    """Candidates of two models, each with every say of the second one but none."""
    return [
        replace(one, limits=replace(one.limits, second_opinion=share))
        for one in chosen
        for share in SECOND_OPINIONS
        if one.policy not in ROLES
    ]


def list_edges(chosen: Collection[Candidate]) -> list[Candidate]:
    """Candidates, each with every limit below which an outline lies on no edge."""
    return [
        replace(one, limits=replace(one.limits, edge_below=limit)) for one in chosen for limit in EDGES_BELOW
    ]


def policies_of(roles: Collection[Role]) -> tuple[Policy, ...]:
    """The policies that networks of these roles can serve, the simplest first."""
    if len(roles) > 1:
        return SIMPLEST_FIRST
    return tuple(policy for policy in SIMPLEST_FIRST if policy in roles)


def best(scored: Sequence[Scored]) -> Scored:
    """The one with the fewest errors; of equal ones the simplest, then the one nearest to the defaults."""
    return min(scored, key=lambda one: (one.counts.errors, one.candidate.surprise))


def best_by_policy(scored: Sequence[Scored]) -> dict[Policy, Scored]:
    """The best one of each policy."""
    policies = {one.candidate.policy for one in scored}
    return {
        policy: best([one for one in scored if one.candidate.policy == policy])
        for policy in SIMPLEST_FIRST
        if policy in policies
    }


def list_contenders(finalists: Sequence[Scored]) -> list[Scored]:
    """Those that are not clearly worse than the best of them, in the order given."""
    fewest_n = _errors_by_image(best(finalists))
    return [one for one in finalists if not is_clearly_worse(_errors_by_image(one), fewest_n)]


def is_clearly_worse(errors_n: Sequence[int], fewest_n: Sequence[int]) -> bool:
    """Whether there are more errors by more than a standard error of their sum, paired by image.

    Source: the one-standard-error rule of Breiman et al., "Classification and Regression Trees", 1984.
    """
    more = [own - other for own, other in zip(errors_n, fewest_n, strict=True)]
    total, squares, count = sum(more), sum(one * one for one in more), len(more)
    # The sum against sqrt(count) standard deviations, squared: whole numbers know equality.
    return total > 0 and count * total**2 > count * squares - total**2


def _errors_by_image(one: Scored) -> list[int]:
    return [counts.errors for counts in one.by_image]
