"""Claim `compare`: two bundles with the same policy on the same images, kind by kind."""

from dataclasses import replace

from claiming.context import Claim, Context
from claiming.methods import Method
from claiming.numbers import Json, against, esd, percent, plain, print_table
from etchline.evaluation.paired import ERROR_FIELDS

KINDS = {"all": ERROR_FIELDS, **{kind: (kind,) for kind in ERROR_FIELDS}}


def methods(context: Context) -> list[Method]:
    assert context.other is not None
    own = replace(context.own, policy=context.own_policy)
    return [own, replace(own, name="other", bundle=context.other)]


def measure(context: Context) -> Json:
    found = context.session.outcomes(context.subjects(), methods(context))
    own, other = found["bundle"], found["other"]
    result: Json = {
        "policy": context.own_policy,
        "other_folder": str(context.other),
        "bundle": esd(own),
        "other": esd(other),
        "bundle_against_other": {name: against(own, other, kinds) for name, kinds in KINDS.items()},
    }
    rows = []
    for name, each in result["bundle_against_other"].items():
        sides = [result[side]["rate" if name == "all" else name] for side in ("bundle", "other")]
        rows.append(
            [
                name,
                *(str(side["part"]) for side in sides),
                *(percent(side) for side in sides),
                percent(each["difference"]),
                plain(each["ratio"]),
            ]
        )
    heads = ("", "bundle", "other", "bundle %", "other %", "difference, points", "ratio")
    title = f"compare, split {' and '.join(context.splits)}, policy {context.own_policy}, "
    print_table(title + f"{result['bundle']['lines']} lines", heads, rows)
    return result


CLAIM = Claim(measure, methods)
