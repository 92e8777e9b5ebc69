"""Two stacks never meet, and a layout says what is wrong with its ports."""

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from infra.local.layout import HOST, Layout, Ports
from infra.local.place import claim_free_ports, layout_of


def _ports(**other: object) -> dict[str, object]:
    return {**layout_of().ports.table(), **other}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (_ports(kafak=1), "unknown name 'kafak'"),
        (_ports(kafka=0), "kafka is 0"),
        (_ports(kafka="29092"), "kafka is '29092'"),
        (_ports(kafka=layout_of().ports.postgres), "share one port"),
        ({}, "kafka is None"),
    ],
)
def test_a_wrong_ports_table_is_refused_by_name(table: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Ports.from_table(table)


def test_a_stack_with_claimed_ports_shares_none_with_another_and_keeps_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        claim_free_ports(tmp_path / name)
    one, two = (layout_of(str(tmp_path / name)) for name in ("one", "two"))

    assert not set(one.ports.table().values()) & set(two.ports.table().values())
    claim_free_ports(tmp_path / "one")
    assert layout_of(str(tmp_path / "one")) == one


def test_ports_that_somebody_listens_on_are_not_claimed_and_those_of_a_stack_that_is_gone_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # claims of this test's own
    claim_free_ports(tmp_path / "gone")
    gone = layout_of(str(tmp_path / "gone")).ports
    shutil.rmtree(tmp_path / "gone")

    with socket.create_server((HOST, gone.postgres)):
        claim_free_ports(tmp_path / "beside")
    claim_free_ports(tmp_path / "again")

    assert gone.postgres not in layout_of(str(tmp_path / "beside")).ports.table().values()
    assert layout_of(str(tmp_path / "again")).ports == gone


@pytest.mark.parametrize("depth", [1, 40])
def test_a_socket_fits_its_address_however_deep_the_stack_lies(depth: int) -> None:
    root = Path("/", *["folder"] * depth)
    layout = Layout(repo=root, root=root, ports=layout_of().ports)

    longest = layout.postgres_socket / f".s.PGSQL.{layout.ports.postgres}.lock"
    assert len(str(longest).encode()) <= 107
    assert len(str(layout.supervisor_socket).encode()) <= 107
    assert len(str(layout.redis_socket).encode()) <= 107
