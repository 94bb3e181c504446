"""taskcatalog: a searchable catalog of the simple tasks that a language model can do.

The functions here are the commands: ``tokenize`` a corpus, ``convert`` a store to another kind, count its
``ngrams``, ``predict`` their completions with a model, ``scan`` for prompts whose meaning changes with one more
token, open the ``Catalog`` and ``ask`` it one of the ``QUESTIONS``, ``find`` where a prompt occurs, ``count_prompts``
of a list, ``verify`` what was made. Each is imported when it is first used; only ``predict`` and ``scan`` need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskcatalog.version import __version__

if TYPE_CHECKING:
    from taskcatalog.catalog.catalog import Catalog, Completions
    from taskcatalog.catalog.export import write_duckdb
    from taskcatalog.converting.stage import ConvertResult, ConvertSettings, convert
    from taskcatalog.counting.find import Found, count_prompt_file, count_prompts, find
    from taskcatalog.counting.stage import NgramSettings, NgramsResult, ngrams
    from taskcatalog.embedded.pipeline import demo
    from taskcatalog.errors import ConflictError, InputError, SettingsError, TaskcatalogError
    from taskcatalog.planning import Machine, StagePlan, plan
    from taskcatalog.questions.ask import ask
    from taskcatalog.questions.known import QUESTIONS
    from taskcatalog.stores.open_store import StoreOptions, open_store
    from taskcatalog.stores.store import OpenedStore as Store
    from taskcatalog.tasks.predict import PredictResult, predict
    from taskcatalog.tasks.predict_prompts import predict_prompts
    from taskcatalog.tasks.scan import ScanResult, ScanSettings, scan
    from taskcatalog.tokenizing.stage import TokenizeResult, TokenizeSettings, tokenize
    from taskcatalog.verification import verify

_HOMES = {
    "Catalog": "catalog.catalog:Catalog",
    "Completions": "catalog.catalog:Completions",
    "ConflictError": "errors:ConflictError",
    "ConvertResult": "converting.stage:ConvertResult",
    "ConvertSettings": "converting.stage:ConvertSettings",
    "Found": "counting.find:Found",
    "InputError": "errors:InputError",
    "Machine": "planning:Machine",
    "NgramSettings": "counting.stage:NgramSettings",
    "NgramsResult": "counting.stage:NgramsResult",
    "PredictResult": "tasks.predict:PredictResult",
    "QUESTIONS": "questions.known:QUESTIONS",
    "ScanResult": "tasks.scan:ScanResult",
    "ScanSettings": "tasks.scan:ScanSettings",
    "SettingsError": "errors:SettingsError",
    "StagePlan": "planning:StagePlan",
    "Store": "stores.store:OpenedStore",
    "StoreOptions": "stores.open_store:StoreOptions",
    "TaskcatalogError": "errors:TaskcatalogError",
    "TokenizeResult": "tokenizing.stage:TokenizeResult",
    "TokenizeSettings": "tokenizing.stage:TokenizeSettings",
    "ask": "questions.ask:ask",
    "convert": "converting.stage:convert",
    "count_prompt_file": "counting.find:count_prompt_file",
    "count_prompts": "counting.find:count_prompts",
    "demo": "embedded.pipeline:demo",
    "find": "counting.find:find",
    "ngrams": "counting.stage:ngrams",
    "open_store": "stores.open_store:open_store",
    "plan": "planning:plan",
    "predict": "tasks.predict:predict",
    "predict_prompts": "tasks.predict_prompts:predict_prompts",
    "scan": "tasks.scan:scan",
    "tokenize": "tokenizing.stage:tokenize",
    "verify": "verification:verify",
    "write_duckdb": "catalog.export:write_duckdb",
}

__all__ = [
    "QUESTIONS",
    "Catalog",
    "Completions",
    "ConflictError",
    "ConvertResult",
    "ConvertSettings",
    "Found",
    "InputError",
    "Machine",
    "NgramSettings",
    "NgramsResult",
    "PredictResult",
    "ScanResult",
    "ScanSettings",
    "SettingsError",
    "StagePlan",
    "Store",
    "StoreOptions",
    "TaskcatalogError",
    "TokenizeResult",
    "TokenizeSettings",
    "__version__",
    "ask",
    "convert",
    "count_prompt_file",
    "count_prompts",
    "demo",
    "find",
    "ngrams",
    "open_store",
    "plan",
    "predict",
    "predict_prompts",
    "scan",
    "tokenize",
    "verify",
    "write_duckdb",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'taskcatalog' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"taskcatalog.{module}"), attribute)


def __dir__() -> list[str]:
    return __all__
