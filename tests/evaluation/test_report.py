import json
from dataclasses import replace
from importlib import resources

import jsonschema
import pytest

from etchline.evaluation import EsdCounts, EsdError, EsdResult, EsdSettings, PixelCounts
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report import LISTED_ERRORS, Failure, Report
from etchline.evaluation.report_reading import MAX_REPORT_BYTES

CONTRACT_TOTAL = {
    "opens",
    "shorts",
    "false_positives",
    "false_negatives",
    "open_fragments",
    "lines",
    "rate",
    "rate_ci95",
    "pixel_accuracy",
    "dice",
    "iou",
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    text = resources.files("etchline.evaluation").joinpath("report.schema.json").read_text()
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def score(image: str, ic: str | None, counts: EsdCounts, listed: int = 0, left_out: int = 0) -> ImageScore:
    error = EsdError("open", (0, 1, 9, 5), (3, 1), 1)
    result = EsdResult(counts, counts, PixelCounts(80, 10, 10, 900), (error,) * listed, left_out)
    return ImageScore(image, ic, "test" if ic else None, result)


def report() -> Report:
    return Report(
        EsdSettings(15, 15),
        (
            score("ic01/a", "ic01", EsdCounts(opens=2, open_fragments=3, lines=10), listed=2),
            score("ic02/b", "ic02", EsdCounts(lines=30)),
            score("loose", None, EsdCounts(false_positives=1)),
        ),
        missing=("ic02/c",),
        surplus=("d_lines.png",),
        failures=(Failure("ic03/x", "ic03/x.png: truncated"),),
    )


def test_matches_its_schema(validator):
    validator.validate(report().to_json())


def test_empty_report_matches_its_schema(validator):
    value = Report(EsdSettings(), ()).to_json()
    validator.validate(value)
    assert value["total"]["rate"] is None
    assert value["total"]["dice"] is None
    assert value["worst_ic"] is None


def test_has_the_keys_that_scripts_rely_on():
    value = report().to_json()
    assert set(value["total"]) >= CONTRACT_TOTAL
    assert {"image", "ic", "split", "opens", "lines"} <= set(value["images"][0])
    assert set(value["per_ic"]) == {"ic01", "ic02"}
    json.dumps(value, allow_nan=False)


def test_values():
    value = report().to_json()
    assert value["settings"]["border_px"] == 15
    assert value["total"]["lines"] == 40
    assert value["total"]["rate"] == value["micro_rate"] == 3 / 40
    assert value["macro_rate"] == 0.1
    assert value["worst_ic"] == {"ic": "ic01", "rate": 0.2}
    assert [each["image"] for each in value["worst_images"]] == ["ic01/a", "loose"]
    assert value["total"]["dice"] == 480 / 540
    assert value["images"][2]["rate"] is None
    assert (value["missing"], value["surplus"]) == (["ic02/c"], ["d_lines.png"])
    assert value["failed"] == [{"image": "ic03/x", "message": "ic03/x.png: truncated"}]


def test_long_error_lists_are_capped_and_say_so(validator):
    counts = EsdCounts(opens=160, open_fragments=160, lines=200)
    value = Report(EsdSettings(), (score("a", None, counts, listed=150, left_out=10),)).to_json()
    validator.validate(value)
    assert len(value["images"][0]["errors"]) == LISTED_ERRORS
    assert value["images"][0]["errors_left_out"] == 60


def test_what_many_bad_images_give_can_be_read_back():
    counts = EsdCounts(opens=100, open_fragments=100, lines=200)
    each = score("a", None, counts, listed=100, left_out=0)
    scores = tuple(replace(each, image=f"{n:04d}") for n in range(1500))
    data = json.dumps(Report(EsdSettings(), scores).to_json(), indent=2).encode()
    assert len(data) < MAX_REPORT_BYTES
    first = json.loads(data)["images"][0]
    assert (len(first["errors"]), first["errors_left_out"], first["opens"]) == (33, 67, 100)


@pytest.mark.parametrize("spoil", ["extra", "total", "kind"])
def test_schema_is_strict(validator, spoil):
    value = report().to_json()
    if spoil == "extra":
        value["surprise"] = 1
    elif spoil == "total":
        value["total"]["surprise"] = 1
    else:
        value["images"][0]["errors"][0]["kind"] = "gap"
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(value)
