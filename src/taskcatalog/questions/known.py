"""The questions. Each orders its rows wholly, so that the same catalog gives the same answer."""

from collections.abc import Mapping

from taskcatalog.questions.declare import Parameter, Question
from taskcatalog.tables.names import MAX_N, MAX_PROMPT_LENGTH

_N = Parameter(meaning="The length of the n-grams.", default=2, kind=int, least=2, most=MAX_N)
_LIMIT = Parameter(meaning="How many rows to return at most.", default=20, kind=int, least=1)
_MIN_COUNT = Parameter(meaning="Leave out prefixes that occur less often than this.", default=100, kind=int, least=0)
_MODEL = Parameter(meaning="The model's label. Needed where the catalog has several.", default="")
_LENGTH = Parameter(meaning="The length of the short prompts.", default=4, kind=int, least=1, most=MAX_PROMPT_LENGTH)
_ABOVE = Parameter(
    meaning="The model knows a completion that it gives a higher probability than this.",
    default=0.5,
    kind=float,
    least=0,
    most=1,
)
_COMPLETION = "{prefix} AS prefix, {completion} AS completion, sum_count, frac_max, {p} AS p"
_WORD = "'^ ?[a-z]{{2,}}$'"

_ALL = (
    Question(
        name="learned",
        title="How much has the model learned?",
        answers="The share of top completions that the model knows: of the rows, and of their occurrences.",
        tables=("{top}",),
        models=1,
        parameters={"n": _N, "model": _MODEL, "above": _ABOVE},
        sql="""
            SELECT avg(({p} > {above})::INT) AS of_rows,
                sum(max_count) FILTER ({p} > {above}) / sum(max_count) AS of_occurrences
            FROM {top}""",
    ),
    Question(
        name="memorized",
        title="Which frequent completions does the model know?",
        answers="Top completions that the model gives a probability above a threshold, the most frequent prefixes "
        "first. With 'varied', prefixes have two letters in a row, and each completion stands there once.",
        tables=("{top}",),
        models=1,
        parameters={
            "n": _N,
            "model": _MODEL,
            "above": _ABOVE,
            "varied": Parameter(meaning="Show words, and no completion twice.", default=False, kind=bool),
            "limit": _LIMIT,
        },
        sql=f"""
            SELECT {_COMPLETION} FROM {{top}}
            WHERE {{p}} > {{above}} AND (NOT {{varied}} OR regexp_matches({{prefix}}, '[A-Za-z]{{{{2}}}}'))
            QUALIFY NOT {{varied}}
                OR row_number() OVER (PARTITION BY {{completion}} ORDER BY sum_count DESC, {{ids}}) = 1
            ORDER BY sum_count DESC, {{ids}} LIMIT {{limit}}""",
    ),
    Question(
        name="unknown",
        title="Which frequent completions does the model not know?",
        answers="Top completions that the model gives a probability below a threshold, the most frequent prefixes "
        "first.",
        tables=("{top}",),
        models=1,
        parameters={
            "n": _N,
            "model": _MODEL,
            "below": Parameter(
                meaning="The model does not know a completion that it gives a lower probability than this.",
                default=0.1,
                kind=float,
                least=0,
                most=1,
            ),
            "limit": _LIMIT,
        },
        sql=f"""
            SELECT {_COMPLETION} FROM {{top}}
            WHERE {{p}} < {{below}} ORDER BY sum_count DESC, {{ids}} LIMIT {{limit}}""",
    ),
    Question(
        name="best",
        title="What does the model know best, against the corpus?",
        answers="Top completions of which the model's probability is furthest above their share in the corpus.",
        tables=("{top}",),
        models=1,
        parameters={"n": _N, "model": _MODEL, "min_count": _MIN_COUNT, "limit": _LIMIT},
        sql=f"""
            SELECT {_COMPLETION}, {{p}} - frac_max AS above_share FROM {{top}}
            WHERE sum_count >= {{min_count}} AND {{p}} IS NOT NULL
            ORDER BY above_share DESC, sum_count DESC, {{ids}} LIMIT {{limit}}""",
    ),
    Question(
        name="worst",
        title="What does the model know worst, against the corpus?",
        answers="Top completions of which the model's probability is furthest below their share in the corpus.",
        tables=("{top}",),
        models=1,
        parameters={"n": _N, "model": _MODEL, "min_count": _MIN_COUNT, "limit": _LIMIT},
        sql=f"""
            SELECT {_COMPLETION}, frac_max - {{p}} AS below_share FROM {{top}}
            WHERE sum_count >= {{min_count}} AND {{p}} IS NOT NULL
            ORDER BY below_share DESC, sum_count DESC, {{ids}} LIMIT {{limit}}""",
    ),
    Question(
        name="calibrated",
        title="Is the model calibrated?",
        answers="For each tenth of the model's probability: how many top completions have one there, its mean, and the "
        "share that they have in the corpus, each weighted by its prefix's occurrences. Top tables hold the "
        "completions with a large share only, so a low probability is always below the share.",
        tables=("{top}",),
        models=1,
        parameters={"n": _N, "model": _MODEL, "min_count": _MIN_COUNT},
        sql="""
            SELECT least(floor({p}::DOUBLE * 10), 9) / 10 AS p_from, count(*) AS completions,
                sum({p}::DOUBLE * sum_count) / sum(sum_count) AS mean_p, sum(max_count) / sum(sum_count) AS share
            FROM {top} WHERE sum_count >= {min_count} AND {p} IS NOT NULL GROUP BY p_from ORDER BY p_from""",
    ),
    Question(
        name="changed",
        title="Whose answer changes between two models?",
        answers="Prefixes of a top table after which two models find different tokens most likely, the most frequent "
        "first: the corpus's completion, and each model's answer with its probability.",
        tables=("{top}", "predictions", "tokens"),
        models=2,
        parameters={
            "n": _N,
            "model": Parameter(meaning="One model's label. Needed where the catalog has more than two.", default=""),
            "other": Parameter(meaning="The other's label.", default=""),
            "limit": _LIMIT,
        },
        sql="""
            SELECT {prefix} AS prefix, {completion} AS completion, t.sum_count, t.frac_max,
                a.token AS answer, m.best_p AS p, b.token AS other_answer, o.best_p AS other_p
            FROM {top} t JOIN predictions m ON m.model = {model} AND m.n = {n} AND m.ids = [{ids}]
                JOIN predictions o ON o.model = {other} AND o.n = {n} AND o.ids = [{ids}]
                LEFT JOIN tokens a ON a.id = m.best_id LEFT JOIN tokens b ON b.id = o.best_id
            WHERE m.best_id <> o.best_id ORDER BY t.sum_count DESC, {ids} LIMIT {limit}""",
    ),
    Question(
        name="answer",
        title="Which tasks have this answer?",
        answers="Long prompts after which a model finds this token most likely, the most frequent prompts first.",
        tables=("{scan}",),
        parameters={
            "token": Parameter(meaning="The answer's text, with its space: ' the'."),
            "prompt_length": _LENGTH,
            "limit": _LIMIT,
        },
        sql="""
            SELECT model, text, token_short, p_short, p_long, JS, count, task_id FROM {scan}
            WHERE token_long = {token} ORDER BY count DESC, p_long DESC, task_id LIMIT {limit}""",
    ),
    Question(
        name="meaning",
        title="Which prompts change their meaning with one more token in front?",
        answers="Prompts after which the model says one word without their first token and another one with it, "
        "the most frequent first; each word with it stands there once.",
        tables=("{scan}",),
        parameters={"prompt_length": _LENGTH, "limit": _LIMIT},
        sql=f"""
            SELECT text, token_short, p_short, token_long, p_long, JS, count FROM {{scan}}
            WHERE token_short <> token_long AND p_short > 0.25 AND p_long > 0.6 AND NOT crosses_document
                AND regexp_matches(token_short, {_WORD}) AND regexp_matches(token_long, {_WORD})
            QUALIFY row_number() OVER (PARTITION BY token_long ORDER BY count DESC, JS DESC, task_id) = 1
            ORDER BY count DESC, JS DESC, task_id LIMIT {{limit}}""",
    ),
    Question(
        name="starting",
        title="Which n-grams begin with this token most often?",
        answers="The most frequent n-grams whose first token is this one. Longer ones than trigrams need a catalog "
        "that was made with 'ngrams -n 5' or the like.",
        tables=("{ngrams}", "tokens"),
        parameters={
            "token": Parameter(meaning="The first token's text, with its space: ' the'."),
            "n": Parameter(meaning="The length of the n-grams.", default=5, kind=int, least=1, most=MAX_N),
            "limit": _LIMIT,
        },
        sql="""
            WITH frequent AS (
                SELECT [{ids}] AS ids, count FROM {ngrams} WHERE id0 IN (SELECT id FROM tokens WHERE token = {token})
                ORDER BY count DESC, {ids} LIMIT {limit})
            SELECT (SELECT string_agg(token, '' ORDER BY place)
                    FROM (SELECT unnest(f.ids) AS id, generate_subscripts(f.ids, 1) AS place) JOIN tokens USING (id)
                ) AS ngram, count, ids
            FROM frequent f ORDER BY count DESC, ids""",
    ),
)
QUESTIONS: Mapping[str, Question] = {question.name: question for question in _ALL}
"""By name."""
