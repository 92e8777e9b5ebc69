"""Files that change while the router serves."""

from pathlib import Path

import pytest

from serving.router.current import Current
from serving.router.policy import PolicyError
from serving.router.versions import promote, save
from tests.serving.router.made import trained

POLICY = """
[tiers.small]
provider = "vllm"
model = "small-8b"
input_usd_pico_per_token = 1
output_usd_pico_per_token = 2
[routes.chat]
tiers = ["small"]
"""


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    path = tmp_path / "router.toml"
    path.write_text(POLICY)
    return path


@pytest.mark.slow
def test_a_new_policy_and_a_promoted_model_are_taken_over(policy_file: Path, tmp_path: Path) -> None:
    current = Current(policy_file, tmp_path / "models")
    assert current.refresh() == []
    assert current.model is None
    policy_file.write_text(POLICY.replace("[routes.chat]", "[routes.other]"))
    for seed in (1, 2):
        save(tmp_path / "models", trained(seed), {})
        promote(tmp_path / "models", trained(seed).version)
        assert current.refresh() == []
        assert current.model is not None
        assert current.model.version == trained(seed).version
    assert list(current.policy.routes) == ["other"]


def test_what_cannot_be_read_leaves_the_old_in_place_and_is_told(policy_file: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    place = save(models, trained(), {})
    promote(models, trained().version)
    current = Current(policy_file, models)
    current.refresh()
    policy_file.write_text("tiers = 3")
    (models / "promoted").write_text("beef\n")
    told = current.refresh()
    assert len(told) == 2
    assert "stays as it was" in told[0]
    assert "beef" in told[1]
    assert list(current.policy.routes) == ["chat"]
    assert current.model is not None
    assert current.model.version == place.name
    policy_file.unlink()
    assert "No such file" in current.refresh()[0]


def test_there_is_no_start_without_a_policy_that_is_right(policy_file: Path, tmp_path: Path) -> None:
    policy_file.write_text("")
    with pytest.raises(PolicyError):
        Current(policy_file, tmp_path)
