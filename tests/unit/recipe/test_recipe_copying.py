"""A pointer head and a text side that notes what can be copied go together."""

import pytest

from calque.errors import UsageError
from calque.model import ModelConfig
from calque.nn.heads.pointer import PointerHeadConfig
from calque.recipe.copying import check_copying, copies
from calque.recipe.tree import Recipe
from calque.text.pair import TextConfig

POINTER = ModelConfig(head=PointerHeadConfig())


def test_a_pointer_needs_what_it_points_at() -> None:
    check_copying(Recipe(model=POINTER, text=TextConfig(copying=True)))
    with pytest.raises(UsageError, match=r"model\.head: pointer .* text\.copying = false"):
        check_copying(Recipe(model=POINTER))


def test_other_heads_need_nothing() -> None:
    check_copying(Recipe())
    check_copying(Recipe(text=TextConfig(copying=True)))


def test_a_section_says_whether_it_copies() -> None:
    assert copies(POINTER.model_dump())
    assert not copies(ModelConfig().model_dump())
    assert not copies({})
