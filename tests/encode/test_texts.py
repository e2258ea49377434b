"""The texts of events stay where Polars has written them, whatever happened to the column."""

from __future__ import annotations

import polars as pl
import pytest

from mixpanel_sink.encode.columnar.texts import Texts


def lines(count: int) -> list[str]:
    """Of different lengths, in all several of Polars' buffers."""
    return [f'\n,{{"event":"é {"x" * (n % 300)}","n":{n}}}' for n in range(count)]


def column(texts: list[str]) -> pl.Series:
    """As the encoder makes it: put together by Polars."""
    frame = pl.DataFrame({"a": [text[:5] for text in texts], "b": [text[5:] for text in texts]})
    return frame.select(pl.concat_str("a", "b").alias("text")).to_series()


def whole(texts: Texts) -> bytes:
    return b"".join(texts.lines(0, len(texts)))


def test_no_text_is_copied_into_one_buffer() -> None:
    expected = lines(5000)
    texts = Texts.of(column(expected))
    assert len(texts) == 5000
    assert 1 < len(texts.pieces) < 30
    assert whole(texts) == "".join(expected).encode()
    assert texts.events() == [line[2:].encode() for line in expected]


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 2000), (1999, 4000), (4999, 5000), (7, 7)])
def test_a_part_is_the_events_from_one_up_to_another(start: int, stop: int) -> None:
    expected = lines(5000)
    texts = Texts.of(column(expected))
    assert texts.events(start, stop) == [line[2:].encode() for line in expected[start:stop]]
    size = sum(map(len, texts.lines(start, stop)))
    assert size == texts.offsets[stop] - texts.offsets[start]


def test_rows_that_were_left_out_or_moved_are_no_gap() -> None:
    expected, values = lines(5000), column(lines(5000))
    few = [n for n in range(5000) if n % 1000]
    every_other = list(range(0, 5000, 2))
    backwards = list(range(4999, -1, -1))
    for rows, most in ((few, 40), (every_other, 1), (backwards, 1)):
        texts = Texts.of(values.gather(rows))
        assert texts.events() == [expected[n][2:].encode() for n in rows]
        assert len(texts.pieces) <= most
    for part in (values.slice(100, 50), pl.concat([values.slice(3, 4), values.slice(900, 9)])):
        assert "".join(part.to_list()).encode() == whole(Texts.of(part))


def test_short_texts_and_none() -> None:
    assert whole(Texts.of(pl.Series(["\n,{}", "\n,[1234567890]"]))) == b"\n,{}\n,[1234567890]"
    empty = Texts.of(pl.Series([], dtype=pl.String))
    assert (len(empty), empty.lines(0, 0), empty.events()) == (0, [], [])
