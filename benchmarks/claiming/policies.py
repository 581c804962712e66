"""Claim `policies`: the default policy mends SAMSEM's errors B and C and costs nothing elsewhere.

B and C (figure 4) sit in patches without structure: background that becomes a line, and speckles.
"""

from collections.abc import Sequence
from dataclasses import replace

from claiming.context import Claim, Context
from claiming.methods import CLASSICAL, Method, possible_policies
from claiming.numbers import (
    KIND_HEADS,
    Json,
    against,
    esd,
    kind_counts,
    paired,
    percent,
    plain,
    print_table,
    share,
)
from claiming.outcomes import Outcome
from claiming.places import BACKGROUND, ELSEWHERE, METAL, PLACES
from etchline.evaluation.paired import ERROR_FIELDS, compare_rates


def methods(context: Context) -> list[Method]:
    found = [replace(context.own, name=policy, policy=policy) for policy in possible_policies(context.bundle)]
    if context.single:
        found.append(Method("single", context.single, scale=context.scale))
    return [*found, CLASSICAL]


def measure(context: Context) -> Json:
    found = context.session.outcomes(context.subjects(), methods(context), locate=True)
    first = next(iter(found.values()))
    result: Json = {
        "default": context.own_policy,
        "plain_patches": {place: sum(each.plain[place] for each in first) for place in (BACKGROUND, METAL)},
        "plain_images": {
            "background": sum(each.pixels.true_positive + each.pixels.false_negative == 0 for each in first),
            "metal": sum(each.pixels.false_positive + each.pixels.true_negative == 0 for each in first),
        },
        "policies": {name: _policy(outcomes) for name, outcomes in found.items()},
    }
    if "patch" in found and context.own_policy in found:
        result["default_against_patch"] = default_against_patch(found[context.own_policy], found["patch"])
    _print(context, result)
    return result


def errors_at(outcome: Outcome, places: Sequence[str]) -> int:
    """Errors of one image in these places."""
    return sum(sum(outcome.places[place].values()) for place in places)


def default_against_patch(default: Sequence[Outcome], patch: Sequence[Outcome]) -> Json:
    """Errors of the default policy less those of `patch`, per plain patch, and per line elsewhere.

    `fewer_there` and `no_more_elsewhere` compare the counts themselves; `fewer_there_is_certain` and
    `more_elsewhere_is_certain` ask the paired intervals.
    """
    there = _at(
        (BACKGROUND, METAL), default, patch, [each.plain[BACKGROUND] + each.plain[METAL] for each in patch]
    )
    elsewhere = _at((ELSEWHERE,), default, patch, [each.counts.lines for each in patch])
    return {
        "plain": there,
        "elsewhere": elsewhere,
        "everywhere": against(default, patch),
        "fewer_there": there["errors"] < there["patch_errors"],
        "no_more_elsewhere": elsewhere["errors"] <= elsewhere["patch_errors"],
        "fewer_there_is_certain": _end(there, 1, below=True),
        "more_elsewhere_is_certain": _end(elsewhere, 0, below=False),
    }


def _at(
    places: Sequence[str], default: Sequence[Outcome], patch: Sequence[Outcome], exposure: Sequence[int]
) -> Json:
    one, other = ([errors_at(each, places) for each in side] for side in (default, patch))
    return {
        "errors": sum(one),
        "patch_errors": sum(other),
        **paired(compare_rates(one, other, exposure), len(one)),
    }


def _end(side: Json, index: int, below: bool) -> bool:
    interval = side["difference"]["ci95"]
    if interval is None or interval[index] is None:
        return False
    return bool(interval[index] < 0 if below else interval[index] > 0)


def _policy(outcomes: Sequence[Outcome]) -> Json:
    plain_patches = [each.plain[BACKGROUND] + each.plain[METAL] for each in outcomes]
    sources = sum((each.sources for each in outcomes), start=type(outcomes[0].sources)())
    return {
        **esd(outcomes),
        "cells_by_source": dict(sources),
        "errors_by_place": {
            place: {kind: sum(each.places[place][kind] for each in outcomes) for kind in ERROR_FIELDS}
            for place in PLACES
        },
        "errors_per_plain_patch": share(
            [errors_at(each, (BACKGROUND, METAL)) for each in outcomes], plain_patches
        ),
        "errors_elsewhere_per_line": share(
            [errors_at(each, (ELSEWHERE,)) for each in outcomes], [each.counts.lines for each in outcomes]
        ),
    }


def _print(context: Context, result: Json) -> None:
    marked = {
        f"{policy} *" if policy == result["default"] else policy: each
        for policy, each in result["policies"].items()
    }
    print_table(
        f"policies, split {' and '.join(context.splits)}, all cells: ESD at 15/15 (* is the default)",
        ("", "lines", "ESD %", *KIND_HEADS, "full", "patch", "classical"),
        [
            [
                name,
                str(each["lines"]),
                percent(each["rate"]),
                *kind_counts(each),
                *(str(each["cells_by_source"].get(source, 0)) for source in ("full", "patch", "classical")),
            ]
            for name, each in marked.items()
        ],
    )
    _print_places(marked, result["plain_patches"])
    for place in ("plain", "elsewhere") if "default_against_patch" in result else ():
        side = result["default_against_patch"][place]
        print(
            f"{place}: {result['default']} {side['errors']} errors, patch {side['patch_errors']}; "
            f"difference {plain(side['difference'], 4)}"
        )


def _print_places(policies: Json, patches: Json) -> None:
    plain_places = (BACKGROUND, METAL)
    heads = [f"{place} {kind}" for place in plain_places for kind in KIND_HEADS]
    print_table(
        f"{patches[BACKGROUND]} patches wholly background, {patches[METAL]} wholly metal: errors there",
        ("", *heads, "per patch", "elsewhere %"),
        [
            [
                name,
                *(
                    str(each["errors_by_place"][place][kind])
                    for place in plain_places
                    for kind in ERROR_FIELDS
                ),
                plain(each["errors_per_plain_patch"]),
                percent(each["errors_elsewhere_per_line"]),
            ]
            for name, each in policies.items()
        ],
    )


CLAIM = Claim(measure, methods, locate=True)
