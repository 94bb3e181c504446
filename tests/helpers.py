"""What several tests need: commands, texts, trees of files, the definitions of the measures."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

import taskcatalog as tc
from taskcatalog.cli import main
from taskcatalog.embedded.standard_library import standard_library_sources
from taskcatalog.stores.store import Store


def tree(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def texts_of(path: Path, limit: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for _, line in zip(range(limit), lines, strict=False)]


def library_texts(limit: int) -> list[str]:
    """Real text that is everywhere: so many source files of Python's standard library."""
    return [path.read_text(encoding="utf-8") for path in standard_library_sources()[:limit]]


def write_jsonl(path: Path, texts: list[str], field: str = "text") -> Path:
    content = "".join(json.dumps({field: text}) + "\n" for text in texts)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content)
    return path


def make_store(sources: Path, tokenizer: Path, out: Path, length: int) -> Store:
    return tc.tokenize(sources, out, str(tokenizer), tc.TokenizeSettings(sequence_length=length)).store


def float64_measures(short: np.ndarray, long: np.ndarray) -> dict[str, np.ndarray]:
    """The definitions, written down plainly."""

    def log_softmax(logits: np.ndarray) -> np.ndarray:
        shifted = logits - logits.max(-1, keepdims=True)
        logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        return logs

    log_s, log_l = log_softmax(short.astype(np.float64)), log_softmax(long.astype(np.float64))
    s, l = np.exp(log_s), np.exp(log_l)  # noqa: E741
    middle = (s + l) / 2
    kl_sl, kl_ls = (s * (log_s - log_l)).sum(-1), (l * (log_l - log_s)).sum(-1)
    kl_sm, kl_lm = (s * (log_s - np.log(middle))).sum(-1), (l * (log_l - np.log(middle))).sum(-1)
    return {
        "JS": (kl_sl + kl_ls) / 2,
        "jsd": (kl_sm + kl_lm) / 2,
        "p_delta_max": np.abs(s - l).max(-1),
        "logit_excite_max": (long.astype(np.float64) - short).max(-1),
        "logit_inhibit_max": (short.astype(np.float64) - long).max(-1),
    }


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def answer(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*arguments: object, exit_code: int = 2) -> str:
    """The one line of a command that is refused or, with exit code 1, of a run that failed."""
    result = invoke(*arguments)
    assert result.exit_code == exit_code, result.output
    [line] = result.stderr.splitlines()
    return line
