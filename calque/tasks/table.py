"""The tasks that calque knows, by name."""

from calque.tasks.transduction import TRANSDUCTION
from calque.tasks.translation import TRANSLATION

TASKS = {task.name: task for task in (TRANSLATION, TRANSDUCTION)}
DEFAULT_TASK = TRANSLATION.name
