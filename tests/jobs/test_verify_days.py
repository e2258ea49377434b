"""Days, zones and wrong settings of the verification."""

from __future__ import annotations

import pytest

from tests.inspect.verify.conftest import Reply, Scripted, lines, scripted  # noqa: F401
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import NOW_MS, shop, write
from tests.jobs.test_verify_import import (
    check,  # noqa: F401
    days,
    number,
)

HOUR_MS = 3_600_000


class TestDays:
    def test_a_range(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", days(500, 100))
        send(source)
        code, out, _ = check(source, "--from=2024-01-02", "--to=2024-01-03")
        assert code == 0, out
        assert number(out, "the same on both sides") == 200
        assert number(out, "in the input on other days") == 300

    def test_one_end_only(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", days(500, 100))
        send(source)
        code, out, _ = check(source, "--from=2024-01-04")
        assert code == 0
        assert "2024-01-04 to 2024-01-05" in out

    def test_a_range_without_events_proves_nothing(self, send, check, server, tmp_path):
        source = write(tmp_path / "a.parquet", days(500, 100))
        send(source)
        code, out, _ = check(source, "--from=2023-01-04", "--to=2023-01-05")
        assert code == 1
        assert "The input has no events from 2023-01-04 to 2023-01-05; nothing is proven." in out

    def test_a_project_of_a_time_zone(self, check, scripted, tmp_path):
        """Days, and times, of a project made before 2023."""
        zone = -5 * HOUR_MS  # New York in January
        at = [NOW_MS + hour * HOUR_MS for hour in (2, 4, 6, 30)]
        table = shop(4, at=at, key=list("abcd"))
        source = write(tmp_path / "a.parquet", table)
        (tmp_path / "m.yaml").write_text(MAPPING + "insert_id: key\nproperties: [amount]\n")
        exported = [
            {
                "event": "Order",
                "properties": {
                    "time": (at[i] + zone) // 1000,
                    "distinct_id": f"u{i}",
                    "$insert_id": "abcd"[i],
                    "amount": float(i),
                },
            }
            for i in range(4)
        ]
        scripted.replies = [Reply(body=lines(*exported[:2])), Reply(body=lines(*exported[2:]))]
        scripted.replies.append(Reply())
        more = (f"--endpoint={scripted.url}", "--project-timezone=America/New_York")
        code, out, _ = check(source, *more, f"--report-dir={tmp_path}/report")
        assert code == 0, out
        assert "2023-12-31 to 2024-01-02 (America/New_York)" in out
        assert [query["from_date"] for query in scripted.queries] == [
            "2023-12-31",
            "2024-01-01",
            "2024-01-02",
        ]
        assert (tmp_path / "report/counts.csv").read_text().splitlines()[1:] == [
            '2023-12-31,"Order",2,2',
            '2024-01-01,"Order",1,1',
            '2024-01-02,"Order",1,1',
        ]


class TestBadSettings:
    """One sentence on stderr, and no query."""

    @pytest.mark.parametrize(
        ("argument", "says"),
        [
            ("--from=yesterday", "--from is 'yesterday'"),
            ("--to=2024-13-01", "--to is '2024-13-01'"),
            ("--project-timezone=Berlin", "The time zone 'Berlin' is unknown"),
            ("--mapping=", "--mapping is missing"),
            ("--mapping=/nowhere/m.yaml", "cannot be read"),
            ("--api-secret=0123456789abcdef", "must be a reference"),
            ("--api-secret=env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
            ("--api-secret=", "No credentials"),
            ("--endpoint=http://example.com", "unencrypted"),
            ("--mixpanel_region=us", "not both"),
            ("--form=2024-01-01", "--form"),
            ("--report-dir=/dev/null/x", "cannot be written"),
        ],
    )
    def test_settings(self, check, server, tmp_path, argument, says):
        code, _, err = check(write(tmp_path / "a.parquet", shop(3)), argument)
        assert code == 2
        assert says in err
        assert err.count("\n") == 2  # the sentence, and its code

    def test_days_in_the_wrong_order(self, check, tmp_path):
        source = write(tmp_path / "a.parquet", shop(3))
        code, _, err = check(source, "--from=2024-02-01", "--to=2024-01-01")
        assert code == 2
        assert "is before the first" in err

    def test_a_token_does_not_do(self, check, tmp_path, monkeypatch):
        monkeypatch.setenv("TOKEN", "t")
        source = write(tmp_path / "a.parquet", shop(3))
        code, _, err = check(source, "--api-secret=", "--project-token=env:TOKEN")
        assert code == 2
        assert "does not take a project token" in err

    def test_wrong_secret(self, check, server, tmp_path, monkeypatch):
        monkeypatch.setenv("OTHER", "not-the-secret")
        source = write(tmp_path / "a.parquet", shop(3))
        code, out, err = check(source, "--api-secret=env:OTHER")
        assert code == 1
        assert "does not accept the API secret" in err
        assert "not-the-secret" not in out + err

    def test_no_file(self, check, tmp_path):
        assert check(tmp_path / "none.parquet")[0] == 2
