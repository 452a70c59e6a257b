"""Questions with contexts and answers, as SQuAD (v1.1 and v2) and bAbI publish them, turned into examples.

Each question becomes a record with `KEYS`, from which the columns of the recipe choose.
"""

import json
import re
from collections.abc import Iterator, Sequence

from calque.config import Json, JsonObject
from calque.data.files.columns import Columns
from calque.data.files.formats import Parsed
from calque.data.files.json_lines import example_of_record
from calque.data.files.lines import DROP, LIMIT, LineError, TextFile
from calque.errors import DataError

# Both names of the answers are in use.
KEYS = ("question", "context", "answer", "answers")
_SQUAD = re.compile(r'\s*\{.*"data"\s*:\s*\[.*"paragraphs"\s*:', re.DOTALL)
_NUMBERED = re.compile(r"(\d+) (.*)")


def is_squad(start: str) -> bool:
    """Return whether a file that starts like this is a JSON document in SQuAD's form."""
    return bool(_SQUAD.match(start))


def is_babi(head: Sequence[str]) -> bool:
    """Return whether the first lines are a story of bAbI: numbered from 1, with a question that has an answer."""
    num_numbered = sum(bool(_NUMBERED.fullmatch(line)) for line in head)
    is_numbered = head[0].startswith("1 ") and 2 * num_numbered > len(head)
    return is_numbered and any(re.search(r"\?\s*\t[^\t]+\t[\d ]*$", line) for line in head)


def read_squad(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield an example for each question of a file in SQuAD's form, numbered from 1.

    The different answers are its targets; a question without an answer has an empty one. A question whose context is
    empty, or whose answer is not in the context where it should be, is an error.
    """
    try:
        document = json.loads(file.whole())
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error}); copy or download the file again", file.name) from None
    articles = document.get("data") if isinstance(document, dict) else None
    number = 0
    for context, questions in _paragraphs(articles, file.name):
        for question in questions:
            number += 1
            record = _squad_record(context, question)
            if isinstance(record, str):
                yield DataError(f"question {number:,}{_id_of(question)}: {record}{DROP}", file.name, number)
            else:
                yield example_of_record(record, columns, file.name, number)


def _paragraphs(articles: Json, name: str) -> Iterator[tuple[Json, list[Json]]]:
    """Yield the context and the questions of each paragraph."""
    for article in articles if isinstance(articles, list) else [None]:
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            raise DataError('the items of "data" must have a list "paragraphs", as in SQuAD', name)
        for paragraph in paragraphs:
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(questions, list) or not isinstance(paragraph, dict):
                raise DataError('each paragraph must have a "context" and a list "qas", as in SQuAD', name)
            yield paragraph.get("context"), questions


def _squad_record(context: Json, question: Json) -> "JsonObject | str":
    """Return the record of a question, or its problem."""
    if not isinstance(context, str) or not context.strip():
        return "its context is empty; remove the paragraph"
    if not isinstance(question, dict) or not isinstance(question.get("question"), str):
        return 'there is no text "question"'
    answers = question.get("answers")
    if not isinstance(answers, list):
        return 'there is no list "answers"'
    if not answers and not question.get("is_impossible"):
        return 'there is no answer, and "is_impossible" is not true'
    texts: list[Json] = []
    for answer in answers:
        text = answer.get("text") if isinstance(answer, dict) else None
        if not isinstance(text, str) or not isinstance(answer, dict):
            return 'an answer has no "text"'
        problem = _misplaced(text, answer.get("answer_start"), context)
        if problem:
            return problem
        if text not in texts:
            texts.append(text)
    return _record(question["question"], context, texts or [""])


def _record(question: str, context: str, answers: list[Json]) -> JsonObject:
    return dict(zip(KEYS, (question, context, answers, answers), strict=True))


def _misplaced(answer: str, start: Json, context: str) -> str:
    """Return the problem with the place of an answer, or nothing; a negative start means that it is unknown."""
    if answer not in context:
        return f'the answer "{answer[:40]}" is not in its context; correct one of the two'
    if isinstance(start, int) and start >= 0 and not context.startswith(answer, start):
        return (
            f'"answer_start" is {start}, but the context has "{answer[:40]}" at {context.find(answer)}; correct it,'
            " or set it to -1"
        )
    return ""


def _id_of(question: Json) -> str:
    return f" (id {str(question['id'])[:40]})" if isinstance(question, dict) and "id" in question else ""


def read_babi(file: TextFile, columns: Columns, limit: int = LIMIT) -> Parsed:
    """Yield an example for each question of a file of bAbI; its context are all sentences of the story before it."""
    story: list[str] = []
    for number, line in enumerate(file.lines(limit), start=1):
        if isinstance(line, LineError):
            yield line
            continue
        row = _NUMBERED.fullmatch(line)
        if row is None:
            if line.strip():
                yield DataError(
                    f"a line of a story must begin with its number and a space; fix it{DROP}", file.name, number
                )
            continue
        if row[1] == "1":
            story = []
        sentence, *answer = row[2].split("\t")
        if not answer:
            story.append(sentence.strip())
            continue
        record = _record(sentence.strip(), " ".join(story), [answer[0].strip()])
        yield example_of_record(record, columns, file.name, number)
