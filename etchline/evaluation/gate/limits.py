"""How good a model must be to be deployed: the section `gate` of a recipe."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]


class GateLimits(BaseModel):
    """Rates are errors for each true line, 0.05 is 5 %; a value on its limit passes. See docs/gate.md.

    A report that lacks what a limit judges fails it. A limit that may be None can so be left out, which the
    verdict says.

    Attributes:
        images_min: fewest images. With n images all of them favour the worse model by chance in 1 of 2^n
            cases, so below 6 nothing can be said with 95 %; ten leaves room for images of unequal size.
        lines_min: fewest true lines. At 1,000 a rate of 3 % is known to about a point (2.0 to 4.3 %).
        rate_upper_max: highest upper end of the ESD rate's 95 % interval, all images together. Above one
            line in twenty, checking the result costs as much as drawing it.
        ic_rate_max: highest rate of any IC. Four times the limit of all: the hardest chip may be hard, but
            a chip that a model cannot do must not hide in the mean. None: the images' ICs are not known.
        unseen_upper_max: highest upper end of the interval over images of split `unseen`. SAMSEM has 5.5 %
            on chips it never saw, the best method before it 24.8 %. None: there are no such images.
        regression_tolerance: by how much the challenger's rate might still be above the champion's: the
            highest upper end of the difference's paired 95 % interval.
        ic_regression_tolerance: highest rise of one IC's rate above the champion's, unless that IC has
            `images_min` images and the rise may be chance. Larger than `regression_tolerance`, because of
            many ICs one is always unlucky. None: the images' ICs are not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images_min: AtLeastOne = 10
    lines_min: AtLeastOne = 1000
    rate_upper_max: Rate = 0.05
    ic_rate_max: Rate | None = 0.20
    unseen_upper_max: Rate | None = 0.15
    regression_tolerance: Rate = 0.02
    ic_regression_tolerance: Rate | None = 0.05
