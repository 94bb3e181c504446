"""The tables of scans: the tasks that first-token deletion finds, and all measures."""

from dataclasses import replace

from taskcatalog.runs.stage import NUMBER
from taskcatalog.tables import measures as declared
from taskcatalog.tables.declare import LABEL, ORIGINAL, Column, Rules, Table, columns_like
from taskcatalog.tables.names import MEASURES, id_columns, measures_table, scan_models_table, scan_table

CONTEXT = 5
"""Tokens of context on each side of a short prompt."""
SEQUENCES_PER_BATCH = 128
_FIRST = (
    *("text", "token_short", "token_long", "p_short", "p_long", "JS", "long_ids", "short_max_id", "long_max_id"),
    *("context", "context_ids", "p_delta_max", "logit_excite_max", "logit_inhibit_max", "batch", "sample", "start"),
)
"""The original's columns, in its order; ours come after them."""
_LONG_IDS = Column(name="long_ids", type="ids", meaning="the long prompt", source=ORIGINAL)
_TEXT = Column(
    name="text", type="text", meaning="`[` first token `]` and the rest of the long prompt", source=ORIGINAL,
    may_be_null=True,
)  # fmt: skip
_COUNT = Column(
    name="count",
    type="uint64",
    meaning="how often the long prompt occurs in the scanned tokens",
    unit="occurrences",
    least=1,
)
MOST_CORPUS = 200
"""Times the scanned tokens: in a store of more, tasks are not counted, as that would take long beside the scan."""
_IN_CORPUS = (
    Column(
        name="corpus_count",
        type="uint64",
        meaning="how often the long prompt occurs in the whole store; null where that has more than "
        f"{MOST_CORPUS} times the scanned tokens",
        unit="occurrences",
        least=1,
        may_be_null=True,
    ),
    Column(
        name="documents",
        type="uint64",
        meaning="in how many documents of the store it begins; null where that is, or where documents are not known",
        unit="documents",
        least=1,
        may_be_null=True,
    ),
)
_MODEL = "the model's label"
_OF_MODEL = "`model` is the label of its folder"


def _command(length: int, options: str = "") -> str:
    return f"taskcatalog scan STORE --model MODEL --out CATALOG --prompt-length {length}{options}"


def scan(length: int) -> Table:
    """The tasks among the prompts of ``length`` tokens."""
    columns = (*_texts(), *_positions(), _COUNT, *_IN_CORPUS, *declared.MEASURES, *_after())
    order = {name: i for i, name in enumerate(_FIRST)}
    return Table(
        name=scan_table(length),
        about=f"""
The tasks: one row for each model and each distinct long prompt that it accepts. The *short* prompt has {length}
tokens. The *long* prompt is the same with one more token in front. A long prompt is accepted if `p_long` is above
`--min-probability` and the divergence is above `--min-divergence`, both strictly. Which token really comes next
plays no part. Distributions are over the model's whole output width.

`context`, `batch`, `sample`, `start`, `true_next_id` and `crosses_document` are about the prompt's first
occurrence. Where a store is not ours, a document is taken to begin after each end-of-text id. Texts are null where
the corpus came without a tokenizer.
""",
        columns=tuple(sorted(columns, key=lambda column: order.get(column.name, len(order)))),
        stage="scan",
        folder=f"{scan_table(length)}/LABEL",
        files=("tasks.parquet",),
        command=_command(length),
        order=("p_long DESC", "long_ids"),
        key=("long_ids",),
        n_rows="{tasks}",
        rules=(_rules_of_tasks(length), *_agreement(length)),
    )


def _rules_of_tasks(length: int) -> Rules:
    # The context begins where the sequence does, or so many tokens before the short prompt.
    at = f"least(start, {CONTEXT})"
    return Rules(
        hold={
            _OF_MODEL: "model = {label}",
            "the probability and the divergence are above the thresholds": "p_long > {min_probability}::FLOAT "
            "AND {divergence_measure} > {min_divergence}::FLOAT",
            "`jsd` is at most half of `JS`": "jsd <= JS / 2 + 1e-5",
            "`corpus_count` is not less than `count`": "coalesce(corpus_count >= count, true)",
            "`documents` is not more than `corpus_count`": "coalesce(documents <= corpus_count, true)",
            f"`long_ids` has {length + 1} ids": f"len(long_ids) = {length + 1}",
            "`context_ids` hold the long prompt": f"context_ids[{at} : {at} + {length}] = long_ids",
            "`true_next_id` is the id after it in `context_ids`": "true_next_id IS NOT DISTINCT FROM "
            f"context_ids[{at} + {length + 1}]",
            "`task_id` is the hash of model and ids": "task_id = "
            "left(sha256(model || ':' || array_to_string(long_ids, ',')), 16)",
        }
    )


def _agreement(length: int) -> tuple[Rules, Rules]:
    """Between the tasks and all measures of the same model."""
    name = measures_table(length)
    numbers = ", ".join(["count", *(measure.name for measure in declared.MEASURES)])
    tasks = f"SELECT long_ids, {numbers} FROM {{rows}}"
    above = f"""SELECT [{", ".join(id_columns(length + 1))}], {numbers} FROM {name} WHERE model = {{label}}
        AND p_long > {{min_probability}}::FLOAT AND {{divergence_measure}} > {{min_divergence}}::FLOAT"""
    return (
        Rules(
            over=f"(({tasks}) EXCEPT ALL ({above}))",
            needs=(name,),
            hold={f"each task stands in `{name}` with the same numbers": "false"},
        ),
        Rules(
            over=f"(({above}) EXCEPT ALL ({tasks}))",
            needs=(name,),
            hold={f"each prompt of `{name}` above the thresholds is a task": "false"},
        ),
    )


def _texts() -> list[Column]:
    text = Column(name="", type="text", meaning="", source=ORIGINAL, may_be_null=True)
    meanings = {
        "token_short": "the text of `short_max_id`: what the model finds most likely after the short prompt",
        "token_long": "the text of `long_max_id`: what the model finds most likely after the long prompt",
        "context": f"the text of `context_ids`: the short prompt with {CONTEXT} tokens more on both sides, fewer at a "
        "sequence's ends",
    }
    return [_TEXT, *(replace(text, name=name, meaning=meaning) for name, meaning in meanings.items())]


def _positions() -> list[Column]:
    return [
        _LONG_IDS,
        Column(name="context_ids", type="ids", meaning="the ids of `context`", source=ORIGINAL),
        Column(
            name="batch",
            type="uint64",
            meaning=f"the number of the sequence divided by {SEQUENCES_PER_BATCH}",
            source=f"sequence // {SEQUENCES_PER_BATCH}; {ORIGINAL}",
        ),
        Column(
            name="sample",
            type="uint8",
            meaning="the remainder of that division",
            source=f"sequence % {SEQUENCES_PER_BATCH}; {ORIGINAL}",
            most=SEQUENCES_PER_BATCH - 1,
        ),
        Column(
            name="start",
            type="uint32",
            meaning="the index in its sequence of the short prompt's first token",
            source=ORIGINAL,
            least=1,
        ),
        Column(
            name="task_id",
            type="text",
            meaning="a name of the task: 16 hexadecimal digits",
            source="SHA-256 of model label and ids",
        ),
        Column(name="model", type="text", meaning=_MODEL, source="`--label`, or the model's name"),
    ]


def _after() -> list[Column]:
    return [
        Column(
            name="true_next_id",
            type="id",
            meaning="the token that really follows, null at a sequence's end",
            may_be_null=True,
        ),
        Column(
            name="crosses_document",
            type="boolean",
            meaning="whether a document begins within the long prompt, after its first token; null where documents are "
            "not known",
            may_be_null=True,
        ),
    ]


def scan_models(length: int) -> Table:
    """What several models make of the prompts: a view."""
    return Table(
        name=scan_models_table(length),
        about="With scans of several models: one row for each prompt that is a task of any of them.",
        columns=(
            _LONG_IDS,
            _TEXT,
            _COUNT,
            Column(name="n_models", type="int64", meaning="of how many models it is a task", unit="models", least=1),
        ),
        of_each_model=Column(
            name=f"p_long_{LABEL}",
            type="float32",
            meaning=f"the probability that the model `{LABEL}` gives its own most likely token after the long prompt, "
            "null where it is no task of that model",
            unit="probability",
            source=f"`p_long` of `{scan_table(length)}`",
            may_be_null=True,
        ),
        command=f"{_command(length)}",
        order=("count DESC", "long_ids"),
    )


def measures(length: int) -> Table:
    """The measures of every prompt."""
    ids = id_columns(length + 1)
    columns = (
        *columns_like(ids, Column(name="", type="id", meaning="an id of the long prompt, in its order")),
        _COUNT,
        Column(name="model", type="repeated text", meaning=_MODEL),
        *declared.MEASURES,
    )
    return Table(
        name=measures_table(length),
        about="With `--all-measures`: every distinct long prompt of a scan, accepted or not.",
        columns=columns,
        stage="scan",
        folder=f"{scan_table(length)}/LABEL",
        files=(f"{MEASURES}/{NUMBER}[0-9].parquet",),
        command=_command(length, " --all-measures"),
        order=tuple(ids),
        n_rows="{prompts} - {not_finite}",
        rules=(Rules(hold={_OF_MODEL: "model = {label}", "`jsd` is at most half of `JS`": "jsd <= JS / 2 + 1e-5"}),),
    )
