"""The first process of a cluster: its network, etcd, the API server, the controllers, and its nodes.

It lives in network, mount and PID namespaces of its own (see `start.py`) and ends when the pipe on its
standard input does, so that whoever started it may die in any way.  It takes everything with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certificates
import cgroups
import config
import kwok
from init import Init, NotUp, command, plug, set_sysctl
from places import API_PORT, FAILED, HERE, HUB, NODES_CIDR, SERVICES_CIDR, node_address, node_name, pods_of

if TYPE_CHECKING:
    from collections.abc import Callable

API, ETCD = "kube-apiserver", "http://127.0.0.1:2379"
LINKS = 250
"""So many clusters may be up on one machine; each takes a network of four addresses from 10.231/16."""


def main() -> None:
    """Bring the cluster up, say so on standard output, keep it, take it down."""
    order = json.loads(sys.argv[1])
    folder = Path(order["folder"])
    with (folder / "alive").open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)  # whoever gets it after us knows that we are dead
        init = Init(folder / "logs")
        try:
            _tell({"up": _bring_up(init, folder, order)})
            again = {API: lambda: _start_api(init, folder, order["program"])}
            if ended := init.serve(forgivable=[node_name(n + 1) for n in range(order["nodes"])], again=again):
                _tell({"down": _with_logs(ended, folder)})
        except (NotUp, OSError) as error:
            _tell({"failed": _with_logs(str(error), folder)})
        finally:
            _take_down(folder)


def _with_logs(reason: str, folder: Path) -> str:
    """Keep the logs where they outlive the cluster, those of the last failure only; return *reason* so."""
    shutil.rmtree(FAILED, ignore_errors=True)
    shutil.copytree(folder / "logs", FAILED)
    return reason.replace(str(folder / "logs"), str(FAILED))


def _tell(message: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _bring_up(init: Init, folder: Path, order: dict[str, Any]) -> str:
    nodes = order["nodes"]
    address = _network(order["outside_fd"], nodes, name=folder.name)
    certificates.make(folder, addresses=[address, HUB, "10.96.0.1"])
    token = secrets.token_hex(16)
    (folder / "tokens.csv").touch(mode=0o600)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    for name, where in (("kubeconfig", address), ("inside.kubeconfig", HUB)):
        config.write(
            folder / name, config.kubeconfig(address=where, authority=folder / "ca.crt", token=token)
        )
    for number in range(1, nodes + 1):
        _start_node(init, folder, order, number)
    _start_etcd(init, folder, order["program"])
    _start_api(init, folder, order["program"])
    init.until(_answers(folder, token, "/readyz"), part=API, within_s=60.0)
    _start_controllers(init, folder, order["program"])
    (folder / "api-ready").touch()
    for number in range(1, nodes + 1):
        name = node_name(number)
        init.until((folder / name / "ready").exists, part=name, within_s=90.0)
        init.until(_is_ready(folder, token, name), part=name, within_s=60.0)
    if order["fake"]:
        _fake_nodes(init, folder, token, order)
    return str(folder / "kubeconfig")


def _fake_nodes(init: Init, folder: Path, token: str, order: dict[str, Any]) -> None:
    for number in range(1, order["fake"] + 1):
        _ask(folder, token, "/api/v1/nodes", kwok.node(node_name(number)))
    init.start("kwok", kwok.words(Path(order["kwok"]), folder / "inside.kubeconfig"))
    for number in range(1, order["fake"] + 1):
        init.until(_is_ready(folder, token, node_name(number)), part="kwok", within_s=60.0)


def _network(outside: int, nodes: int, *, name: str) -> str:
    """Lay the bridge that the nodes hang on and the wire to the outside; return our address on it."""
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "add", "nodes", "type", "bridge")
    command("ip", "address", "add", f"{HUB}/{NODES_CIDR.partition('/')[2]}", "dev", "nodes")
    command("ip", "link", "set", "nodes", "up")
    set_sysctl("net.ipv4.ip_forward", "1")
    for number in range(1, nodes + 1):
        command("ip", "route", "add", pods_of(number), "via", node_address(number))
    for number in range(LINKS):
        with contextlib.suppress(NotUp):  # the name is taken, by another cluster
            plug("outside", f"gdc{number}", into=outside, address=f"10.231.{number}.1/30", alias=name)
            command("ip", "address", "add", f"10.231.{number}.2/30", "dev", "outside")
            command("ip", "link", "set", "outside", "up")
            return f"10.231.{number}.2"
    raise NotUp(f"no wire to the outside: gdc0 to gdc{LINKS - 1} are taken, or `ip link add` is refused")


def _start_node(init: Init, folder: Path, order: dict[str, Any], number: int) -> None:
    name = node_name(number)
    cgroups.make(f"{folder.name}/{name}")
    (folder / name).mkdir()
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    words = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    order = {**order, "number": number, "hub_fd": here}
    init.start(
        name,
        [*words, sys.executable, str(HERE / "node.py"), json.dumps(order)],
        pass_fds=[here],
        lifeline=True,
    )
    os.close(here)


def _start_etcd(init: Init, folder: Path, program: str) -> None:
    peer = "http://127.0.0.1:2380"
    where = [
        "--data-dir",
        str(folder / "etcd"),
        "--listen-client-urls",
        ETCD,
        "--advertise-client-urls",
        ETCD,
    ]
    peers = [
        "--listen-peer-urls",
        peer,
        "--initial-advertise-peer-urls",
        peer,
        "--initial-cluster",
        f"default={peer}",
    ]
    init.start("etcd", [program, "etcd", "--unsafe-no-fsync", "--log-level", "warn", *where, *peers])


def _start_api(init: Init, folder: Path, program: str) -> None:
    accounts = str(folder / "accounts.key")
    flags = {
        "etcd-servers": ETCD,
        "secure-port": API_PORT,
        "bind-address": "0.0.0.0",
        "advertise-address": HUB,
        "tls-cert-file": folder / "server.crt",
        "tls-private-key-file": folder / "server.key",
        "service-account-key-file": accounts,
        "service-account-signing-key-file": accounts,
        "service-account-issuer": "https://kubernetes.default.svc",
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        "allow-privileged": "true",
        "kubelet-preferred-address-types": "InternalIP",
        "service-cluster-ip-range": SERVICES_CIDR,
        "profiling": "false",
    }
    init.start(API, [program, "kube-apiserver", *_flags(flags)])


def _start_controllers(init: Init, folder: Path, program: str) -> None:
    common = {"kubeconfig": folder / "inside.kubeconfig", "leader-elect": "false", "secure-port": 0}
    common |= {"kube-api-qps": 200, "kube-api-burst": 400}
    flags = {
        **common,
        "service-account-private-key-file": folder / "accounts.key",
        "root-ca-file": folder / "ca.crt",
        "use-service-account-credentials": "true",
        "node-monitor-period": "1s",
        "node-monitor-grace-period": "15s",
        "concurrent-gc-syncs": 20,
    }
    init.start("kube-controller-manager", [program, "kube-controller-manager", *_flags(flags)])
    init.start("kube-scheduler", [program, "kube-scheduler", *_flags(common)])


def _flags(flags: dict[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _ask(folder: Path, token: str, path: str, body: Any = None) -> Any:
    """Return what the API server answers; *body* is posted."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(f"https://127.0.0.1:{API_PORT}{path}", data)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=2.0, context=context) as answer:  # noqa: S310  # https, above
        return answer.read()


def _answers(folder: Path, token: str, path: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            _ask(folder, token, path)
        except OSError as error:
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise NotUp(f"the API server's certificate is no good: {error}") from error
            return False
        return True

    return answers


def _is_ready(folder: Path, token: str, node: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            conditions = json.loads(_ask(folder, token, f"/api/v1/nodes/{node}"))["status"].get(
                "conditions", []
            )
        except OSError:
            return False
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    return ready


def _take_down(folder: Path) -> None:
    """Kill all else in this PID namespace, which unmounts what it mounted; remove cgroups and folder."""
    with contextlib.suppress(NotUp):
        command("ip", "link", "delete", "outside")  # or it would stay as long as closed connections linger
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, 9)  # everything but the caller, and that is the first process of the namespace
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    cgroups.remove(folder.name)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
