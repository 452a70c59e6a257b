"""Scripts and languages are guessed where they are plain, and not where they are not."""

import itertools
from collections import Counter

import pytest

from calque.text.scripts import count_characters, dominant_script, guess_languages, is_unspaced

SAMPLES = {
    "Latin": "The quick brown fox, être ou ne pas être",
    "Han": "敏捷的棕色狐狸跳过了懒狗。",
    "Japanese": "素早い茶色の狐がのろまな犬を飛び越える",
    "Hangul": "빠른 갈색 여우가 게으른 개를 뛰어넘는다",
    "Cyrillic": "Быстрая лиса прыгает",
    "Greek": "Η γρήγορη αλεπού",
    "Arabic": "الثعلب البني السريع",
    "Hebrew": "השועל החום המהיר",
    "Thai": "สุนัขจิ้งจอกสีน้ำตาล",
    "Devanagari": "तेज़ भूरी लोमड़ी",
    "Khmer": "កញ្ជ្រោង",
    "Lao": "ໝາຈອກ",
    "Myanmar": "မြေခွေး",
    "Tamil": "விரைவான நரி",
    "Georgian": "სწრაფი მელა",
}


@pytest.mark.parametrize("script", SAMPLES)
def test_each_script_is_known(script: str) -> None:
    text = SAMPLES[script]
    assert dominant_script([text]) == script
    assert dominant_script(["12, 34!", text, "🙂 (2024)"]) == script
    assert is_unspaced(script) == (script in {"Han", "Japanese", "Thai", "Lao", "Khmer", "Myanmar"})


def test_katakana_and_half_width_forms_are_japanese() -> None:
    assert dominant_script(["テレビ"]) == dominant_script(["ﾃﾚﾋﾞ"]) == "Japanese"
    assert dominant_script(["Ｌａｔｉｎ"]) == "Latin"


def test_the_larger_part_decides() -> None:
    assert dominant_script(["我在 example 上看到了这个很有意思的网站"]) == "Han"
    assert dominant_script([SAMPLES["Latin"] * 3, "狗"]) == "Latin"
    assert dominant_script(["这是鲁迅の作品，写于一九二一年的冬天，后来收入了他的小说集"]) == "Han"


def test_nothing_to_go_by() -> None:
    assert dominant_script([]) == dominant_script(["", "12 + 3 = 15 🙂"]) == "Unknown"
    assert not is_unspaced("Unknown")


def test_an_endless_stream_is_read_only_so_far() -> None:
    assert dominant_script(itertools.repeat("endless")) == "Latin"


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("en-zh.tsv", ("en", "zh")),
        ("train.en-de.tsv", ("en", "de")),
        ("/data/opus/europarl-v7.de-en.tsv.gz", ("de", "en")),
        ("en_fr.jsonl", ("en", "fr")),
        ("EN-JA.tsv", ("en", "ja")),
        ("eng-deu.tsv", ("en", "de")),
        ("cmn-eng.tsv", ("zh", "en")),
        ("my-data.tsv", None),
        ("data-en.tsv", None),
        ("to-do.tsv", None),
        ("pt-br.tsv", None),
        ("en-us.tsv", None),
        ("en-en.tsv", None),
        ("pairs.tsv", None),
        ("en-de-notes.tsv", None),
        ("train.en", None),
        ("en-zh/pairs.tsv", None),
        ("seventeen-zh.tsv", None),
        ("", None),
    ],
)
def test_languages_from_a_file_name(name: str, languages: tuple[str, str] | None) -> None:
    assert guess_languages(name) == languages


def test_characters_are_counted_as_a_counter_counts_them() -> None:
    texts = [*SAMPLES.values(), "", "🙂🙂", "\0a\ud800", *["again"] * 2_500]
    assert count_characters(iter(texts)) == Counter("".join(texts))
    assert count_characters([]) == Counter()
