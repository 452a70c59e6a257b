"""The tasks that calque knows, by name."""

from calque.tasks.graph_to_text import GRAPH_TO_TEXT
from calque.tasks.question_answering import QUESTION_ANSWERING
from calque.tasks.semantic_parsing import SEMANTIC_PARSING
from calque.tasks.summarization import SUMMARIZATION
from calque.tasks.transduction import TRANSDUCTION
from calque.tasks.translation import TRANSLATION

TASKS = {
    task.name: task
    for task in (TRANSLATION, SUMMARIZATION, QUESTION_ANSWERING, TRANSDUCTION, SEMANTIC_PARSING, GRAPH_TO_TEXT)
}
DEFAULT_TASK = TRANSLATION.name
