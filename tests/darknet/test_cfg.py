"""cfg files: read as Darknet reads them, reported where that is not what it looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared import SHARED
from yolov1.darknet.cfg import Cfg, Section, as_integer, as_number, parse_cfg, read_cfg
from yolov1.darknet.errors import DarknetError

NET = "[net]\nheight=8\nwidth=8\nchannels=3\n"


def read(lines, section="[convolutional]"):
    """The section that stands behind a [net], and the remarks on it."""
    cfg = parse_cfg(f"{NET}{section}\n{lines}\n")
    return cfg.sections[1], " | ".join(cfg.remarks)


@pytest.mark.parametrize("path", sorted((SHARED / "golden/darknet_full/cfg").glob("*.cfg")))
def test_a_file_of_the_family_comes_back(path):
    cfg = read_cfg(path)
    assert cfg.text().encode() == path.read_bytes()
    rewritten = Cfg(cfg.sections).text()
    assert parse_cfg(rewritten) == cfg
    assert "#" not in rewritten
    ignored = [r for r in cfg.remarks if "seen=0 is a key Darknet ignores" not in r]
    assert ignored == []  # every other key of all history is known


@pytest.mark.parametrize(
    ("text", "integer", "number"),
    [
        ("4", 4, 4.0),
        ("4#four", 4, 4.0),
        ("4.9", 4, 4.9),
        ("3;x", 3, 3.0),
        ("four", 0, 0.0),
        ("", 0, 0.0),
        ("-2", -2, -2.0),
        ("+.5e1x", 0, 5.0),
        (".1", 0, 0.1),
        ("5.", 5, 5.0),
        ("1e", 1, 1.0),
        ("0x10", 0, 16.0),
        ("-inf", 0, float("-inf")),
        ("4294967297", 1, 4294967297.0),
        ("9" * 30, -1, 1e30),
        ("9" * 5000, -1, float("inf")),
        ("٣", 0, 0.0),
        ("1_0", 1, 1.0),
    ],
)
def test_numbers_are_what_c_makes_of_them(text, integer, number):
    assert as_integer(text) == integer
    assert as_number(text) == pytest.approx(number)


@pytest.mark.parametrize(
    ("lines", "key", "default", "value", "remark"),
    [
        ("filters=4", "filters", 1, 4, None),
        ("fil ters = 4", "filters", 1, 4, "line 6: 'fil ters' is read as 'filters'"),
        ("filters=4 # four", "filters", 1, 4, "a comment needs a line of its own"),
        ("filters=4.9", "filters", 1, 4, "filters=4.9 is read as filters=4"),
        ("filters=4\nfilters=5", "filters", 1, 4, "line 7: [convolutional] filters=5 is not used"),
        ("filters", "filters", 1, 1, "'filters' has no '=': filters stands without a value"),
        ("filters\nfilters=5", "filters", 1, 1, "filters=5 is not used: filters in line 6"),
        ("filters=", "filters", 1, 1, "filters= has no value and is left out"),
        ("filters=\nfilters=5", "filters", 1, 5, "line 6: filters= has no value"),
        ("activation=leaky", "activation", "logistic", "leaky", None),
        ("activation=leaky # c", "activation", "logistic", "relu", "leaky#c is read as activ"),
        ("activation=Leaky", "activation", "logistic", "relu", "is read as activation=relu"),
        ("size=3", "activation", "logistic", "logistic", None),
        ("filter=3", "filters", 1, 1, "ignores (was filters meant?)"),
        ("Filters=3", "filters", 1, 1, "ignores (was filters meant?)"),
        ("; filters=3\n# filters=4\n\t filters=5", "filters", 1, 5, None),
        ("learning_rate=.5", "learning_rate", 1.0, 0.5, None),
    ],
)
def test_a_line_is_read_as_darknet_reads_it(lines, key, default, value, remark):
    section, remarks = read(lines)
    got = section.get(key, default)
    assert got == value
    assert type(got) is type(default)
    assert remarks == "" if remark is None else remark in remarks


def test_an_unknown_policy_is_constant():
    cfg = parse_cfg("[net]\npolicy=step s2\n")
    assert cfg.net.get("policy", "constant") == "constant"
    assert "is read as policy=constant" in cfg.remarks[-1]


def test_keys_of_the_old_detection_layer_beside_those_of_today():
    text = "[net]\n[detection]\njoint=1\n"
    assert parse_cfg(text).remarks == ()  # the plan refuses it by this key
    assert (
        "line 3: [detection] joint=1 is a key Darknet ignores" in parse_cfg(text + "num=2").remarks
    )


def test_lists_have_spaces_and_gaps():
    cfg = parse_cfg("[net]\nsteps=50, 5000 ,,7\nscales=.1,.2\n")
    assert cfg.net.ints("steps") == (50, 5000, 0, 7)
    assert cfg.net.floats("scales") == (0.1, 0.2)
    assert cfg.net.floats("absent") == ()
    assert any("steps=50,5000,,7 is read as steps=50,5000,0,7" in r for r in cfg.remarks)


def test_lists_longer_than_their_steps_are_reported():
    (remark,) = parse_cfg("[net]\nsteps=1\nscales=.1,.2\n").remarks
    assert remark == "line 3: [net] scales=.1,.2 has 2 values, of which the first 1 count"


def test_a_batch_that_is_not_divided():
    (remark,) = parse_cfg("[net]\nbatch=10\nsubdivisions=4\n").remarks
    assert "2 images are taken 4 times, 8 an update" in remark


def test_names_of_sections():
    cfg = parse_cfg("[network]\n[conv]\n[conn]\n[max]\n[avg]\n[soft]\n[Conv]\n[ conv ] # x\n")
    names = "net convolutional connected maxpool avgpool softmax Conv [conv]#x".split()
    assert [section.name for section in cfg.sections] == names
    assert parse_cfg(Cfg(cfg.sections).text()) == cfg
    assert "[conv]#x\n" in Cfg(cfg.sections).text()


def test_cr_lf_is_read_and_reported():
    cfg = parse_cfg(NET.replace("\n", "\r\n"))
    assert cfg == parse_cfg(NET)
    assert cfg.text() == NET.replace("\n", "\r\n")
    assert "CR LF" in cfg.remarks[0]


def test_a_file_in_another_encoding(tmp_path):
    path = tmp_path / "a.cfg"
    path.write_bytes(b"# 80\xb0\n" + NET.encode())
    cfg = read_cfg(path)
    assert cfg == parse_cfg(NET)
    assert "Latin-1" in cfg.remarks[0]
    path.write_bytes(NET.encode("utf-8-sig"))
    assert read_cfg(path) == parse_cfg(NET)
    assert "byte order mark" in read_cfg(path).remarks[0]
    path.write_bytes(NET.encode("utf-16"))
    with pytest.raises(DarknetError, match="is no cfg: .*not text in UTF-8"):
        read_cfg(path)


def test_a_key_before_the_first_section():
    with pytest.raises(DarknetError, match=r"mine.cfg: line 2: 'batch=1' stands before the first"):
        parse_cfg("# x\nbatch=1\n[net]\n", "mine.cfg")


@pytest.mark.parametrize("text", ["", "# nothing\n", "[convolutional]\n[net]\n", "[Net]\n"])
def test_net_comes_first(text):
    with pytest.raises(DarknetError, match=r"first section of a Darknet network must be \[net\]"):
        parse_cfg(text).net  # noqa: B018 (the property raises)


def test_where_a_key_stands():
    section, _ = read("filters=4\nsize=3")
    assert section.at() == "line 5: [convolutional]"
    assert section.at("size") == "line 7: [convolutional] size=3"
    assert section.at("pad") == "line 5: [convolutional] pad"
    assert Section("net", (("batch", "1"),)).at("batch") == "[net] batch=1"


keys = st.text("abz_0.", min_size=1, max_size=6)
options = st.tuples(keys, st.none() | st.text("abz_=#;[]0.,-", min_size=1, max_size=6))
names = st.sampled_from(["net", "convolutional", "yolo", "[what]#ever"])
made = st.lists(st.builds(Section, names, st.lists(options, max_size=5).map(tuple)), max_size=4)


@given(made.map(tuple))
def test_what_is_written_is_read(sections):
    assert parse_cfg(Cfg(sections).text()) == Cfg(sections)


@given(st.text("[]net#;= \t\r\nab0", max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        cfg = parse_cfg(text)
    except DarknetError:
        return
    assert cfg.text() == text
    assert parse_cfg(Cfg(cfg.sections).text()) == cfg
