from dataclasses import replace

import pytest

from etchline.calibration.candidates import (
    Candidate,
    Scored,
    best,
    best_by_policy,
    is_clearly_worse,
    list_candidates,
    list_contenders,
    list_edges,
    list_opinions,
    list_spot_means,
    list_spots,
    policies_of,
)
from etchline.evaluation import EsdCounts
from etchline.segmentation.arbitration import POLICIES, ArbitrationLimits


def scored(policy, opens, **limits):
    return Scored(Candidate(policy, ArbitrationLimits(**limits)), (EsdCounts(opens=opens, lines=9),))


def test_every_policy_is_tried_with_its_default_limits():
    found = list_candidates(POLICIES)
    assert len(found) == len(set(found)) == 1 + 1 + 125 + 125 + 25
    assert {Candidate(policy) for policy in POLICIES} <= set(found)
    assert list_candidates(("patch",)) == [Candidate("patch")]
    assert list_candidates(()) == []


def test_spots_of_every_size_are_tried_by_one_policy():
    found = list_spots("patch")
    assert found[0] == Candidate("patch")
    assert len(found) == len(set(found)) == 1 + 4 * 6
    assert {candidate.policy for candidate in found} == {"patch"}
    spots = ArbitrationLimits(spot_px=12, spot_mean_below=0.7)
    kinds = {(one.limits.spot_px, one.limits.spot_mean_below) for one in list_candidates(POLICIES, spots)}
    assert kinds == {(12, 0.7)}


def test_a_second_opinion_is_tried_where_there_are_two():
    chosen = [Candidate("patch"), Candidate("paper", ArbitrationLimits(agree_share=0.9))]
    found = list_opinions(chosen)
    assert [(one.policy, one.limits.second_opinion) for one in found] == [
        ("paper", 0.2),
        ("paper", 0.3),
        ("paper", 0.4),
    ]
    assert {one.limits.agree_share for one in found} == {0.9}
    assert list_opinions(chosen[:1]) == []


def test_other_means_are_tried_where_spots_are_erased_by_two_models():
    spotted = ArbitrationLimits(spot_px=24, spot_mean_below=0.7, second_opinion=0.3)
    alone = replace(spotted, second_opinion=0.0)
    spotless = ArbitrationLimits(second_opinion=0.3)
    found = list_spot_means([Candidate("paper", one) for one in (alone, spotted, spotless)])
    assert [one.limits.spot_mean_below for one in found] == [0.5, 0.6, 0.8, 0.9, 1.0]
    assert {replace(one.limits, spot_mean_below=0.7) for one in found} == {spotted}


def test_every_policy_is_tried_with_edges():
    chosen = [Candidate("patch"), Candidate("paper", ArbitrationLimits(spot_px=24, second_opinion=0.3))]
    found = list_edges(chosen)
    assert [(one.policy, one.limits.edge_below) for one in found] == [
        (policy, limit) for policy in ("patch", "paper") for limit in (1.5, 1.8, 2.1)
    ]
    assert {replace(one, limits=replace(one.limits, edge_below=0.0)) for one in found} == set(chosen)


def test_limits_that_a_policy_does_not_ask_stay():
    for candidate in list_candidates(POLICIES):
        if candidate.policy != "paper":
            assert candidate.limits.agree_share == 0.6
        if candidate.policy != "guarded":
            assert candidate.limits.guarded_agree_share == 0.8


def test_networks_decide_which_policies_there_are():
    assert set(policies_of(("full", "patch"))) == set(POLICIES)
    assert policies_of(("patch",)) == ("patch",)
    assert policies_of(("full",)) == ("full",)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("winner", "other"),
    [
        (scored("confidence", 1, patch_speckles=200), scored("patch", 2)),
        (scored("patch", 3), scored("guarded", 3)),
        (scored("guarded", 3), scored("paper", 3)),
        (scored("guarded", 3), scored("guarded", 3, patch_speckles=32)),
        (scored("guarded", 3, patch_speckles=16), scored("guarded", 3, patch_speckles=32, full_speckles=32)),
        (scored("guarded", 3, patch_speckles=32), scored("guarded", 3, patch_speckles=200)),
        (scored("guarded", 3, edge_below=1.8), scored("guarded", 3, edge_below=1.5)),
        (scored("guarded", 3, edge_below=1.8), scored("guarded", 3, edge_below=2.1)),
        (scored("guarded", 3, edge_below=1.8), scored("guarded", 3, patch_speckles=32)),
        (scored("guarded", 2, edge_below=2.1), scored("guarded", 3, edge_below=1.8)),
    ],
)
def test_fewest_errors_then_the_simplest(winner, other, turned):
    assert best([other, winner] if turned else [winner, other]) == winner


def test_images_are_pooled():
    one = Scored(Candidate("patch"), (EsdCounts(opens=1, lines=4), EsdCounts(shorts=2, lines=5)))
    assert one.counts == EsdCounts(opens=1, shorts=2, lines=9)
    assert Scored(Candidate("patch"), ()).counts == EsdCounts()


def test_the_best_of_each_policy():
    rows = [scored("paper", 2), scored("paper", 1, agree_share=0.9), scored("patch", 4)]
    assert best_by_policy(rows) == {"patch": rows[2], "paper": rows[1]}


def by_image(policy, *opens):
    return Scored(Candidate(policy), tuple(EsdCounts(opens=count, lines=9) for count in opens))


def test_contenders_are_what_images_do_not_tell_apart():
    """Ten errors more in one image of four may be chance, two more in each are not."""
    fewest = by_image("paper", 1, 2, 3, 4)
    chance = by_image("confidence", 11, 0, 3, 4)
    clear = by_image("patch", 3, 4, 5, 6)
    other = replace(chance, candidate=Candidate("confidence", ArbitrationLimits(patch_speckles=16)))
    assert list_contenders([clear, other, chance, fewest]) == [other, chance, fewest]
    assert list_contenders([clear]) == [clear]


@pytest.mark.parametrize(
    ("errors", "fewest", "worse"),
    [
        ([0, 0], [0, 0], False),
        ([1, 1], [0, 0], True),
        ([4, 0, 0], [0, 0, 1], False),
        ([4, 0, 0, 0, 2, 2, 1, 3], [0] * 8, True),
        ([0, 1], [3, 3], False),
        ([7], [0], True),
        ([0, 0, -1, 1, 0, 0, 6, -1, 1], [0] * 9, False),  # by a standard error exactly
        ([6, 1, 1, 0, 0, 0, 0, -1, -1], [0] * 9, False),
        ([0, 0, -1, 1, 0, 0, 6, -1, 2], [0] * 9, True),
    ],
)
def test_clearly_worse_is_by_more_than_a_standard_error(errors, fewest, worse):
    assert is_clearly_worse(errors, fewest) == worse
