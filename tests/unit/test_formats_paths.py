"""JSON paths: what they find, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath import JSONPathEnvironment

from sidecar.formats import path_of, steps_of

TREE = {"a": {"b": [1, {"c": "x"}], "d e": None}, "n": False}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [TREE]),
        ("$.n", [False]),
        ("$.a.b[0]", [1]),
        ("$.a.b[-1].c", ["x"]),
        ("$.a['d e']", [None]),
        ("$.a.b[2]", []),
        ("$.a.b[-3]", []),
        ("$.a.b.c", []),
        ("$.n[0]", []),
        ("$.n.x", []),
        ("$.a.b[*]", [1, {"c": "x"}]),
        ("$..c", ["x"]),
    ],
)
def test_a_path_finds(path, found):
    assert path_of(path)(TREE) == found


@pytest.mark.parametrize("path", ["", "a.b", "$.", "$[", "$.a | $.b", "$.a b", " $.a"])
def test_what_is_no_path_is_refused_with_an_example(path):
    with pytest.raises(ValueError, match=r"expected a JSON path.*\$\.address\.city"):
        path_of(path)


def test_only_plain_paths_have_steps():
    assert steps_of("$.a['b c'][-1]") == ("a", "b c", -1)
    assert steps_of("$..a") is None
    assert steps_of("$") == ()


_leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=2)
_trees = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
)


@given(_trees, st.lists(st.sampled_from(["a", "b", 0, 1, -1, -2]), max_size=3))
def test_a_plain_path_finds_what_the_library_finds(tree, steps):
    text = "$" + "".join(f"[{step!r}]" for step in steps)
    assert path_of(text)(tree) == JSONPathEnvironment(strict=True).compile(text).findall(tree)
