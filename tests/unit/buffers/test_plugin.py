"""`module:name` to objects."""

import pytest

from buffers.errors import UsageError
from buffers.plugin import load


def test_a_name_is_loaded_with_its_attributes():
    assert load("collections:OrderedDict.fromkeys")("a") == {"a": None}


@pytest.mark.parametrize(
    "name", ["", "collections", ":OrderedDict", "collections:", "collections:Nothing", "no_such.module:x"]
)
def test_a_wrong_name_is_named_in_one_line(name):
    with pytest.raises(UsageError, match=r"write module:name|no .*check the spelling") as error:
        load(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def x(:", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_does_not_import_is_not_called_missing(source, said, tmp_path, monkeypatch):
    (tmp_path / "halfway.py").write_text(f"{source}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="halfway cannot be imported") as error:
        load("halfway:x")
    assert said in str(error.value)
