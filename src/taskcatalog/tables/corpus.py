"""The tables about the corpus itself: its vocabulary, and a token store's documents."""

from taskcatalog.runs.stage import NUMBER
from taskcatalog.tables.declare import Column, Rules, Table


def tokens() -> Table:
    return Table(
        name="tokens",
        about="The vocabulary: one row for each id. Empty where the corpus came without a tokenizer.",
        columns=(
            Column(name="id", type="id", meaning="the id"),
            Column(
                name="token", type="text", meaning="its bytes as UTF-8 text, U+FFFD for what is none", source="`bytes`"
            ),
            Column(name="bytes", type="bytes", meaning="its raw bytes", source="the tokenizer"),
        ),
        files=("tokens.parquet",),
        command="taskcatalog ngrams STORE --out CATALOG",
        order=("id",),
        rules=(
            Rules(
                over="(SELECT count(*) AS n, min(id) AS first, max(id) AS last FROM {rows})",
                hold={"ids count from 0 on": "n = 0 OR (first = 0 AND last = n - 1)"},
            ),
        ),
    )


def documents() -> Table:
    return Table(
        name="documents",
        about="The index of a token store: one row for each document, in the order of the corpus. It is no table of a "
        "catalog, so SQL does not answer for it.",
        columns=(
            Column(
                name="start",
                type="uint64",
                meaning="the index of its first token in its part, the file of ids of the same name",
            ),
            Column(name="n_tokens", type="uint64", meaning="how many tokens it has", unit="tokens"),
            Column(name="source", type="repeated text", meaning="the file that it comes from"),
            Column(
                name="place",
                type="uint64",
                meaning="its line or row there, from 1; 0 for a file that is one document",
            ),
            Column(
                name="meta",
                type="repeated text",
                meaning="the field that `--meta` names, null where there is none",
                may_be_null=True,
            ),
        ),
        stage="tokenize",
        files=(f"documents/{NUMBER}.parquet", f"documents/{NUMBER}-{NUMBER}.parquet"),
        command="taskcatalog tokenize SOURCE --out STORE --tokenizer NAME",
    )
