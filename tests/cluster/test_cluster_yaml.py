import copy

import pytest
import yaml


@pytest.fixture
def config(root):
    return yaml.safe_load((root / "cluster.yaml").read_text())


@pytest.fixture
def check():
    """Return Ray's own check, made as `ray up` makes it: defaults filled in first."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    return lambda config: validate_config(prepare_config(config))


def test_ray_accepts_the_file(config, check):
    check(config)


def test_ray_refuses_a_key_that_does_not_exist(config, check):
    from jsonschema import ValidationError

    broken = copy.deepcopy(config) | {"max_worker": 3}
    with pytest.raises(ValidationError):
        check(broken)


def test_the_head_runs_no_trial_and_workers_can_be_started_to_run_them(config):
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    assert types["cpu_worker"]["max_workers"] >= 1
    assert max(kind["max_workers"] for kind in types.values()) <= config["max_workers"]


def test_the_dashboard_is_not_public(config):
    (start,) = [line for line in config["head_start_ray_commands"] if "--head" in line]
    assert "--dashboard-host=127.0.0.1" in start


def test_nodes_install_what_the_lock_says(config, root):
    assert any("make cluster" in line for line in config["setup_commands"])
    made = (root / "Makefile").read_text()
    assert "pip install -r requirements.lock" in made.lower().replace("$(pip)", "pip")
    assert "requirements-cluster.lock" in made
    locked = (root / "requirements-cluster.lock").read_text().splitlines()
    assert {"boto3", "aiohttp"} <= {line.split("==")[0] for line in locked}
    assert ".venv/**" in config["rsync_exclude"]
