"""The claims about a bundle of networks, each measured in one way.

    python benchmarks/claims.py BUNDLE_DIR DATASET [--split val|test|unseen ...] [--jobs 2] [--out FILE.json]
                                groups policies compare OTHER_BUNDLE fallback flags tile

Prints a table for each claim; `--out` takes the numbers as JSON, and charts go to an HTML page beside it. ESD
is at 15/15, intervals are 95 % bootstraps over images, paired where two methods are compared. An image is
segmented once by each network, however many claims and policies ask. `--split` can be given several times;
looks at test and unseen images are dated lines in docs/results.md, so "val" is the default.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from claiming import compare, fallback, flags, groups, policies, tile
from claiming.context import Claim, Context
from claiming.methods import native_patch_px, read_bundle
from claiming.numbers import Json
from claiming.outcomes import Session
from etchline import __version__
from etchline.bundle.segmenting import parse_policy, parse_scale
from etchline.datasets import load_dataset
from etchline.errors import EtchlineError
from etchline.storage import write_text

CLAIMS: dict[str, Claim] = {
    "groups": groups.CLAIM,
    "policies": policies.CLAIM,
    "compare": compare.CLAIM,
    "fallback": fallback.CLAIM,
    "flags": flags.CLAIM,
    "tile": tile.CLAIM,
}
COMPARE = "compare"


def parse_claims(words: Sequence[str]) -> tuple[list[str], Path | None]:
    """The claims, each once, and the bundle that comes after "compare"."""
    claims: list[str] = []
    other: Path | None = None
    rest = iter(words)
    for word in rest:
        if word not in CLAIMS:
            raise argparse.ArgumentTypeError(f"{word}: no claim; choose among {', '.join(CLAIMS)}")
        if word == COMPARE:
            folder = next(rest, None)
            if folder is None or folder in CLAIMS:
                raise argparse.ArgumentTypeError("compare: give the other bundle after it")
            other = Path(folder)
        if word not in claims:
            claims.append(word)
    return claims, other


def measure_claims(context: Context, claims: Sequence[str]) -> Json:
    """The numbers of all claims; images that several ask for are segmented for all at once."""
    asked = {method: None for name in claims for method in CLAIMS[name].methods(context)}
    locate = any(CLAIMS[name].locate for name in claims)
    if asked:
        context.session.outcomes(context.subjects(), list(asked), locate=locate)
    return {name: CLAIMS[name].measure(context) for name in claims}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("claims", nargs="+", metavar="CLAIM", help=", ".join(CLAIMS))
    parser.add_argument("--split", action="append", choices=("val", "test", "unseen"))
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--policy", help="default: the bundle's own")
    parser.add_argument("--scale", default="auto", help="a factor, or auto (the default)")
    parser.add_argument("--single", type=Path, help="a bundle made from a single model, for policies")
    parser.add_argument("--tiles", type=Path, default=Context.tiles, help="folder of the real tile")
    parser.add_argument("--seed", type=int, default=0, help="of stress images and noise")
    parser.add_argument("--stressed", type=int, default=21, help="stress images of each level, at most")
    return parser


def _context(options: argparse.Namespace, other: Path | None) -> Context:
    return Context(
        bundle=options.bundle,
        dataset=load_dataset(options.dataset),
        splits=tuple(dict.fromkeys(options.split or ["val"])),
        session=Session(native_patch_px(options.bundle), options.jobs),
        policy=parse_policy(options.policy),
        scale=parse_scale(options.scale),
        other=other,
        single=options.single,
        tiles=options.tiles,
        seed=options.seed,
        stressed=options.stressed,
        pictures=options.out.with_name(f"{options.out.stem}_flags.html") if options.out else None,
    )


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    try:
        claims, other = parse_claims(options.claims)
        report = measure(_context(options, other), claims)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except EtchlineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.out:
        write_text(options.out, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return 0


def measure(context: Context, claims: Sequence[str]) -> Json:
    """The numbers, with what they depend on."""
    bundle = read_bundle(context.bundle)
    print(f"bundle {bundle.manifest.name} {bundle.digest[:16]}, policy {context.own_policy}")
    print(f"{len(context.subjects())} images of split {' and '.join(context.splits)}")
    if held := [split for split in context.splits if split != "val"]:
        print(f"this is a look at {' and '.join(held)}: give it a dated line in docs/results.md")
    started = time.perf_counter()
    found = measure_claims(context, claims)
    seconds = time.perf_counter() - started
    print(f"\n{seconds:.0f} s")
    return {
        "version": __version__,
        "bundle": {"name": bundle.manifest.name, "digest": bundle.digest, "policy": context.own_policy},
        "dataset": {"digest": context.dataset.digest, "splits": list(context.splits)},
        "scale": context.scale or "auto",
        "seed": context.seed,
        "seconds": round(seconds, 1),
        "claims": found,
    }


if __name__ == "__main__":
    sys.exit(main())
