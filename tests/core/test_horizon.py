"""When changes can be told from the last horizon, and when everything is read again."""

import pytest

from proxy.core.horizon import Horizon, must_reload

SOURCE = ("7301", "00000001", "16384", "16500")
LAST = Horizon(SOURCE, "100:105:100,103")


def test_the_numbers_of_a_snapshot_are_its_text() -> None:
    """xmin, then xmax, then who is still running."""
    assert (LAST.xmin, LAST.xmax) == (100, 105)


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        pytest.param(None, LAST, True, id="nothing read yet"),
        pytest.param(LAST, LAST, False, id="nothing happened"),
        pytest.param(LAST, Horizon(SOURCE, "100:190:100,150"), False, id="one transaction stays open"),
        pytest.param(LAST, Horizon(SOURCE, "190:190:"), False, id="all have ended"),
        pytest.param(LAST, Horizon(SOURCE, "99:105:99"), True, id="xmin stepped back"),
        pytest.param(LAST, Horizon(SOURCE, "100:104:100"), True, id="xmax stepped back"),
        pytest.param(LAST, Horizon(("7302", *SOURCE[1:]), "190:190:"), True, id="another cluster"),
        pytest.param(LAST, Horizon(("7301", "00000002", *SOURCE[2:]), "190:190:"), True, id="a standby was promoted"),
        pytest.param(LAST, Horizon((*SOURCE[:2], "16999", SOURCE[3]), "190:190:"), True, id="another database"),
        pytest.param(LAST, Horizon((*SOURCE[:3], "17000"), "190:190:"), True, id="tables restored in place"),
    ],
)
def test_everything_is_read_again_where_changes_cannot_be_told(
    last: Horizon | None, now: Horizon, expected: bool
) -> None:
    """Transaction ids mean something only inside one history, and only forwards."""
    assert must_reload(last, now) is expected
