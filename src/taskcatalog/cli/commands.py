"""The command line: one command a stage, each a thin shell of the public function of the same name."""

import functools
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import click

import taskcatalog as tc
from taskcatalog.cli.arguments import Catalog, Lengths, Text
from taskcatalog.cli.config import as_defaults, read_config
from taskcatalog.cli.outcomes import GIVEN, Commands
from taskcatalog.errors import TaskcatalogError
from taskcatalog.sizes import parse_size
from taskcatalog.terminal import one_line, say, warn
from taskcatalog.version import __version__

_PATH, _CATALOG, _TEXT = click.Path(path_type=Path), Catalog(), Text()


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Makes the options in a YAML file this command's defaults."""
    if path is not None:
        given = read_config(path, ctx)
        ctx.default_map = as_defaults(given)
        ctx.meta[GIVEN] = given, ctx


_CONFIG = click.option(
    "--config", type=_PATH, is_eager=True, expose_value=False, callback=_read_config,
    help="YAML file with options of this command ('out: catalog'); the command line wins.",
)  # fmt: skip
_FORCE = click.option("--force", is_flag=True, help="Replace the output of a different run.")
_REPLACE = click.option("--force", is_flag=True, help="Replace a file that is there.")
_LENGTHS = click.option(
    "-n", type=Lengths(), multiple=True, default=(2, 3), metavar="N[,N…]",
    callback=lambda _context, _option, given: tuple(chain.from_iterable(given)),
    help="Lengths to count, each from 1 to 5. [2,3]",
)  # fmt: skip
_MEMORY = click.option("--memory", metavar="SIZE", help="Memory to work within, as 8GB. Default: 8GB or half of all.")
_WORKERS = click.option("--workers", type=int, metavar="N", help="How many to run side by side. Default: all cores.")
_STAGING = click.option(
    "--staging", type=_PATH, metavar="DIR",
    help="For a URL: folder for what is not uploaded yet. Default: one in the user's cache.",
)  # fmt: skip
_MODEL_OPTIONS = [
    click.option("--revision", help="The model's branch, tag or commit on the hub, as step1000."),
    click.option("--label", help="Short name of the model in tables. Default: made from its name."),
    click.option("--device", default="auto", show_default=True,
                 help="cpu, cuda, cuda:1 …, or several: cuda:0,cuda:1. auto is all GPUs, or cpu."),
    click.option(
        "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True,
        help="Type of the model's numbers; auto is float32. After a 16-bit scan, float32 settles what is in doubt.",
    ),
]  # fmt: skip
_STORE_OPTIONS = [
    click.option("--tokenizer", metavar="NAME_OR_PATH", help="For all but a token store: other kinds have none."),
    click.option(
        "--sequence-length", type=int, metavar="N",
        help="Tokens a model sees together, where ids are one stream (.bin, Megatron, .ds). [2048]",
    ),
    click.option(
        "--id-dtype", type=click.Choice(["uint16", "int32", "uint32", "int64", "uint64"]),
        help="Type of the ids where nothing tells: in a flat .bin, in MDS columns of bytes. [uint16]",
    ),
    click.option("--column", help="Of an MDS folder: the column of ids, where there are several."),
]  # fmt: skip


def _with(options: list[Callable[..., Any]]) -> Callable[..., Any]:
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _store_options(options: dict[str, Any]) -> tc.StoreOptions:
    """Takes the store's options out of a command's."""
    names = ("tokenizer", "sequence_length", "id_dtype", "column")
    return tc.StoreOptions(**{name: options.pop(name) for name in names})


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Turn a text corpus and a causal language model into a searchable catalog of the tasks the model can do.

    \b
    The way of the data:
      tokenize   corpus          -> token store
      convert    any store       -> token store, MDS shards or flat file
      ngrams     token store     -> catalog: n-gram, prefix and top tables
      predict    catalog       -> each model's probability of every top completion
      scan       token store     -> catalog: prompts whose meaning changes with one more token
      sql, complete, find        questions to a catalog

    'taskcatalog demo' does all of it, offline, in about two minutes. Every command can be stopped at any moment;
    the same command again goes on where it stopped.
    """


@main.command()
@_CONFIG
@click.option("--out", type=_CATALOG, default=Path("taskcatalog-demo"), show_default=True, help="Where the results go.")
def demo(out: Path) -> None:
    """Run the whole pipeline on what comes with taskcatalog, offline.

    The corpus is the source of this Python's standard library; tokenizer and model come with the package.
    """
    tc.demo(out, say)


@main.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--out", type=_TEXT, required=True, metavar="STORE", help="Folder or URL of the store to make.")
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
@_STAGING
@_WORKERS
@_FORCE
@_CONFIG
def tokenize(
    source: tuple[str, ...], out: str, tokenizer: str, engine: Any, format: Any, staging: Path | None,  # noqa: A002
    max_document: str | None, workers: int | None, follow_links: bool, force: bool, **settings: Any,
) -> None:  # fmt: skip
    """Turn documents into a token store.

    SOURCE is a text file, JSONL or Parquet, a folder of them, a pattern ('data/*.jsonl.zst'), a URL (s3://, hf://,
    https://), an MDS folder of texts, a folder that 'datasets' saved, or a dataset on the Hugging Face hub by name.
    Text files and JSONL may be compressed (.gz, .zst, .xz, .bz2).

    \b
    taskcatalog tokenize corpus/ --out store --tokenizer EleutherAI/pythia-70m-deduped
    """
    chosen = tc.TokenizeSettings(**settings)
    store = tc.tokenize(
        source, out, tokenizer, chosen,
        format=format, engine=engine, staging=staging, max_document=max_document, workers=workers,
        follow_links=follow_links, force=force,
    )  # fmt: skip
    say(f"{out}: complete, {store.n_tokens:,} tokens in {store.n_sequences:,} sequences")


@main.command()
@click.argument("store")
@click.option("--out", type=_TEXT, required=True, metavar="PATH_OR_URL", help="Folder to make; for flat, the file.")
@click.option(
    "--format", type=click.Choice(["bin", "mds", "flat"]), required=True,
    help="bin: a token store. mds: shards of MosaicML Streaming. flat: one file of ids, as tokengrams reads.",
)  # fmt: skip
@click.option(
    "--compression", metavar="CODEC[:LEVEL]",
    help="For mds: zstd, gz, br, bz2 or snappy, as zstd:16, or none. [zstd, that is zstd:3]",
)  # fmt: skip
@click.option("--size-limit", metavar="SIZE", help="For mds: size of a shard before it is compressed. [64MiB]")
@click.option(
    "--hashes", type=click.Choice(["xxh64", "sha1", "none"]), help="For mds: digest of each shard in the index. [xxh64]"
)
@_STAGING
@_WORKERS
@_with(_STORE_OPTIONS)
@_FORCE
@_CONFIG
def convert(
    store: str, out: str, format: Any, compression: str | None, size_limit: str | None,  # noqa: A002
    hashes: Any, **options: Any,
) -> None:  # fmt: skip
    """Write a store in another format: a token store, MDS shards, or one flat file of ids.

    STORE is whatever other commands read. MDS takes whole sequences only: what is left of the tokens is dropped,
    and said. A token store and MDS can be written behind a URL (s3://bucket/prefix). Ids are uint16, or uint32 for
    more than 65,536 of them: then MDS and flat files are read with --id-dtype uint32.

    \b
    taskcatalog convert store --out corpus.bin --format flat
    """
    settings = tc.ConvertSettings(
        format=format,
        compression=compression,
        size_limit=parse_size(size_limit) if size_limit else None,
        hashes=hashes,
    )
    store_options = _store_options(options)
    made = tc.convert(store, out, settings, options=store_options, **options)
    dropped = made["dropped_tokens"]
    rest = f"; the last, partial sequence of {dropped:,} tokens is left out" if dropped else ""
    say(f"{out}: complete, {made['tokens']:,} tokens in {made['sequences']:,} sequences{rest}")


@main.command()
@click.argument("store")
@click.option("--out", type=_CATALOG, required=True, metavar="CATALOG", help="Folder of the catalog to make.")
@_LENGTHS
@click.option(
    "--min-prefix-count", type=int, default=1_000, show_default=True,
    help="Top tables of trigrams and longer take prefixes that occur more often.",
)  # fmt: skip
@click.option(
    "--min-share", type=float, default=0.5, show_default=True,
    help="Top tables take prefixes whose most frequent completion has a larger share.",
)  # fmt: skip
@_MEMORY
@_WORKERS
@_with(_STORE_OPTIONS)
@_FORCE
@_CONFIG
def ngrams(store: str, out: Path, memory: str | None, workers: int | None, force: bool, **settings: Any) -> None:
    """Count a store's n-grams into a catalog, with prefix and top tables.

    STORE is a token store, a folder of MDS shards, a Megatron dataset (.bin and .idx), datatrove's .ds, or a flat
    .bin of ids, here or behind a URL.
    """
    options = _store_options(settings)
    rows = tc.ngrams(
        store, out, tc.NgramSettings(**settings), options=options, memory=memory, workers=workers, force=force
    )
    _print_rows(f"{out}: complete", rows)


@main.command()
@click.argument("store")
@click.option("--tokens", type=int, metavar="N", help="Plan for so many tokens like the store's. Default: all of them.")
@_LENGTHS
@click.option("--model", metavar="NAME_OR_PATH", help="Plan a scan with this model, too.")
@click.option("--cores", type=click.IntRange(1), metavar="N", help="Of the machine that the run will be on. [these]")
@click.option("--memory", metavar="SIZE", help="That the run may use, as 64GB. [8GB or half of all]")
@click.option("--disk-rate", metavar="SIZE", help="Bytes a second of its disk, as 2GB. [this one's]")
@_with(_STORE_OPTIONS)
@_CONFIG
def plan(
    store: str, tokens: int | None, model: str | None, cores: int | None, memory: str | None, disk_rate: str | None,
    n: tuple[int, ...], **options: Any,
) -> None:  # fmt: skip
    """Say what a run will take before it starts: time, memory and disk of each stage.

    A sample of the store is tokenized, counted and, with --model, scanned here, for some seconds. For another
    machine the times are scaled by --cores, and by --disk-rate if it is given. What the run would refuse for want of
    --memory is refused here. Tokenizing is planned for documents of some megabytes at most: a larger one takes its
    worker up to 6 times its size more, so up to 6 times --max-document.
    """
    from taskcatalog.catalog.display import amount, columns, duration

    machine = tc.Machine(cores=cores, memory=memory, disk_rate=parse_size(disk_rate) if disk_rate else None)
    settings = tc.NgramSettings(n=n)
    planned = tc.plan(store, settings, options=_store_options(options), tokens=tokens, machine=machine, model=model)
    rows = [["stage", "time", "memory", "disk while it runs", "disk in the end"]]
    for stage in planned:
        disk = [amount(stage.temporary + stage.final), amount(stage.final)]
        rows.append([stage.stage, duration(stage.seconds), amount(stage.memory), *disk])
    for line in columns(rows, "<>>>>"):
        say(line)


@main.command()
@click.argument("catalog", type=_CATALOG)
@click.option("--out", type=_CATALOG, required=True, metavar="FILE", help="The database to make.")
@_MEMORY
@_REPLACE
@_CONFIG
def duckdb(catalog: Path, out: Path, memory: str | None, force: bool) -> None:
    """Write all tables into one DuckDB file, to be used by itself.

    FILE may not be inside a catalog or a store.

    \b
    taskcatalog duckdb catalog --out catalog.duckdb
    """
    _print_rows(f"{out}: complete", tc.write_duckdb(catalog, out, memory=memory, force=force))


@main.command()
@click.argument("catalog", type=_CATALOG)
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME_OR_PATH",
    help="Hub name or folder; 'pythia' for all eight deduplicated sizes. May be given several times.",
)  # fmt: skip
@click.option("--revisions", metavar="A,B,…", help="Several revisions of each model, as step1000,step64000.")
@_with(_MODEL_OPTIONS)
@_MEMORY
@_FORCE
@_CONFIG
def predict(catalog: Path, models: tuple[str, ...], revisions: str | None, **options: Any) -> None:
    """Ask models for the probability of every completion in a catalog's top tables."""
    series = revisions.split(",") if revisions else ()
    asked = tc.predict(catalog, models, revisions=series, **options)
    _print_rows(f"{catalog}: complete, completions asked of each model", asked)


@main.command()
@click.argument("store")
@click.option("--model", required=True, metavar="NAME_OR_PATH", help="Hub name or folder.")
@click.option("--out", type=_CATALOG, required=True, metavar="CATALOG", help="The catalog to add the table to.")
@click.option("--prompt-length", type=int, default=4, show_default=True, help="Tokens of the short prompt.")
@click.option("--min-probability", type=float, default=0.5, show_default=True, help="p_long must be above this.")
@click.option("--min-divergence", type=float, default=0.5, show_default=True, help="In nats; must be above this.")
@click.option(
    "--divergence", type=click.Choice(["jeffreys", "jsd"]), default="jeffreys", show_default=True,
    help="Which one: half the Jeffreys divergence (column JS) or the Jensen-Shannon divergence (jsd).",
)  # fmt: skip
@click.option(
    "--start",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Scan from the sequence on that this token of the store is in.",
)
@click.option("--max-tokens", type=int, metavar="N", help="Scan sequences with so many tokens. Default: all.")
@click.option("--all-measures", is_flag=True, help="Keep the measures of every prompt, accepted or not, too.")
@click.option("--bos", type=click.Choice(["no", "yes"]), default="no", show_default=True,
              help="Put the model's beginning-of-sequence token in front of every prompt.")  # fmt: skip
@_with(_MODEL_OPTIONS)
@_MEMORY
@_with(_STORE_OPTIONS)
@_FORCE
@_CONFIG
def scan(
    store: str, model: str, out: Path, prompt_length: int, min_probability: float, min_divergence: float,
    divergence: Any, start: int, max_tokens: int | None, all_measures: bool, bos: str, **options: Any,
) -> None:  # fmt: skip
    """Find the short prompts whose meaning changes with one more token in front (first-token deletion)."""
    settings = tc.ScanSettings(
        prompt_length=prompt_length,
        min_probability=min_probability,
        min_divergence=min_divergence,
        divergence=divergence,
        start=start,
        max_tokens=max_tokens,
        all_measures=all_measures,
        bos=bos == "yes",
    )
    store_options = _store_options(options)
    _print_rows(f"{out}: complete", tc.scan(store, model, out, settings, options=store_options, **options))


@main.command()
@click.argument("catalog", type=_CATALOG)
@click.argument("query", type=_TEXT, required=False)
@click.option(
    "--format", "kind", type=click.Choice(["table", "csv", "json", "parquet"]),
    help="Default: as the name of --out ends; on the screen, a table.",
)  # fmt: skip
@click.option("--out", type=_CATALOG, metavar="FILE", help="Write to this file instead of the screen.")
@click.option(
    "--verify",
    is_flag=True,
    help="Compare the files that it reads with their checksums first, also if they are more than 1 GB.",
)  # fmt: skip
@_MEMORY
@_REPLACE
@_CONFIG
def sql(
    catalog: Path, query: str | None, kind: Any, out: Path | None, verify: bool, memory: str | None, force: bool
) -> None:
    """Answer a SELECT over the catalog's tables, by name; without a query, list them.

    The query reads the tables and nothing else: no other file, no setting, nothing of the machine. It is stopped where
    it needs more than --memory, after what can be was sorted on disk (in TMPDIR).

    \b
    taskcatalog sql catalog "SELECT seq, sum_count, frac_max FROM top_bigrams LIMIT 20"
    """
    from taskcatalog.catalog.display import format_of, write_result
    from taskcatalog.runs.outputs import check_result_file
    from taskcatalog.sizes import memory_budget, memory_limited

    kind = kind or format_of(out)
    if out is not None:
        check_result_file(out, force=force)
    with tc.Catalog(catalog, memory=memory, verify=verify) as opened, memory_limited(memory_budget(memory)):
        relation = opened.sql(query) if query else opened.describe()
        write_result(relation, kind, out, force=force)


@main.command()
@click.argument("catalog", type=_CATALOG)
@click.argument("text", type=_TEXT)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many completions to show.")
@_CONFIG
def complete(catalog: Path, text: str, limit: int) -> None:
    """Show what follows TEXT in the corpus: counts, shares, and what the models say."""
    from taskcatalog.catalog.display import columns, visible

    opened = tc.Catalog(catalog)
    found = opened.complete(text, limit)
    dropped = f" (without {visible(opened.text(found.dropped_ids))})" if found.dropped_ids else ""
    say(f"{visible(opened.text(found.prefix_ids))}{dropped}: {found.sum_count:,} occurrences")
    models = [name for name in found.table.column_names if name.startswith("p_")]
    rows = [["rank", "token", "count", "share", *models]]
    for row in found.table.to_pylist():
        asked = ["" if row[name] is None else f"{row[name]:.3f}" for name in models]
        rows.append([str(row["rank"]), visible(row["token"]), f"{row['count']:,}", f"{row['share']:.3f}", *asked])
    for line in columns(rows, "><>>" + ">" * len(models)):
        say(line)


@main.command()
@click.argument("path", type=_TEXT)
@_MEMORY
@_with(_STORE_OPTIONS)
@_CONFIG
def verify(path: str, memory: str | None, **options: Any) -> None:
    """Check a store or a catalog: checksums of all files, and the rules that hold between tables."""
    problems = tc.verify(path, _store_options(options), memory=memory)
    if problems:
        for problem in problems:
            warn(one_line(problem))
        raise TaskcatalogError(f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''} found")
    say(f"{path}: all is well")


def _print_rows(title: str, rows: Mapping[str, int]) -> None:
    from taskcatalog.catalog.display import columns

    say(title)
    for line in columns([[name, f"{count:,}"] for name, count in rows.items()], "<>"):
        say("  " + line)


if __name__ == "__main__":
    main()
