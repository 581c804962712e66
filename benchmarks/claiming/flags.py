"""Claim `flags`: few cells are flagged, they catch most errors, and confidences are what they say."""

from collections.abc import Sequence

import numpy as np

from claiming.context import Claim, Context
from claiming.methods import Method
from claiming.numbers import Json, number, percent, plain, print_table, share
from claiming.outcomes import Outcome
from etchline.evaluation.pooling import resampled
from etchline.evaluation.reliability import bin_sums, calibration_error, reliability, risk_coverage
from etchline.evaluation.reliability_charts import reliability_svg, risk_coverage_svg
from etchline.storage import write_text

COVERAGES = (0.5, 0.7, 0.8, 0.9, 0.95, 1.0)


def methods(context: Context) -> list[Method]:
    return [context.own]


def measure(context: Context) -> Json:
    outcomes = context.session.outcomes(context.subjects(), methods(context), locate=True)["bundle"]
    judged = [cell for each in outcomes for cell in each.judged]
    curve = risk_coverage(judged)
    result: Json = {
        "flagged_cells": share([each.flagged for each in outcomes], [each.cells for each in outcomes]),
        "wrong_cells": share(
            [sum(cell.wrong for cell in each.judged) for each in outcomes], [each.cells for each in outcomes]
        ),
        "errors_caught": share(
            [each.caught.caught for each in outcomes], [each.caught.errors for each in outcomes]
        ),
        "calibration_error": calibration(outcomes),
        "reliability": [
            {"cells": each.cells, "confidence": each.confidence, "right_share": each.right_share}
            for each in reliability(judged)
        ],
        "risk_at_coverage": {
            str(wanted): next((risk for covered, risk in curve if covered >= wanted), None)
            for wanted in COVERAGES
        },
    }
    _print(context, result)
    if context.pictures is not None:
        flagged = result["flagged_cells"]
        trusted = 1 - flagged["value"] if flagged["value"] is not None else None
        charts = [reliability_svg(judged), risk_coverage_svg(judged, trusted)]
        write_text(context.pictures, _page(context, charts))
        print(f"charts: {context.pictures}")
    return result


def calibration(outcomes: Sequence[Outcome]) -> Json:
    """The expected calibration error over cells, its interval over images."""
    sums_n = np.stack([bin_sums(each.judged) for each in outcomes])
    found = float(calibration_error(sums_n.sum(axis=0)))
    if len(outcomes) < 2 or np.isnan(found):
        return number(None if np.isnan(found) else found, None)
    drawn = [calibration_error(np.tensordot(draws, sums_n, 1)) for draws in resampled(len(outcomes))]
    low, high = np.nanpercentile(np.concatenate(drawn), [2.5, 97.5])
    return number(found, (float(low), float(high)))


def _page(context: Context, charts: Sequence[str]) -> str:
    title = f"Cells' confidence, split {' and '.join(context.splits)}, policy {context.own_policy}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>:root { color-scheme: light dark }</style></head>"
        f"<body><h1>{title}</h1>\n{''.join(charts)}\n"
        "<p>Left: share of cells without an error over their confidence. Right: share of wrong cells among "
        "those trusted, the surest first; the upright line is the share of cells that is not flagged "
        "(flags do not count how novel an image is).</p></body></html>\n"
    )


def _print(context: Context, result: Json) -> None:
    print_table(
        f"flags, split {' and '.join(context.splits)}, policy {context.own_policy}",
        ("", "value", "of"),
        [
            ["flagged cells %", percent(result["flagged_cells"]), str(result["flagged_cells"]["whole"])],
            ["cells with an error %", percent(result["wrong_cells"]), str(result["wrong_cells"]["whole"])],
            ["errors caught %", percent(result["errors_caught"]), str(result["errors_caught"]["whole"])],
            ["calibration error", plain(result["calibration_error"]), ""],
        ],
    )
    risks = result["risk_at_coverage"].items()
    print(
        "wrong among the surest: " + ", ".join(f"{c}: {'-' if r is None else f'{r:.3f}'}" for c, r in risks)
    )


CLAIM = Claim(measure, methods, locate=True)
