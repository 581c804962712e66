"""Every check on hand-worked numbers, on both sides of its limit."""

import json
import math
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from etchline.errors import PairingError
from etchline.evaluation import EsdSettings
from etchline.evaluation.gate import Check, GateLimits, GateVerdict, render_gate
from etchline.evaluation.gate import judge as judge_by
from etchline.evaluation.gate.upper_end import upper_end
from etchline.evaluation.report import Failure
from tests.evaluation.gate.reports import SEEN, file, image, images

LOOSE = GateLimits(images_min=1, lines_min=1, rate_upper_max=9, ic_rate_max=9, unseen_upper_max=None)


def check(verdict: GateVerdict, name: str) -> Check:
    (found,) = [each for each in verdict.checks if each.name == name]
    return found


def judge(challenger, champion=None, limits=SEEN) -> GateVerdict:
    return judge_by(challenger, champion, limits)


def loose(**limits) -> GateLimits:
    return LOOSE.model_copy(update=limits)


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(
        resources.files("etchline.evaluation.gate").joinpath("verdict.schema.json").read_text()
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class TestAlone:
    def test_a_good_first_model_passes(self):
        verdict = judge(file(images([1, 0] * 10)))
        assert verdict.passed
        assert verdict.first_deployment
        assert verdict.reasons == ()
        assert verdict.notes == (
            "first deployment: there is no champion to compare with",
            "the limit unseen_upper_max has judged nothing: the recipe sets it to null",
        )
        assert [each.name for each in verdict.checks if each.outcome == "not_applicable"] == [
            "unseen_upper_max",
            "regression",
            "regression_tolerance",
            "ic_regression_tolerance",
        ]

    def test_images_with_lines_are_counted_and_no_others(self):
        scores = [*images([0] * 10, lines=200), *images([0] * 9, lines=0, ic="ic02")]
        assert judge(file(scores)).passed
        verdict = judge(file(scores[1:]))
        assert (verdict.passed, check(verdict, "images_min").measured) == (False, 9)
        assert verdict.reasons == ("9 images have lines; at least 10 are needed",)

    @pytest.mark.parametrize(("lines", "passed"), [(100, True), (99, False)])
    def test_lines(self, lines, passed):
        verdict = judge(file(images([0] * 10, lines=lines)))
        assert verdict.passed is passed
        assert check(verdict, "lines_min").measured == 10 * lines

    def test_no_error_in_few_lines_says_little(self):
        # The exact upper end for 0 errors is -ln(0.025) by the lines, where the bootstrap has no width.
        end = upper_end([each.counts for each in images([0] * 5, lines=20)])
        assert end is not None
        assert end.over_images == 0
        assert end.value == pytest.approx(-math.log(0.025) / 100)
        verdict = judge(file(images([0] * 5, lines=20)), limits=loose(rate_upper_max=0.0368))
        assert verdict.reasons == (
            "0 errors in 100 lines (0.00 %); the 95 % interval ends at 3.69 % (over images 0.00 %, by the "
            "number of errors 3.69 %), 3.68 % is allowed",
        )
        assert judge(file(images([0] * 5, lines=20)), limits=loose(rate_upper_max=0.0369)).passed

    def test_errors_that_come_together_widen_the_interval(self):
        # One bad image of 20: some draws have it thrice, and 3 x 80 errors in 2,000 lines are 12 %.
        bad = file(images([80] + [0] * 19))
        measured = check(judge(bad), "rate_upper_max").measured
        assert measured == bad.report.to_json()["total"]["rate_ci95"][1] == pytest.approx(0.12)
        assert measured > upper_end([each.counts for each in images([4] * 20)]).value

    def test_an_upper_end_on_its_limit_passes(self):
        report = file(images([2] * 20))
        measured = check(judge(report), "rate_upper_max").measured
        assert judge(report, limits=loose(rate_upper_max=measured)).passed
        assert not judge(report, limits=loose(rate_upper_max=math.nextafter(measured, 0))).passed

    @pytest.mark.parametrize(("limit", "passed"), [(0.25, True), (0.24, False)])
    def test_worst_ic(self, limit, passed):
        scores = [*images([0] * 30), *images([25] * 2, ic="ic02"), *images([24] * 2, ic="ic03")]
        verdict = judge(file(scores), limits=loose(ic_rate_max=limit))
        assert verdict.passed is passed
        assert check(verdict, "ic_rate_max").measured == 0.25
        assert check(verdict, "ic_rate_max").reason.startswith("ic02 has 50 errors in 200 lines (25.00 %)")

    def test_an_ic_with_errors_but_without_lines_fails(self):
        scores = [*images([0] * 20), image("ic02/x", 3, 0, ic="ic02")]
        assert judge(file(scores)).reasons == ("ic02 has errors but no true lines; no rate can be measured",)
        # Without errors either there is nothing to say against it.
        assert judge(file([*images([0] * 20), image("ic02/x", 0, 0, ic="ic02")])).passed

    def test_a_limit_whose_data_the_report_lacks_fails(self, validator):
        scores = [image(f"a{n}", 0, 100, ic=None) for n in range(20)]
        verdict = judge_by(file(scores))
        remedy = "judge such images too, or set"
        assert verdict.reasons == (
            f"ic_rate_max cannot be judged: no image of the report says which IC it is of; {remedy} "
            "ic_rate_max: null in the recipe's section gate",
            f"unseen_upper_max cannot be judged: the report has no images of split unseen; {remedy} "
            "unseen_upper_max: null in the recipe's section gate",
        )
        assert (check(verdict, "ic_rate_max").measured, check(verdict, "ic_rate_max").limit) == (None, 0.2)
        validator.validate(verdict.to_json())
        # One unseen image is enough to be judged, and by it alone it does not pass: see the next but one.
        assert check(judge_by(file([*scores, image("u", 0, 9, split="unseen")])), "unseen_upper_max").measured

    def test_a_limit_that_is_null_is_left_out_and_the_verdict_says_so(self, validator):
        scores = [image(f"a{n}", 9 * (n % 2), 100, ic=None, split="unseen") for n in range(20)]
        limits = GateLimits(ic_rate_max=None, unseen_upper_max=None, rate_upper_max=1)
        verdict = judge(file(scores), limits=limits)
        assert verdict.passed
        for name in ("ic_rate_max", "unseen_upper_max"):
            assert check(verdict, name).outcome == "not_applicable"
            note = f"the limit {name} has judged nothing: the recipe sets it to null"
            assert note in verdict.notes
            assert note in render_gate(verdict)
        value = verdict.to_json()
        validator.validate(value)
        assert value["limits"]["unseen_upper_max"] is None
        assert not judge(file(scores), limits=limits.model_copy(update={"unseen_upper_max": 0.04})).passed

    @pytest.mark.parametrize(("errors", "passed"), [(5, True), (20, False)])
    def test_unseen_images_have_their_own_limit(self, errors, passed):
        scores = [*images([0] * 90), *images([errors] * 10, ic="ic09", split="unseen")]
        verdict = judge_by(file(scores), limits=GateLimits(ic_rate_max=1))
        assert verdict.passed is passed
        assert check(verdict, "unseen_upper_max").outcome == ("passed" if passed else "failed")
        assert check(verdict, "unseen_upper_max").reason.startswith(f"{10 * errors} errors in 1,000 lines")

    def test_few_unseen_lines_without_error_do_not_pass(self):
        scores = [*images([0] * 20), image("ic09/x", 0, 10, ic="ic09", split="unseen")]
        verdict = judge_by(file(scores))
        assert check(verdict, "unseen_upper_max").measured == pytest.approx(-math.log(0.025) / 10)
        assert not verdict.passed

    def test_images_left_out_fail(self):
        report = file(images([0] * 20), missing=("ic01/b",), failures=(Failure("ic01/c", "truncated"),))
        assert judge(report, limits=LOOSE).reasons == (
            "1 images have no prediction and 1 could not be scored (ic01/b, ic01/c); all must be judged",
        )

    @pytest.mark.parametrize("scores", [[], images([0] * 20, lines=0), images([3] * 20, lines=0)])
    def test_an_empty_truth_never_passes(self, scores, validator):
        for champion in (None, file(images([1] * len(scores), lines=0), "champion.json")):
            verdict = judge(file(scores), champion, LOOSE)
            assert not verdict.passed
            assert check(verdict, "rate_upper_max").reason == (
                "ESD rate, upper end: there are no true lines to judge by"
            )
            validator.validate(verdict.to_json())

    def test_ics_without_lines_say_so(self):
        verdict = judge(file(images([0] * 20, lines=0)), limits=LOOSE)
        assert check(verdict, "ic_rate_max").reason == "no IC has true lines to judge by"


class TestAgainstTheChampion:
    better, worse = images([1, 2] * 10), images([3, 4] * 10)

    def test_swapped_reports_swap_the_verdict(self, validator):
        """Both pass alone; which one is the champion decides."""
        up = judge(file(self.better, "a.json"), file(self.worse, "b.json"))
        down = judge(file(self.worse, "b.json"), file(self.better, "a.json"))
        assert (up.passed, down.passed) == (True, False)
        assert check(up, "regression").measured == check(up, "regression_tolerance").measured == -0.02
        assert check(down, "regression").measured == 0.02
        assert check(up, "regression").reason.endswith("all of it is below 0: it is better")
        assert up.to_json()["difference"] == {"rate": -0.02, "rate_ci95": [-0.02, -0.02]}
        assert down.to_json()["difference"] == {"rate": 0.02, "rate_ci95": [0.02, 0.02]}
        assert down.reasons == (
            "challenger 3.50 %, champion 1.50 %: +2.00 points, 95 % interval +2.00 to +2.00 points; all of "
            "it is above 0: it is worse",
        )
        for verdict, names in ((up, ("a.json", "b.json")), (down, ("b.json", "a.json"))):
            value = verdict.to_json()
            validator.validate(value)
            assert (value["challenger"]["report"], value["champion"]["report"]) == names
        assert up.to_json()["challenger"]["rate"] == down.to_json()["champion"]["rate"] == 0.015
        assert up.to_json()["champion"]["rate"] == down.to_json()["challenger"]["rate"] == 0.035

    def test_what_may_be_chance_passes(self):
        verdict = judge(file(images([2, 0, 1, 2] * 10)), file(images([0, 2, 1, 1] * 10), "champion.json"))
        assert verdict.passed
        assert check(verdict, "regression").measured < 0 < check(verdict, "regression_tolerance").measured
        assert check(verdict, "regression").reason.endswith("not shown to be worse")

    @pytest.mark.parametrize(("times", "passed"), [(1, False), (40, True)])
    def test_too_few_images_cannot_show_that_it_is_as_good(self, times, passed):
        """The same equal models: on four images either may be much better, on 160 they are as good."""
        pair = [
            file(images(errors * times), name) for errors, name in (([9, 1, 1, 9], "a"), ([1, 9, 9, 1], "b"))
        ]
        verdict = judge(*pair, limits=loose(ic_regression_tolerance=9))
        assert verdict.passed is passed
        assert check(verdict, "regression").outcome == "passed"
        if not passed:
            assert verdict.reasons[0].endswith("too few images or lines to show that it is as good")

    def test_one_ic_may_not_pay_for_the_others(self):
        champion = file([*images([4] * 90, ic="ic01"), *images([1] * 10, ic="ic02")], "champion.json")
        challenger = file([*images([2] * 90, ic="ic01"), *images([7] * 10, ic="ic02")])
        verdict = judge(challenger, champion)
        assert verdict.reasons == (
            "ic02 lost most, or gained least: challenger 7.00 %, champion 1.00 %, +6.00 points; up to +5.00 "
            "points are tolerated",
        )
        assert judge(challenger, champion, SEEN.model_copy(update={"ic_regression_tolerance": 0.06})).passed

    def test_an_ic_with_enough_images_may_have_bad_luck(self):
        own = [*images([0] * 200, ic="ic01"), *images([70] + [0] * 9, ic="ic02")]
        other = [*images([0] * 200, ic="ic01"), *images([0] * 9 + [1], ic="ic02")]
        verdict = judge(file(own), file(other, "champion.json"), loose(images_min=10))
        assert verdict.passed
        assert check(verdict, "ic_regression_tolerance").reason.endswith(
            "above it, but on enough images to say that it may be chance: ic02"
        )
        verdict = judge(file(own), file(other, "champion.json"), loose(images_min=11))
        assert not verdict.passed

    def test_all_ics_above_their_limit_are_named(self):
        own = [image(f"{ic}/a", errors, 100, ic=ic) for ic, errors in (("ic1", 9), ("ic2", 8), ("ic3", 0))]
        other = [image(f"{ic}/a", 0, 100, ic=ic) for ic in ("ic1", "ic2", "ic3")]
        reason = check(judge(file(own), file(other, "c"), LOOSE), "ic_regression_tolerance").reason
        assert reason.startswith("ic1 lost most")
        assert reason.endswith("; also above it: ic2")

    def test_the_same_report_twice_measures_no_regression(self, validator):
        verdict = judge(file(self.better, "a.json"), file(self.better, "b.json"))
        assert verdict.passed
        assert not verdict.first_deployment
        assert verdict.to_json()["identical"] is True
        validator.validate(verdict.to_json())
        assert "no regression can be measured" in verdict.notes[0]
        for name in ("regression", "regression_tolerance", "ic_regression_tolerance"):
            assert check(verdict, name).outcome == "not_applicable"

    def test_unknown_ics(self, validator):
        own, other = ([image("a", n, 100, ic=None)] for n in (1, 2))
        verdict = judge(file(own), file(other, "champion.json"), loose(ic_rate_max=None))
        assert verdict.reasons == (
            "ic_regression_tolerance cannot be judged: no image with lines says which IC it is of; judge "
            "such images too, or set ic_regression_tolerance: null in the recipe's section gate",
        )
        limits = loose(ic_rate_max=None, ic_regression_tolerance=None)
        verdict = judge(file(own), file(other, "champion.json"), limits)
        assert verdict.passed
        assert verdict.notes[-1] == (
            "the limit ic_regression_tolerance has judged nothing: the recipe sets it to null"
        )
        validator.validate(verdict.to_json())

    def test_no_lines(self):
        own, other = (images([n] * 3, lines=0) for n in (1, 2))
        verdict = judge(file(own), file(other, "champion.json"), LOOSE)
        assert check(verdict, "regression").reason == "there are no true lines to compare by"
        assert check(verdict, "regression_tolerance").outcome == "failed"

    def test_order_of_images_does_not_matter(self):
        own, other = file(self.worse), file(self.better, "champion.json")
        turned = file(self.better[::-1], "champion.json")
        assert judge(own, other).checks == judge(own, turned).checks

    def test_same_every_time(self):
        pair = file(images([2, 0, 1, 2] * 10)), file(images([0, 2, 1, 1] * 10), "champion.json")
        assert judge(*pair).to_json() == judge(*pair).to_json()

    def test_images_that_lost_most_come_first(self):
        own, other = images([9, 1, 5, 7, 0]), images([8, 1, 1, 3, 4])
        verdict = judge(file(own), file(other, "champion.json"), LOOSE)
        worsened = verdict.to_json()["worsened_images"]
        assert [each["image"] for each in worsened] == ["ic01/a03", "ic01/a02", "ic01/a00"]
        assert worsened[0] == {
            "image": "ic01/a03",
            "ic": "ic01",
            "lines": 100,
            "challenger_errors": 7,
            "champion_errors": 3,
        }


class TestOtherImages:
    def refused(self, own, other, match, **more):
        with pytest.raises(PairingError, match=match):
            judge(file(own), file(other, "champion.json", **more))

    def test_surplus_and_missing_images_are_named(self):
        own = images([1, 1])
        self.refused(
            own, own[:1], r"champion.json \(champion\) and challenger.json \(challenger\) do not judge"
        )
        self.refused(
            own, own[:1], r"1 only in the challenger's \(ic01/a01\); evaluate both on the same truths"
        )
        self.refused(own[:1], own, r"1 only in the champion's \(ic01/a01\)")
        self.refused(
            own[:1], images([0] * 6, ic="ic02"), r"6 only in the champion's \(.*a04 and 1 more\), 1 only in"
        )

    def test_another_truth_is_named(self):
        own = [image("a", 1, 10)]
        self.refused(own, [image("a", 1, 11)], r"other truths of image a: lines 11 and 10; evaluate both")
        self.refused(own, [image("a", 1, 10, ic="ic02")], r"IC ic02 and ic01")
        self.refused(own, [image("a", 1, 10, split="val")], r"split val and test")

    @pytest.mark.parametrize(
        ("field", "value", "match"),
        [("true_positive", 1, "pixels 6001 and 10000"), ("true_negative", 1, "pixels 4002 and 10000")],
    )
    def test_another_size_is_named(self, field, value, match):
        self.refused([image("a", 1, 10)], [_with_pixels(image("a", 1, 10), **{field: value})], match)

    def test_other_metal_is_named(self):
        moved = _with_pixels(image("a", 1, 10), true_positive=4_100, true_negative=5_899)
        self.refused([image("a", 1, 10)], [moved], "pixels of metal 4100 and 4000")

    def test_another_crop_without_lines_at_the_border_is_named(self):
        score = image("a", 1, 10)
        other = replace(score, result=replace(score.result, at_zero=replace(score.counts, lines=12)))
        self.refused([score], [other], "lines at 0/0 12 and 10")

    def test_other_settings_are_named(self):
        own = images([1])
        self.refused(
            own, own, r"count differently: border 35 px, area 35 px and border 15 px", settings=EsdSettings()
        )


def _with_pixels(score, **pixels):
    return replace(score, result=replace(score.result, pixels=replace(score.result.pixels, **pixels)))


@pytest.mark.parametrize(
    "limits",
    [
        {"rate_upper_max": -0.1},
        {"rate_upper_max": math.nan},
        {"lines_min": 0},
        {"images_min": 1.5},
        {"rate": 1},
    ],
)
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValidationError, match=next(iter(limits))):
        GateLimits(**limits)


def test_the_documents_defaults_are_those_of_the_code():
    document = (Path(__file__).parents[3] / "docs" / "gate.md").read_text()
    told = dict(re.findall(r"^\| `(\w+)` \| .* \| ([\d.,]+|none) \|$", document, re.M))
    assert list(told) == [each.name for each in judge(file([])).checks]
    limits = {name: float(value.replace(",", "")) for name, value in told.items() if value != "none"}
    assert limits == GateLimits().model_dump()
