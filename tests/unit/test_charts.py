"""Charts out of characters: heights, inks, axes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workermanager.cli.charts import Column, compact, draw_bar, draw_columns, frame, round_up

SIZES = st.floats(0, 1e9, allow_nan=False)


def text_of(lines):
    return ["".join(text for text, _ in line) for line in lines]


def test_a_column_is_as_high_as_its_value_in_eighths_of_a_line():
    columns = [Column(solid) for solid in (0, 1, 4, 8, 12, 16)]
    assert text_of(draw_columns(columns, rows=2, top=16)) == ["    ▄█", " ▁▄███"]


def test_what_is_not_zero_is_seen():
    assert text_of(draw_columns([Column(0.001)], rows=3, top=1_000)) == [" ", " ", "▁"]


def test_what_is_beyond_the_top_ends_there():
    assert text_of(draw_columns([Column(99)], rows=2, top=10)) == ["█", "█"]


def test_a_chart_of_nothing_is_empty():
    assert text_of(draw_columns([], rows=2, top=1)) == ["", ""]
    assert text_of(draw_columns([Column(0), Column(0)], rows=2, top=0)) == ["  ", "  "]


def test_a_column_can_be_thick():
    assert text_of(draw_columns([Column(8), Column(4)], rows=1, top=8, thick=3)) == ["███▄▄▄"]


def test_the_light_part_stands_on_the_solid_one():
    (upper, middle, lower) = draw_columns([Column(12, light=20)], rows=3, top=24)
    assert upper == [("▄", "light")]
    assert middle == [("▄", "both")]
    assert lower == [("█", "solid")]


def test_without_colours_the_light_part_is_a_shade():
    assert text_of(draw_columns([Column(12, light=20)], rows=3, top=24, is_shaded=True)) == [
        "░",
        "▄",
        "█",
    ]


def test_the_plan_is_marked_where_the_column_stays_well_below_it():
    columns = [Column(8, mark=24), Column(24, mark=24), Column(23, mark=24), Column(24, mark=8)]
    assert text_of(draw_columns(columns, rows=3, top=24)) == ["─█▇█", " ███", "████"]
    assert ("─", "mark") in draw_columns(columns, rows=3, top=24)[0]


@given(st.lists(st.builds(Column, SIZES, SIZES, SIZES), max_size=40), st.integers(1, 6), SIZES)
def test_every_line_is_as_wide_as_there_are_columns(columns, rows, top):
    for is_shaded in (False, True):
        drawn = text_of(draw_columns(columns, rows=rows, top=top, is_shaded=is_shaded))
        assert [len(line) for line in drawn] == [len(columns)] * rows


@given(st.floats(1e-9, 1e9, allow_nan=False), st.floats(1e-9, 1e9, allow_nan=False))
def test_a_larger_value_is_never_lower(one, other):
    small, large = sorted((one, other))
    heights = [
        sum(" ▁▂▃▄▅▆▇█".index(line) for line in text_of(draw_columns([column], rows=4, top=large)))
        for column in (Column(small), Column(large))
    ]
    assert 1 <= heights[0] <= heights[1] == 32


def test_a_frame_has_its_top_and_its_zero():
    drawn = draw_columns([Column(16)], rows=2, top=16)
    assert text_of(frame(drawn, "16ms", "last 1s", 10)) == [
        "16ms ┤█",
        "     │█",
        "   0 └── last 1s",
    ]


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        (0, "────"),
        (0.125, "╸───"),
        (0.25, "━───"),
        (0.5, "━━──"),
        (0.99, "━━━╸"),
        (1, "━━━━"),
        (7, "━━━━"),
        (-1, "────"),
    ],
)
def test_a_bar_is_filled_by_halves_of_characters_and_full_only_at_the_end(share, bar):
    assert "".join(draw_bar(share, 4)) == bar


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0, 1), (0.21, 0.25), (0.3, 0.3), (1, 1), (1.01, 1.5), (9.9, 10), (10, 10), (243, 250)],
)
def test_a_scale_ends_at_a_number_that_reads_well(value, rounded):
    assert round_up(value) == rounded


@given(st.floats(1e-9, 1e12, allow_nan=False))
def test_a_scale_holds_its_value_and_wastes_at_most_half_of_its_height(value):
    assert value <= round_up(value) <= value * 1.5 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.051, "0.051"),
        (2.34, "2.3"),
        (50.1, "50"),
        (999.4, "999"),
        (999.9, "1k"),
        (1_500, "1.5k"),
        (50_000, "50k"),
        (2e6, "2M"),
        (3e9, "3G"),
    ],
)
def test_numbers_are_short_on_an_axis(number, text):
    assert compact(number) == text
