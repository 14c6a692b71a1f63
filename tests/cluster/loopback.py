"""A cluster of three nodes on this machine, each an sshd with processes and files of its own.

``python loopback.py FOLDER`` runs a study directly, then on a cluster that ``ray up`` starts with
Ray's local provider, kills a node on the way, brings the run back and ends the cluster; it prints
what happened as JSON. It must be started in namespaces of its own (`NAMESPACES`), for ``ray stop``
and ``ray down`` end every Ray process they can see. Root is needed, for mounts and for sshd.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

NAMESPACES = ["unshare", "--pid", "--net", "--mount", "--fork", "--mount-proc", "--kill-child"]
HEAD, *WORKERS = ADDRESSES = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
OWN = "/run/rheobase-loopback"  # each node sees a folder of its own there
DASHBOARD = "127.0.0.1:8265"
PROJECT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
START = "ray start --node-ip-address=$NODE_IP --num-cpus=1 --object-store-memory=200000000"
STUDY = """
name = "loopback"
[data]
sessions = ["recordings/*.nwb"]
[teacher]
latent_dim = 2
steps = 40
workers = 2
[student]
num_neurons = 16
steps = 400
batch_windows = 8
[search]
trials = 16
generation = 4
pack = 1
[search.space]
"student.rate_weight" = { low = 1e-3, high = 1.0, log = true }
[seeds]
select = [0]
report = [10]
"""


def say(*words):
    print(f"{time.monotonic() - BEGAN:6.1f} s", *words, file=sys.stderr, flush=True)


BEGAN = time.monotonic()


class Loopback:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[str, subprocess.Popen] = {}
        self.key = folder / "key"
        self.store = folder / "store"
        self.home = folder / "laptop"
        self.ray_files = folder / "ray"
        for one in (self.store, self.ray_files, self.home / ".ray"):
            one.mkdir(parents=True)
        (self.home / ".ray" / "auth_token").write_text("loopback" * 8)
        subprocess.run(["ssh-keygen", "-qN", "", "-f", self.key], check=True)
        for path in ("/run/sshd", OWN):
            Path(path).mkdir(exist_ok=True)

    def variables(self, home: Path) -> dict[str, str]:
        return {
            "HOME": str(home),
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(PROJECT / "platform"),
            "LANG": "C.UTF-8",
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_UP_enable_autoscaler_v2": "0",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        }

    def start_node(self, address: str, *, anew: bool = False) -> None:
        own = self.folder / "nodes" / address
        if anew:  # another machine takes its place, with an empty disk; the provider is not told
            shutil.rmtree(own)
            for state in self.ray_files.rglob("cluster-loopback.*"):
                state.unlink()
        for name in ("home", "tmp"):
            (own / name).mkdir(parents=True, exist_ok=True)
        given = {
            **self.variables(own / "home"),
            "NODE_IP": address,
            "RHEOBASE_CACHE": f"{OWN}/rheobase",
            "RAY_TMPDIR": OWN,
            "TMPDIR": OWN,
        }
        lines = [f"export {name}='{value}'" for name, value in given.items()]
        for name in (".bashrc", ".bash_profile"):
            (own / "home" / name).write_text("\n".join(lines) + "\n")
        options = {
            "ListenAddress": address, "HostKey": self.key, "PidFile": "none", "UsePAM": "no",
            "AuthorizedKeysFile": f"{self.key}.pub", "StrictModes": "no",
            "PermitRootLogin": "yes", "SetEnv": f"HOME={own / 'home'}",
        }  # fmt: skip
        sshd = " ".join(f"-o '{name}={value}'" for name, value in options.items())
        inside = f"mount --bind {own}/tmp {OWN}; exec /usr/sbin/sshd -D -e -f /dev/null {sshd}"
        words = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
        with (own / "sshd.log").open("w") as told:
            self.nodes[address] = subprocess.Popen([*words, "sh", "-c", inside], stderr=told)

    def kill_node(self, address: str) -> None:
        self.nodes[address].send_signal(signal.SIGKILL)
        self.nodes[address].wait()

    def write_config(self) -> Path:
        token = self.home / ".ray" / "auth_token"
        config = {
            "cluster_name": "loopback",
            "provider": {"type": "local", "head_ip": HEAD, "worker_ips": WORKERS},
            "auth": {"ssh_user": "root", "ssh_private_key": str(self.key)},
            "file_mounts": {"~/.ray/auth_token": str(token)},
            "head_start_ray_commands": [
                "ray stop",
                f"{START} --head --port=6379 --dashboard-host=127.0.0.1 "
                "--autoscaling-config=~/ray_bootstrap_config.yaml",
            ],
            "worker_start_ray_commands": [
                "ray stop",
                f"{START} --address=$RAY_HEAD_IP:6379 --dashboard-agent-listen-port=0",
            ],
        }
        path = self.folder / "loopback.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    def call(self, *words: object, rheobase_home: str = "", check: bool = True, **given: object):
        environment = {
            **self.variables(self.home),
            "RHEOBASE_HOME": rheobase_home,
            "RAY_TMPDIR": str(self.ray_files),
        }
        done = subprocess.run(
            [str(word) for word in words],
            cwd=self.home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            **given,
        )
        if check and done.returncode:
            sys.exit(f"{words}: {done.returncode}\n{done.stdout[-6000:]}")
        return done

    def end(self) -> None:
        for node in self.nodes.values():
            node.kill()


def awaited(condition, seconds=180.0):
    by = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > by:
            sys.exit(f"waited in vain: {condition}")
        time.sleep(0.5)
    return found


def numbers(run: Path):
    """What a ranking says, without what tells of time or place."""

    def timeless(value):
        if isinstance(value, dict):
            left_out = {"wall_s", "host", "started_at", "ended_at", "source"}
            return {k: timeless(v) for k, v in value.items() if k not in left_out}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    return timeless(json.loads((run / "ranking.json").read_text()))


def main(folder: Path) -> dict:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    cluster = Loopback(folder)
    told: dict = {}
    try:
        return follow(cluster, told)
    finally:
        cluster.end()


def follow(cluster: Loopback, told: dict) -> dict:
    store = f"file://{cluster.store}"
    (cluster.home / "study.toml").write_text(STUDY)
    (cluster.home / "recordings").mkdir()
    call = cluster.call
    call(
        "rheobase", "simulate", "recordings/one.nwb", "--minutes", "1", "--units", "12",
        "--nuisance", "0",
    )  # fmt: skip
    say("simulated")
    direct = cluster.folder / "direct"
    call("rheobase", "run", "study.toml", "--underpowered", rheobase_home=str(direct))
    say("run directly")
    for address in ADDRESSES:
        cluster.start_node(address)
    config = cluster.write_config()
    awaited(lambda: all(call("nc", "-z", a, "22", check=False).returncode == 0 for a in ADDRESSES))
    began = time.monotonic()
    call("ray", "up", config, "-y", "--no-config-cache")
    told["up_s"] = time.monotonic() - began
    say("up")

    def rheobase(*words, check=True):
        return call("rheobase", *words, rheobase_home=store, check=check)

    began = time.monotonic()
    submitted = rheobase(
        "submit", "study.toml", "--address", DASHBOARD, "--underpowered", "--detach"
    )
    told["submit_s"] = time.monotonic() - began
    say(submitted.stdout.strip())
    again = rheobase("submit", "study.toml", "--address", DASHBOARD, check=False)
    told["again"] = [again.returncode, again.stdout.strip().splitlines()[-1]]

    token = cluster.home / ".ray" / "auth_token"
    right = token.read_text()
    token.write_text("another!" * 8)
    told["wrong_token"] = []
    for words in (
        ("status", "--address", DASHBOARD),
        ("run", "study.toml", "--address", f"{HEAD}:6379", "--underpowered"),
    ):
        began = time.monotonic()
        refused = rheobase(*words, check=False)
        spent = time.monotonic() - began
        told["wrong_token"].append([refused.returncode, refused.stdout.strip(), spent])
    token.write_text(right)
    say("wrong token", told["wrong_token"])

    def ended(at_least):
        one = json.loads(rheobase("status", "loopback", "--address", DASHBOARD, "--json").stdout)[0]
        say(one["status"], one["trials"])
        if one["status"] == "FAILED":
            sys.exit(rheobase("logs", "loopback", "--address", DASHBOARD).stdout[-6000:])
        return one["trials"].get("complete", 0) >= at_least and one

    told["status"] = awaited(lambda: ended(2), 400)
    nodes = call("ray", "exec", config, "ray status", "--no-config-cache").stdout
    told["nodes_before"] = nodes.count("local.cluster.node") or nodes.count("node_")
    cluster.kill_node(WORKERS[1])
    say("killed a worker")
    began = time.monotonic()
    told["after_worker"] = awaited(lambda: ended(told["status"]["trials"]["complete"] + 2), 400)
    told["worker_recovery_s"] = time.monotonic() - began
    cluster.kill_node(HEAD)
    say("killed the head")
    cluster.start_node(HEAD, anew=True)
    began = time.monotonic()
    awaited(lambda: call("nc", "-z", HEAD, "22", check=False).returncode == 0)
    call("ray", "up", config, "-y", "--no-config-cache")
    rheobase("submit", "study.toml", "--address", DASHBOARD, "--underpowered", "--detach")
    say("up and submitted again")
    told["after_head"] = ended(0)["trials"]
    kept = told["after_worker"]["trials"]["complete"]
    awaited(lambda: ended(kept + 1), 400)
    told["head_recovery_s"] = time.monotonic() - began
    began = time.monotonic()
    log = rheobase("logs", "loopback", "--follow", "--address", DASHBOARD, check=False)
    told["rest_s"] = time.monotonic() - began
    told["log"] = log.stdout[-3000:]
    say("ended", log.returncode)
    if log.returncode:
        sys.exit(log.stdout[-6000:])
    down = call("ray", "down", config, "-y", check=False)
    told["down"] = down.returncode
    say("down")
    fetched = json.loads(rheobase("fetch", "loopback", "--json").stdout)
    run = Path(fetched["run"])
    told["same"] = numbers(run) == numbers(direct / "studies" / "loopback")
    told["report"] = (run / "report" / "index.html").exists()
    told["tensorboard"] = bool(list(Path(fetched["tensorboard"]).rglob("*tfevents*")))
    replayed = rheobase("rank", run, "--json")
    told["ranked"] = len(json.loads(replayed.stdout)["trials"])
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
