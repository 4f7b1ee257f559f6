import pytest

from yolov1 import data
from yolov1.option_text import parse_options


def test_an_option_that_is_there_twice_is_refused():
    """Of two values one would be lost."""
    with pytest.raises(ValueError, match="'width' is there twice in 'width=1,depth=2, width=3'"):
        parse_options("width=1,depth=2, width=3")
    with pytest.raises(ValueError, match="'count' is there twice"):
        data.open("shapes:count=5,count=6")
