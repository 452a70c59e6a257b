"""The tasks that calque knows, by name."""

from calque.tasks.question_answering import QUESTION_ANSWERING
from calque.tasks.summarization import SUMMARIZATION
from calque.tasks.transduction import TRANSDUCTION
from calque.tasks.translation import TRANSLATION

TASKS = {task.name: task for task in (TRANSLATION, SUMMARIZATION, QUESTION_ANSWERING, TRANSDUCTION)}
DEFAULT_TASK = TRANSLATION.name
