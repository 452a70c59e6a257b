"""Promises of the shared page: well-formed, closed to the outside, nothing of the text becomes markup."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from calque.report.page import STYLE, document, escape, facts_table, printable, section, table

ATTACK = "<script>alert('x')</script>\"&\x1b[31m\ud800\x00\ufffe"


def parse(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page)


def test_every_text_of_the_skeleton_is_escaped_and_the_page_is_well_formed() -> None:
    body = section(ATTACK, table([ATTACK], [[ATTACK]]) + facts_table([(ATTACK, ATTACK)]))
    page = document(ATTACK, ATTACK, body)
    root = parse(page)
    assert "<script" not in page
    texts = [element.text for element in root.iter() if element.text and "alert" in element.text]
    assert texts == [printable(ATTACK)] * 8  # title, h1, lead, h2, th, td, th, td
    page.encode()


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = document("title", "lead", "<p>body</p>")
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"\b(src|href)=|@import|url\(", page)
    assert "default-src 'none'" in parse(page).find("head/meta[@http-equiv]").get("content")  # type: ignore[union-attr]


def test_the_style_follows_the_setting_of_the_reader() -> None:
    light, dark = STYLE.split("prefers-color-scheme: dark")
    names = set(re.findall(r"(--[a-z]+):", light))
    assert names >= {"--paper", "--ink"}
    assert names <= set(re.findall(r"(--[a-z]+):", dark)), "a colour has no dark form"


@pytest.mark.parametrize("text", ["狗跑。", "café", "a\u200db", "नमस्ते", "שלום", "🙂", "a b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("character", [chr(code) for code in [*range(32), 0x7F, 0x85, 0x9B, 0x2028, 0xD800, 0xFFFF]])
def test_no_control_character_survives(character: str) -> None:
    shown = printable(f"a{character}b")
    assert len(shown) == 3
    assert shown[1] in " �"
    parse(f'<a title="{escape(character)}">{escape(character)}</a>')
