"""Claim `fallback`: where networks end, the classical result is worth taking."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from claiming.context import Claim, Context
from claiming.methods import CLASSICAL, Method, Uint8Array, possible_policies
from claiming.numbers import Json, against, esd, percent, plain, print_table, share
from claiming.outcomes import FileSubject, Outcome
from etchline.synthesis.stress import STRESS_LEVELS, draw_stressed

MANY_ERRORS = 20
WITHOUT = "no fallback"


@dataclass(frozen=True)
class StressSubject:
    """An image of a dataset drawn anew at a stress level.

    Attributes:
        name: its path in the dataset.
        ic: its IC.
        group: the level's name.
        drawn_from: the image whose truth gives the layout.
        seed: see `draw_stressed`.
    """

    name: str
    ic: str
    group: str
    drawn_from: FileSubject
    seed: int

    def load(self) -> tuple[Uint8Array, Uint8Array]:
        """See `Subject.load`."""
        level = next(each for each in STRESS_LEVELS if each.name == self.group)
        _, mask_hw = self.drawn_from.load()
        drawn = draw_stressed(np.asarray(mask_hw), self.ic, level, self.name, self.seed)
        return drawn.image_hw, drawn.truth_hw


def methods(context: Context) -> list[Method]:
    possible = possible_policies(context.bundle)
    without = replace(context.own, name=WITHOUT, can_fall_back=False)
    found = [
        replace(without, name=f"{policy}, {WITHOUT}", policy=policy)
        for policy in ("patch", "full")
        if policy in possible and policy != context.own_policy
    ]
    return [context.own, without, *found, CLASSICAL]


def stress_subjects(context: Context) -> list[StressSubject]:
    """The stress images: of each level the same images, spread evenly over the splits and so over ICs."""
    drawn_from = context.subjects()
    count = min(context.stressed, len(drawn_from))
    chosen = [drawn_from[index * len(drawn_from) // count] for index in range(count)]
    return [
        StressSubject(each.name, each.ic, level.name, each, context.seed)
        for level in STRESS_LEVELS
        for each in chosen
    ]


def measure(context: Context) -> Json:
    subjects = stress_subjects(context)
    found = context.session.outcomes(subjects, methods(context))
    levels = [level.name for level in STRESS_LEVELS]
    result: Json = {
        "images": len(subjects),
        "methods": {name: _method(outcomes) for name, outcomes in found.items()},
        "levels": {
            level: {name: _method(_of(outcomes, level)) for name, outcomes in found.items()}
            for level in levels
        },
    }
    own = found[context.own.name]
    result["bundle_against"] = {
        name: against(own, outcomes) for name, outcomes in found.items() if name != context.own.name
    }
    _print(context, result)
    return result


def _of(outcomes: Sequence[Outcome], level: str) -> list[Outcome]:
    return [each for each in outcomes if each.group == level]


def _method(outcomes: Sequence[Outcome]) -> Json:
    many = [int(each.counts.errors > MANY_ERRORS) for each in outcomes]
    classical = [each.sources["classical"] for each in outcomes]
    return {
        **esd(outcomes),
        "images_above_20_errors": share(many, [1] * len(many)),
        "cells_from_classical": share(classical, [each.cells for each in outcomes]),
        "images_with_fallback": share([int(count > 0) for count in classical], [1] * len(many)),
    }


def _print(context: Context, result: Json) -> None:
    names = list(result["methods"])
    print_table(
        f"fallback: {result['images']} stress images from split {' and '.join(context.splits)}",
        ("", "lines", "ESD %", "images > 20 errors", "classical cells %", "images with some %"),
        [
            [
                name,
                str(each["lines"]),
                percent(each["rate"]),
                str(each["images_above_20_errors"]["part"]),
                percent(each["cells_from_classical"]),
                percent(each["images_with_fallback"]),
            ]
            for name, each in result["methods"].items()
        ],
    )
    print_table(
        "ESD % by level; beside it images with more than 20 errors, and classical cells of the bundle in %",
        ("", *names, "fallback"),
        [
            [
                level,
                *(
                    f"{100 * (each['rate']['value'] or 0):.1f} / {each['images_above_20_errors']['part']}"
                    for each in by_method.values()
                ),
                f"{100 * by_method['bundle']['cells_from_classical']['value']:.1f}",
            ]
            for level, by_method in result["levels"].items()
        ],
    )
    for name, each in result["bundle_against"].items():
        points = percent(each["difference"])
        print(f"bundle by {name}: ratio {plain(each['ratio'])}, difference {points} points")


CLAIM = Claim(measure)
