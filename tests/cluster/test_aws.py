"""cluster.yaml against a simulated AWS account: what `ray up` would start there, and how."""

import copy
import re
from pathlib import Path

import pytest
import yaml

boto3 = pytest.importorskip("boto3", reason="make test-cluster builds the environment with it")
moto = pytest.importorskip("moto", reason="make test-cluster builds the environment with it")

HERE = "198.51.100.7/32"
REGION = "us-west-2"
IMAGE = "ami-12c6146b"  # one that moto knows; the parameters' own ids are the account's
HEAD, WORKER = "ray-head", "ray-worker"


class _Loader(yaml.SafeLoader):
    """Reads a CloudFormation template, whose short functions only CloudFormation knows."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


@pytest.fixture
def account(root, tmp_path, monkeypatch):
    """A simulated account in which the stack of docs/cloud was deployed."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes a key there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    (tmp_path / ".ssh").mkdir()
    with moto.mock_aws():
        deploy(root, HERE)
        yield


def deploy(root: Path, address: str) -> None:
    boto3.client("cloudformation", REGION).create_stack(
        StackName="rheobase",
        TemplateBody=(root / "docs/cloud/aws-account.yaml").read_text(),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": "Address", "ParameterValue": address}],
    )


@pytest.fixture
def started(root, account):
    """What `ray up` asks the account for: a head, and a worker of each other type."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load((root / "cluster.yaml").read_text()))
    validate_config(config)
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    asked = {}
    ask = provider.ec2_fail_fast.create_instances

    def create_instances(**words):
        asked[words["InstanceType"]] = copy.deepcopy(words)
        return ask(**words | {"ImageId": IMAGE})

    provider.ec2_fail_fast.create_instances = create_instances
    for name, node in config["available_node_types"].items():
        kind = HEAD if name == config["head_node_type"] else WORKER
        tags = {"ray-node-type": kind, "ray-user-node-type": name, "ray-launch-config": name}
        provider.create_node(node["node_config"], tags, 1)
    return config, asked


def test_a_head_and_workers_start_with_image_role_disk_and_market(started):
    _, asked = started
    instances = [
        instance
        for reservation in boto3.client("ec2", REGION).describe_instances()["Reservations"]
        for instance in reservation["Instances"]
    ]
    roles = {one["InstanceType"]: one["IamInstanceProfile"]["Arn"] for one in instances}
    assert {kind: arn.rpartition("/")[2] for kind, arn in roles.items()} == {
        "m6i.xlarge": "rheobase-head",
        "c6i.4xlarge": "rheobase-worker",
        "g5.xlarge": "rheobase-worker",
    }
    assert set(asked) == set(roles)
    for words in asked.values():
        assert words["ImageId"].startswith("resolve:ssm:/aws/service/")
        assert "2023" in words["ImageId"]
        assert words["MetadataOptions"] == {"HttpTokens": "required"}
        # An image whose root has another name would keep its own small disk beside an empty one.
        assert words["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"
        assert words["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] >= 100
    assert "InstanceMarketOptions" not in asked["m6i.xlarge"]
    assert asked["c6i.4xlarge"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_nobody_but_one_address_and_the_nodes_themselves_may_enter(started):
    _, asked = started
    (number,) = {one for words in asked.values() for one in words["SecurityGroupIds"]}
    (group,) = boto3.client("ec2", REGION).describe_security_groups(GroupIds=[number])[
        "SecurityGroups"
    ]
    assert group["GroupName"] == "rheobase"
    entries = {
        (rule["IpProtocol"], rule.get("FromPort"), where)
        for rule in group["IpPermissions"]
        for where in [
            *(one["CidrIp"] for one in rule["IpRanges"]),
            *(one["GroupId"] for one in rule["UserIdGroupPairs"]),
            *(one["CidrIpv6"] for one in rule.get("Ipv6Ranges", [])),
        ]
    }
    assert {(protocol, where) for protocol, _, where in entries} == {("tcp", HERE), ("-1", number)}
    assert {port for protocol, port, _ in entries if protocol == "tcp"} == {22}


@pytest.mark.parametrize("address", ["0.0.0.0/0", "10.0.0.0/8", "here"])
def test_the_stack_refuses_to_let_the_world_in(root, address):
    template = yaml.load((root / "docs/cloud/aws-account.yaml").read_text(), _Loader)
    allowed = template["Parameters"]["Address"]["AllowedPattern"]
    assert re.fullmatch(allowed, HERE)
    assert not re.fullmatch(allowed, address)


def test_nodes_are_set_up_and_start_in_this_order(started):
    config, _ = started
    setup = config["head_setup_commands"]
    assert [command.split("&& ")[-1] for command in setup[:2]] == [
        "sudo dnf install -y -q make python3.11",
        "make cluster",
    ]
    assert not any("pip install" in command for command in setup)
    assert config["worker_setup_commands"][:2] == setup[:2]
    assert any("make exporter" in command for command in config["worker_setup_commands"])
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        stop, start = commands
        assert stop == "~/rheobase/.venv/bin/ray stop"
        assert "RAY_AUTH_MODE=token" in start
        assert "~/rheobase/.venv/bin/ray start" in start
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][1]
    assert "--autoscaling-config" in config["head_start_ray_commands"][1]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_the_head_may_start_and_end_this_cluster_s_instances_alone(root):
    template = yaml.load((root / "docs/cloud/aws-account.yaml").read_text(), _Loader)
    (policy,) = template["Resources"]["HeadRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    actions = {}
    for statement in statements:
        named = statement["Action"]
        for action in [named] if isinstance(named, str) else named:
            actions.setdefault(action, []).append(statement)
    assert set(actions) == {
        "ec2:Describe*", "ec2:RunInstances", "ec2:CreateTags", "ec2:StartInstances",
        "ec2:StopInstances", "ec2:TerminateInstances", "ssm:GetParameters", "iam:PassRole",
    }  # fmt: skip
    for action in ("ec2:TerminateInstances", "ec2:StopInstances"):
        (statement,) = actions[action]
        assert statement["Condition"] == {
            "StringEquals": {"ec2:ResourceTag/ray-cluster-name": "rheobase"}
        }
    assert [s["Resource"] for s in actions["iam:PassRole"]] == ["WorkerRole.Arn"]
    everything = [one for one in statements if one["Resource"] == "*"]
    assert [one["Action"] for one in everything] == ["ec2:Describe*"]
