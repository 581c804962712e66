import pytest

from etchline.calibration.candidates import (
    Candidate,
    Scored,
    best,
    best_by_policy,
    list_candidates,
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
    assert len(found) == len(set(found)) == 1 + 4 * 4
    assert {candidate.policy for candidate in found} == {"patch"}
    spots = ArbitrationLimits(spot_px=12, spot_mean_below=0.7)
    kinds = {(one.limits.spot_px, one.limits.spot_mean_below) for one in list_candidates(POLICIES, spots)}
    assert kinds == {(12, 0.7)}


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
