"""`module:name` to objects."""

import pytest

from actors.kernel.loading import load
from buffers.errors import UsageError


def test_a_name_is_loaded_with_its_attributes():
    assert load("collections:OrderedDict.fromkeys")("a") == {"a": None}


@pytest.mark.parametrize(
    "name", ["", "collections", ":OrderedDict", "collections:", "collections:Nothing", "no_such.module:x"]
)
def test_a_wrong_name_is_named_in_one_line(name):
    with pytest.raises(UsageError, match=r"write module:name|no .*check the spelling") as error:
        load(name)
    assert "\n" not in str(error.value)


def test_a_module_that_lacks_something_else_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "halfway.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        load("halfway:x")
