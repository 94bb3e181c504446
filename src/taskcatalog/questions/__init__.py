"""Named questions to a catalog, which the demo, the command line and the documentation share."""

from taskcatalog.questions.ask import ask
from taskcatalog.questions.declare import Parameter, Question
from taskcatalog.questions.known import QUESTIONS

__all__ = ["QUESTIONS", "Parameter", "Question", "ask"]
