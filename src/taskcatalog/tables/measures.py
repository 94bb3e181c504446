"""The measures of a scan, each declared once.

The tables of scans, the page about them and ``verify`` take them from here. ``lm.measures`` computes those that need
both distributions, ``tasks.score`` the others, under the same names.
"""

from dataclasses import dataclass
from typing import Literal

from taskcatalog.tables.declare import ORIGINAL, Column

Divergence = Literal["jeffreys", "jsd"]
DIVERGENCE_MEASURE: dict[Divergence, str] = {"jeffreys": "JS", "jsd": "jsd"}
"""The measure that a threshold on a divergence is about."""
LN_2 = 0.6931473
"""Rounded up in float32."""
ABOUT_0, ABOUT_1 = -0.00001, 1.00001
"""A sum in float32 may be below 0, or above 1, by rounding."""


@dataclass(frozen=True, kw_only=True)
class Measure(Column):
    """What a model says of a short and a long prompt."""

    needs: Literal["best tokens", "both distributions"]
    """What it is computed from: the most likely next token after each prompt, or all that may come next."""


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="short_max_id",
        type="uint32",
        meaning="the id that the model finds most likely after the short prompt",
        source=ORIGINAL,
        needs="best tokens",
    ),
    Measure(
        name="long_max_id",
        type="uint32",
        meaning="the id that the model finds most likely after the long prompt",
        source=ORIGINAL,
        needs="best tokens",
    ),
    Measure(
        name="p_short",
        type="float32",
        meaning="the probability of `short_max_id` after the short prompt",
        unit="probability",
        source=ORIGINAL,
        least=0,
        most=ABOUT_1,
        needs="best tokens",
    ),
    Measure(
        name="p_long",
        type="float32",
        meaning="the probability of `long_max_id` after the long prompt",
        unit="probability",
        source=ORIGINAL,
        least=0,
        most=ABOUT_1,
        needs="best tokens",
    ),
    Measure(
        name="JS",
        type="float32",
        meaning="half the Jeffreys divergence of the two distributions S and L, after the short and the long prompt",
        unit="nats",
        source="(KL(S‖L) + KL(L‖S)) / 2; " + ORIGINAL,
        least=ABOUT_0,
        needs="both distributions",
    ),
    Measure(
        name="jsd",
        type="float32",
        meaning="their Jensen-Shannon divergence, at most ln 2",
        unit="nats",
        source="(KL(S‖M) + KL(L‖M)) / 2 with M = (S + L) / 2",
        least=ABOUT_0,
        most=LN_2,
        needs="both distributions",
    ),
    Measure(
        name="p_delta_max",
        type="float32",
        meaning="the largest absolute change of any token's probability",
        unit="probability",
        source="max |L - S|; " + ORIGINAL,
        least=0,
        most=ABOUT_1,
        needs="both distributions",
    ),
    Measure(
        name="logit_excite_max",
        type="float32",
        meaning="the largest rise of any logit from short to long",
        unit="logits",
        source=ORIGINAL,
        needs="both distributions",
    ),
    Measure(
        name="logit_inhibit_max",
        type="float32",
        meaning="the largest fall of any logit from short to long",
        unit="logits",
        source=ORIGINAL,
        needs="both distributions",
    ),
)
