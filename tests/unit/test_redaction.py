import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.redaction import one_line, redact

SECRET = "hunter2"
URL_SAFE = st.text(
    st.characters(whitelist_categories=["Lu", "Ll", "Nd"], whitelist_characters="-._~!$%^*+=?#"),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize(
    ("shown", "safe"),
    [
        ("postgresql://ada:hunter2@db:5432/shop", "postgresql://ada:***@db:5432/shop"),
        ("postgresql+psycopg://ada:hunter2@db/shop", "postgresql+psycopg://ada:***@db/shop"),
        ("redis://:hunter2@cache", "redis://:***@cache"),
        ("(postgresql://ada:hunter2@db/shop)", "(postgresql://ada:***@db/shop)"),
        ("a://b:hunter2@c and d://e:hunter2@f", "a://b:***@c and d://e:***@f"),
        ("postgresql://ada:hun@ter2@db/shop", "postgresql://ada:***@db/shop"),
        ("password=hunter2", "password=***"),
        ("host=db password=hunter2 port=1", "host=db password=*** port=1"),
        ("db://h?password=hunter2&ssl=1", "db://h?password=***&ssl=1"),
        ("PASSWORD=hunter2", "PASSWORD=***"),
        ("DB_PASSWORD=hunter2", "DB_PASSWORD=***"),
        ("passwd: hunter2", "passwd: ***"),
        ("api_token=hunter2; secret=hunter2; pwd=hunter2", "api_token=***; secret=***; pwd=***"),
    ],
)
def test_a_password_is_hidden_and_the_rest_stays(shown, safe):
    assert redact(shown) == safe


@given(user=URL_SAFE, password=URL_SAFE)
def test_no_password_of_a_url_is_shown_whatever_it_is_made_of(user, password):
    assert redact(f"postgresql://{user}:{password}@db/shop") == f"postgresql://{user}:***@db/shop"


def test_a_password_with_a_slash_that_sqlalchemy_takes_is_hidden_too():
    assert SECRET not in redact("postgresql://ada:/hunter2@db/shop")


@pytest.mark.parametrize("shown", ["connect(password='hunter2')", 'password="hunter2"'])
def test_a_quoted_password_is_hidden_too(shown):
    assert SECRET not in redact(shown)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no secrets here",
        "sqlite:///file.db",
        "postgresql://ada@db/shop",
        "http://localhost:8080/path",
        "see https://example.com/a:b and mail ada@example.com",
        "the password was refused",
        "tokens=12",
        "12:30@noon",
    ],
)
def test_text_without_a_password_stays_as_it_is(text):
    assert redact(text) == text


@given(st.text())
def test_redacting_twice_changes_nothing_more(text):
    once = redact(text)
    assert redact(once) == once


@pytest.mark.timeout(5)  # no promise of speed: it takes an hour where time grows with the square
@pytest.mark.parametrize("letters", ["a", "a_"])
def test_a_long_word_does_not_hold_up_the_run(letters):
    blob = letters * 500_000  # a row's binary column, as a driver's error may quote it
    assert redact(blob) == blob


def test_one_line_hides_passwords():
    assert one_line("no\nroute to a://b:hunter2@c") == "no route to a://b:***@c"


@given(st.text())
def test_one_line_is_one_short_printable_line(text):
    line = one_line(text)
    assert len(line) <= 300
    assert line.isprintable()
    assert line == line.strip()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
def test_a_word_of_plain_letters_is_shown_as_it_is(word):
    assert one_line(f"  {word}\t{word}\r\n") == redact(f"{word} {word}".strip())


def test_control_characters_are_shown_escaped():
    assert one_line("\x1b[31mred\x07") == "\\x1b[31mred\\x07"


def test_a_long_text_is_cut_and_says_so():
    assert one_line("x" * 300) == "x" * 300
    assert one_line("x" * 301) == "x" * 299 + "…"
