"""The tables of n-grams: how often each occurs, what follows each prefix, what models say of it."""

from taskcatalog.runs.stage import NUMBER
from taskcatalog.tables.declare import LABEL, Column, Rules, Table, columns_like
from taskcatalog.tables.measures import ABOUT_0, ABOUT_1
from taskcatalog.tables.names import MAX_N, above_count, id_columns, ngram_table, prefix_table, top_table


def _command(n: int) -> str:
    return f"taskcatalog ngrams STORE --out CATALOG -n {n}"


def _ids(n: int) -> str:
    return ", ".join(id_columns(n))


def ngrams(n: int) -> Table:
    """How often each n-gram occurs."""
    name = ngram_table(n)
    ids = columns_like(id_columns(n), Column(name="", type="id", meaning="an id of the n-gram, in its order"))
    rules = Rules(
        over="(SELECT coalesce(sum(count), 0) AS total FROM {rows})",
        hold={"counts add up to the tokens of the corpus": "total = {tokens}"},
    )
    return Table(
        name=name,
        about="""
One row for each n-gram that occurs. Unigrams are in one file, `ngrams/unigrams.parquet`. Their counts add up to the
tokens of the corpus.
""",
        columns=(
            *ids,
            Column(
                name="count",
                type="uint64",
                meaning="how often the n-gram occurs, each time within one sequence",
                unit="occurrences",
                least=1,
            ),
        ),
        stage="ngrams",
        folder="ngrams",
        files=(f"{name}/{NUMBER}.parquet",) if n > 1 else (f"{name}.parquet",),
        command=_command(n),
        order=tuple(id_columns(n)),
        n_rows=f"{{{name}}}",
        rules=(rules,) if n == 1 else (),
    )


def _prefix_columns(n: int) -> tuple[Column, ...]:
    of_prefix = Column(name="", type="id", meaning="an id of the prefix, in its order")
    return (
        *columns_like(id_columns(n - 1), of_prefix),
        Column(
            name=f"id{n - 1}",
            type="id",
            meaning="its most frequent completion, of equals the smallest id",
        ),
        Column(
            name="sum_count",
            type="uint64",
            meaning="how often the prefix occurs with a token after it in the same sequence",
            unit="occurrences",
            source=f"Σ `count` of `{ngram_table(n)}`",
            least=1,
        ),
        Column(
            name="max_count",
            type="uint64",
            meaning="how often the most frequent completion follows the prefix",
            unit="occurrences",
            source=f"max `count` of `{ngram_table(n)}`",
            least=1,
        ),
        Column(
            name="frac_max",
            type="float64",
            meaning="the share of the most frequent completion",
            unit="share",
            source="`max_count / sum_count`",
            least=0,
            most=1,
        ),
        Column(
            name="completions",
            type="uint32",
            meaning="how many different tokens follow the prefix",
            unit="tokens",
            least=1,
        ),
        Column(
            name="entropy",
            type="float32",
            meaning="the entropy of the next token after the prefix; 0 where there is one completion",
            unit="nats",
            source="-Σ s ln s over the completions' shares s",
            least=0,
        ),
    )


def prefixes(n: int) -> Table:
    """What follows each prefix of n-1 ids."""
    name, grams, shorter = prefix_table(n), ngram_table(n), ngram_table(n - 1)
    ids, best = _ids(n - 1), f"id{n - 1}"
    counted = f"""(SELECT {ids}, sum(count) AS s, max(count) AS m, count(*) AS c,
        ln(s) - sum(count * ln(count)) / s AS h, arg_max({best}, (count, -{best}::BIGINT)) AS b
        FROM "{grams}" GROUP BY {ids})"""
    follow = Rules(
        over=f"({counted} FULL JOIN (SELECT *, {best} AS best FROM {{rows}}) USING ({ids}))",
        needs=(grams,),
        hold={
            f"the prefixes are those of `{grams}`": "s IS NOT NULL AND sum_count IS NOT NULL",
            f"`sum_count` is the sum of their counts in `{grams}`": "s = sum_count",
            "`max_count` is the largest of these": "m = max_count",
            f"`{best}` is the smallest id that has it": "b = best",
            "`completions` is their number": "c = completions",
            "`entropy` is that of their shares": "abs(h - entropy) <= 1e-5",
        },
    )
    within = Rules(
        over=f'({{rows}} LEFT JOIN (SELECT {ids}, count AS alone FROM "{shorter}") USING ({ids}))',
        needs=(shorter,),
        hold={f"a prefix occurs in `{shorter}` at least as often": "sum_count <= alone"},
    )
    numbers = Rules(hold={"`frac_max` is `max_count / sum_count`": "frac_max = max_count::DOUBLE / sum_count::DOUBLE"})
    return Table(
        name=name,
        about="One row for each distinct prefix: the first n-1 ids of an n-gram.",
        columns=_prefix_columns(n),
        stage="ngrams",
        folder="ngrams",
        files=(f"{name}/{NUMBER}.parquet",),
        command=_command(n),
        order=tuple(id_columns(n - 1)),
        n_rows=f"{{{name}}}",
        rules=(numbers, follow, within),
    )


def top(n: int) -> Table:
    """The prefixes that are mostly followed by one completion."""
    numbers = ", ".join(column.name for column in _prefix_columns(n))
    chosen = f"""SELECT {numbers} FROM "{prefix_table(n)}"
        WHERE frac_max > {{min_share}} AND sum_count > {above_count(n, "{min_prefix_count}")}"""
    listed = f"SELECT {numbers} FROM {{rows}}"
    texts = columns_like(
        [f"token{i}" for i in range(n)],
        Column(
            name="", type="text", meaning="the text of the id of the same number", source="`tokens`", may_be_null=True
        ),
    )
    return Table(
        name=top_table(n),
        about="""
The prefixes whose most frequent completion has a share above `--min-share` (0.5). Of trigrams and longer n-grams,
only prefixes with a `sum_count` above `--min-prefix-count` (1,000). Texts are null where the corpus came without a
tokenizer.
""",
        columns=(
            *_prefix_columns(n),
            *texts,
            Column(name="seq", type="text", meaning="the text of all ids together", may_be_null=True),
        ),
        of_each_model=Column(
            name=f"p_{LABEL}",
            type="float32",
            meaning=f"the probability that the model `{LABEL}` gives the completion after exactly this prefix",
            unit="probability",
            source="`p` of `predictions`",
            may_be_null=True,
        ),
        stage="ngrams",
        folder="ngrams",
        files=(f"{top_table(n)}.parquet",),
        command=_command(n),
        order=("sum_count DESC", *id_columns(n)),
        n_rows=f"{{{top_table(n)}}}",
        rules=(
            Rules(
                over=f"(({chosen}) EXCEPT ALL ({listed}))",
                needs=(prefix_table(n),),
                hold={f"every row of `{prefix_table(n)}` above the thresholds is there": "false"},
            ),
            Rules(
                over=f"(({listed}) EXCEPT ALL ({chosen}))",
                needs=(prefix_table(n),),
                hold={f"every row is one of `{prefix_table(n)}`, above the thresholds": "false"},
            ),
        ),
    )


def predictions() -> Table:
    """What models say of the completions in the top tables."""
    return Table(
        name="predictions",
        about="What a model says of the completions in the top tables: one row for each model and n-gram.",
        columns=(
            Column(name="model", type="text", meaning="the model's label", source="`--label`, or its name"),
            Column(
                name="revision",
                type="text",
                meaning="the hub's commit, or a hash of a local folder's configuration and weights",
            ),
            Column(name="dtype", type="text", meaning="the type of the model's numbers"),
            Column(name="n", type="uint8", meaning="the length of the n-gram", unit="tokens", least=2, most=MAX_N),
            Column(name="ids", type="ids", meaning="the n-gram: n-1 ids of prefix, then the completion"),
            Column(
                name="p",
                type="float32",
                meaning="the completion's probability after the prefix",
                unit="probability",
                least=0,
                most=ABOUT_1,
            ),
            Column(
                name="rank",
                type="uint32",
                meaning="1 + the number of tokens that the model finds more likely",
                least=1,
            ),
            Column(name="best_id", type="uint32", meaning="the id that the model finds most likely"),
            Column(name="best_p", type="float32", meaning="its probability", unit="probability", least=0, most=ABOUT_1),
            Column(
                name="entropy",
                type="float32",
                meaning="the entropy of the model's next token after the prefix",
                unit="nats",
                least=ABOUT_0,
            ),
        ),
        stage="predict",
        folder="predictions/LABEL",
        files=(f"[2-9]-{NUMBER}.parquet",),
        command="taskcatalog predict CATALOG --model MODEL",
        order=("n", "ids"),
        n_rows="{predictions}",
        rules=(
            Rules(
                hold={
                    "`model`, `revision` and `dtype` are those of the folder": "model = {label} AND "
                    "revision = {revision} AND dtype = {dtype}",
                    "`ids` has `n` ids": "len(ids) = n",
                    "`best_p` is no less than `p`": "best_p >= p",
                    "the most likely token has rank 1 and probability `best_p`": "ids[-1] <> best_id OR "
                    "(rank = 1 AND p = best_p)",
                }
            ),
        ),
    )
