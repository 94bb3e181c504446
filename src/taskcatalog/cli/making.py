"""Commands that make stores and catalogs."""

from pathlib import Path
from typing import Any

import click

import taskcatalog as tc
from taskcatalog.cli.options import (
    BOS,
    BOS_CHOICES,
    CATALOG,
    CHOSEN,
    FORCE,
    LENGTHS,
    MEMORY,
    MODEL_OPTIONS,
    PATH,
    STAGING,
    STORE_OPTIONS,
    TEXT,
    WORKERS,
    command,
    store_options,
    with_options,
)
from taskcatalog.cli.output import note_partial, report, report_rows, wants_json
from taskcatalog.sizes import parse_size
from taskcatalog.terminal import say


@command
@click.option("--out", type=CATALOG, default=Path("taskcatalog-demo"), show_default=True, help="Where the results go.")
def demo(out: Path) -> None:
    """Run the whole pipeline on what comes with taskcatalog, offline.

    The corpus is the source of this Python's standard library; tokenizer and model come with the package.
    """
    catalog = tc.demo(out, lambda text: None if wants_json() else say(text))
    report({"store": str(out / "store"), "catalog": str(out / "catalog"), "tables": catalog.tables}, [])


@command
@click.argument("source", nargs=-1, required=True)
@click.option("--out", type=TEXT, required=True, metavar="STORE", help="Folder or URL of the store to make.")
@click.option(
    "--tokenizer", required=True, metavar="NAME_OR_PATH", help="A tokenizer.json, a folder with one, or a hub name."
)
@click.option("--sequence-length", type=int, default=2_048, show_default=True, help="Tokens a model sees together.")
@click.option(
    "--separator", type=click.Choice(["end", "both", "none"]), default="end", show_default=True,
    help="Where the end-of-text token goes: after each document, before and after it, or nowhere.",
)  # fmt: skip
@click.option("--end-of-text", metavar="TOKEN", help="The token that separates documents. Default: the tokenizer's.")
@click.option("--field", default="text", show_default=True, help="The field or column that holds the text.")
@click.option("--meta", metavar="FIELD", help="A field or column to keep with each document, as meta.pile_set_name.")
@click.option(
    "--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True,
    help="What a document that cannot be read does: stop the run, or be left out and counted.",
)  # fmt: skip
@click.option("--follow-links", is_flag=True, help="Below folders, read what links point to, each file once.")
@click.option("--subset", help="Of a dataset on the Hugging Face hub.")
@click.option("--split", default="train", show_default=True, help="Of a Hugging Face dataset.")
@click.option(
    "--engine", type=click.Choice(["auto", "gigatoken", "tokenizers"]), default="auto", show_default=True,
    help="What tokenizes; auto is gigatoken, checked against tokenizers, which takes over where they differ.",
)  # fmt: skip
@click.option(
    "--format", type=click.Choice(["bin", "mds"]), default="bin", show_default=True,
    help="bin: a token store. mds: MosaicML's shards, made from a token store that is kept in STORE.tokens.",
)  # fmt: skip
@click.option(
    "--max-document", metavar="SIZE",
    help="Largest line of JSONL or value of a table; a worker takes up to 6 times this. [256MB]",
)  # fmt: skip
@STAGING
@WORKERS
@FORCE
def tokenize(
    source: tuple[str, ...], out: str, tokenizer: str, engine: Any, format: Any, staging: Path | None,  # noqa: A002
    max_document: str | None, workers: int | None, follow_links: bool, force: bool, **settings: Any,
) -> None:  # fmt: skip
    """Turn documents into a token store.

    SOURCE is a text file or one of a known format (JSONL, Parquet and more: docs/corpora.md), a folder of them, a
    pattern ('data/*.jsonl.zst'), a URL (s3://, hf://, https://), an MDS folder of texts, a folder that 'datasets'
    saved, or a dataset on the Hugging Face hub by name. Files may be compressed (.gz, .zst, .xz, .bz2).

    \b
    taskcatalog tokenize corpus/ --out store --tokenizer EleutherAI/pythia-70m-deduped
    """
    chosen = tc.TokenizeSettings(**settings)
    made = tc.tokenize(
        source, out, tokenizer, chosen,
        format=format, engine=engine, staging=staging, max_document=max_document, workers=workers,
        follow_links=follow_links, force=force,
    )  # fmt: skip
    store = made.store
    summary = f"{out}: complete, {store.n_tokens:,} tokens in {store.n_sequences:,} sequences"
    report({"out": out, **store.describe()}, [summary])


@command
@click.argument("store")
@click.option("--out", type=TEXT, required=True, metavar="PATH_OR_URL", help="Folder to make; for flat, the file.")
@click.option(
    "--format", type=click.Choice(["mds", "flat"]), required=True,
    help="mds: shards of MosaicML Streaming. flat: one file of ids, as tokengrams reads.",
)  # fmt: skip
@click.option(
    "--compression", metavar="CODEC[:LEVEL]",
    help="For mds: zstd, gz, br, bz2 or snappy, as zstd:16, or none. [zstd, that is zstd:3]",
)  # fmt: skip
@click.option("--size-limit", metavar="SIZE", help="For mds: size of a shard before it is compressed. [64MiB]")
@click.option(
    "--hashes", type=click.Choice(["xxh64", "sha1", "none"]), help="For mds: digest of each shard in the index. [xxh64]"
)
@STAGING
@WORKERS
@with_options(STORE_OPTIONS)
@FORCE
def convert(
    store: str, out: str, format: Any, compression: str | None, size_limit: str | None,  # noqa: A002
    hashes: Any, **options: Any,
) -> None:  # fmt: skip
    """Write a store in another format: MDS or a flat file.

    STORE is whatever other commands read. MDS takes whole sequences only. The command says how many tokens of a last,
    partial sequence it leaves out. MDS can be written behind a URL (s3://bucket/prefix). Ids are
    uint16. A vocabulary of more than 65,536 ids needs uint32: read such MDS and flat files with --id-dtype uint32.

    \b
    taskcatalog convert store --out corpus.bin --format flat
    """
    settings = tc.ConvertSettings(
        format=format,
        compression=compression,
        size_limit=parse_size(size_limit, "size_limit") if size_limit else None,
        hashes=hashes,
    )
    opening = store_options(options)
    made = tc.convert(store, out, settings, options=opening, **options)
    dropped = made.dropped_tokens
    rest = f"; the last, partial sequence of {dropped:,} tokens is left out" if dropped else ""
    summary = f"{out}: complete, {made.tokens:,} tokens in {made.sequences:,} sequences{rest}"
    facts = {"tokens": made.tokens, "sequences": made.sequences, "dropped_tokens": dropped}
    report({"out": out, **facts}, [summary])


@command
@click.argument("store")
@click.option("--out", type=CATALOG, required=True, metavar="CATALOG", help="Folder of the catalog to make.")
@LENGTHS
@click.option(
    "--min-prefix-count", type=int, default=1_000, show_default=True,
    help="Top tables of trigrams and longer take prefixes that occur more often.",
)  # fmt: skip
@click.option(
    "--min-share", type=float, default=0.5, show_default=True,
    help="Top tables take prefixes whose most frequent completion has a larger share.",
)  # fmt: skip
@with_options(CHOSEN)
@MEMORY
@WORKERS
@with_options(STORE_OPTIONS)
@FORCE
def ngrams(store: str, out: Path, memory: str | None, workers: int | None, force: bool, **settings: Any) -> None:
    """Count a store's n-grams into a catalog.

    The catalog gets the tables of n-grams, of their prefixes, and the top tables.

    STORE is a token store, a folder of MDS shards, a Megatron dataset (.bin and .idx), datatrove's .ds, or a flat
    .bin of ids, here or behind a URL.
    """
    from taskcatalog.compiled import without_extensions

    without_extensions()
    options = store_options(settings)
    made = tc.ngrams(
        store, out, tc.NgramSettings(**settings), options=options, memory=memory, workers=workers, force=force
    )
    report_rows(f"{out}: complete", out, made.rows)
    note_partial(out)


@command
@click.argument("catalog", type=CATALOG)
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME_OR_PATH",
    help="Hub name or folder; 'pythia' for all eight deduplicated sizes. May be given several times.",
)  # fmt: skip
@click.option("--revisions", metavar="A,B,…", help="Several revisions of each model, as step1000,step64000.")
@click.option(
    "--prompts", type=PATH, metavar="FILE",
    help="Ask about these instead: Parquet, JSONL or CSV with a column 'ids' or 'text'.",
)  # fmt: skip
@click.option(
    "--sql", type=TEXT, metavar="QUERY",
    help="Ask about the rows of a query instead, with a column 'ids' or 'text', or id0, id1, ….",
)  # fmt: skip
@click.option(
    "--format", "kind", type=click.Choice(["table", "csv", "json", "parquet"]),
    help="Of what is said of those. Default: as the name of --out ends; on the screen, a table.",
)  # fmt: skip
@click.option("--out", type=CATALOG, metavar="FILE", help="Where that goes, instead of the screen.")
@BOS
@with_options(MODEL_OPTIONS)
@MEMORY
@FORCE
def predict(
    catalog: Path, models: tuple[str, ...], revisions: str | None, prompts: Path | None, sql: str | None, kind: Any,
    out: Path | None, bos: str, **options: Any,
) -> None:  # fmt: skip
    """Ask models for the probability of a catalog's top completions, or of any prompts.

    The answers about the top tables become part of the catalog. Those about prompts that are given (--prompts, --sql)
    do not: they are written to --out. Of each, the last token is the completion and those before it are the prefix.

    \b
    taskcatalog predict catalog --model gpt2
    taskcatalog predict catalog --model gpt2 --sql "SELECT id0, id1, id2 FROM trigrams LIMIT 1000" --out p.parquet
    """
    options |= {"revisions": revisions.split(",") if revisions else (), "bos": BOS_CHOICES[bos]}
    if prompts is None and sql is None:
        if out is not None or kind is not None:
            raise tc.SettingsError("--out and --format are for --prompts or --sql: give one of these, too")
        asked = tc.predict(catalog, models, **options)
        report_rows(f"{catalog}: complete, completions asked of each model", catalog, asked.completions)
        return
    from duckdb import from_arrow

    from taskcatalog.catalog.results import format_of, write_result

    kind = kind or ("json" if wants_json() and out is None else format_of(out))
    answers = tc.predict_prompts(catalog, models, prompts, sql=sql, out=out, format=kind, **options)
    if answers is not None:
        write_result(from_arrow(answers), kind, None)
    else:
        report({"out": str(out)}, [f"{out}: complete"])


@command
@click.argument("store")
@click.option("--model", required=True, metavar="NAME_OR_PATH", help="Hub name or folder.")
@click.option("--out", type=CATALOG, required=True, metavar="CATALOG", help="The catalog to add the table to.")
@click.option("--prompt-length", type=int, default=4, show_default=True, help="Tokens of the short prompt.")
@click.option("--min-probability", type=float, default=0.5, show_default=True, help="p_long must be above this.")
@click.option("--min-divergence", type=float, default=0.5, show_default=True, help="In nats; must be above this.")
@click.option(
    "--divergence", type=click.Choice(["jeffreys", "jsd"]), default="jeffreys", show_default=True,
    help="Which one: half the Jeffreys divergence (column JS) or the Jensen-Shannon divergence (jsd).",
)  # fmt: skip
@with_options(CHOSEN)
@click.option("--all-measures", is_flag=True, help="Keep the measures of every prompt, accepted or not, too.")
@BOS
@with_options(MODEL_OPTIONS)
@MEMORY
@with_options(STORE_OPTIONS)
@FORCE
def scan(
    store: str, model: str, out: Path, prompt_length: int, min_probability: float, min_divergence: float,
    divergence: Any, start: int, max_tokens: int | None, all_measures: bool, bos: str, **options: Any,
) -> None:  # fmt: skip
    """Find prompts whose meaning changes with one more token in front.

    This is first-token deletion: the model's next-token distributions after a short prompt, and after the same prompt
    with the token before it put in front, are compared.
    """
    settings = tc.ScanSettings(
        prompt_length=prompt_length,
        min_probability=min_probability,
        min_divergence=min_divergence,
        divergence=divergence,
        start=start,
        max_tokens=max_tokens,
        all_measures=all_measures,
        bos=BOS_CHOICES[bos],
    )
    opening = store_options(options)
    found = tc.scan(store, model, out, settings, options=opening, **options)
    facts = {name: getattr(found, name) for name in _SCANNED}
    report_rows(f"{out}: complete", out, facts)


_SCANNED = ("tokens", "windows", "prompts", "tasks", "not_finite", "positions")
COMMANDS = (demo, tokenize, convert, ngrams, predict, scan)
