"""Sets of fixes: what a report describes, under one name or several."""

from __future__ import annotations

import pytest

from palace_store.fixes import Fixes


def test_fixes_of_several_reports_are_merged_each_as_its_report_describes_it() -> None:
    merged = Fixes.reported("kg", "client-cache")
    assert merged == Fixes.reported("client-cache", "kg")
    assert set(merged.words()) == {
        *Fixes.reported("kg").words(),
        *Fixes.reported("client-cache").words(),
    }
    assert merged.is_reported("generation")
    assert merged.is_reported("kg_clean_shutdown")
    assert merged.variant("kg_busy_timeout") == "on"
    assert Fixes.parse(merged.words()) == merged


def test_names_that_agree_about_a_fix_may_both_want_it() -> None:
    assert Fixes.reported("local", "sync") == Fixes.reported("sync")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("client-cache", "client-cache-before"), "generation as 'eager', which is 'reported'"),
        (("kg", "no-such"), "no report describes a fix named 'no-such'; reported are: "),
    ],
)
def test_names_that_do_not_go_together_are_refused(names: tuple[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Fixes.reported(*names)
