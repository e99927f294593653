"""The first process of a node: a machine of its own as far as namespaces go.

Kill it and the node is gone as after a power cut: every container, every mount, every rule.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import config
from init import Init, NotUp, accepts, command, plug, set_sysctl
from load import PRIVATE, copy
from places import HUB, node_address, node_name, pods_of


def main() -> None:
    """Bring the node up, keep it until the pipe on standard input ends."""
    order = json.loads(sys.argv[1])
    number, cluster = order["number"], Path(order["folder"])
    folder = cluster / node_name(number)
    logs = cluster / "logs" / folder.name
    logs.mkdir()
    init = Init(logs)
    for where in PRIVATE:
        command("mount", "-t", "tmpfs", "-o", "mode=755", "node", where)
    _network(order, number)
    copy(Path(order["images"]), folder / "images")
    _start_containerd(init, folder, number, order["pause"])
    init.until((cluster / "api-ready").exists, part="kube-apiserver", within_s=90.0)
    _start_kubelet(init, cluster, folder, number, order["program"])
    (folder / "ready").touch()
    sys.stderr.write(init.serve() + "\n")


def _network(order: dict[str, Any], number: int) -> None:
    command("ip", "link", "set", "lo", "up")
    plug("eth0", f"node{number}", into=order["hub_fd"], bridge="nodes")
    command("ip", "address", "add", f"{node_address(number)}/24", "dev", "eth0")
    command("ip", "link", "set", "eth0", "up")
    command("ip", "route", "add", "default", "via", HUB)
    set_sysctl("net.ipv4.ip_forward", "1")
    for other in range(1, order["nodes"] + 1):
        if other != number:
            command("ip", "route", "add", pods_of(other), "via", node_address(other))


def _start_containerd(init: Init, folder: Path, number: int, pause: str) -> None:
    (folder / "cni").mkdir()
    config.write(folder / "cni" / "pods.conflist", config.cni(folder, number))
    (folder / "containerd.toml").write_text(config.containerd(folder, pause=pause))
    init.start("containerd", ["containerd", "-c", str(folder / "containerd.toml")])
    init.until(lambda: accepts(folder / "containerd.sock"), part="containerd", within_s=30.0)


def _start_kubelet(init: Init, cluster: Path, folder: Path, number: int, program: str) -> None:
    kubeconfig = cluster / "inside.kubeconfig"
    cgroup = f"/{cluster.name}/{node_name(number)}"
    kubelet = config.write(folder / "kubelet.json", config.kubelet(folder, number, cgroup=cgroup))
    where = ["--root-dir", str(folder / "kubelet"), "--cert-dir", str(folder / "kubelet-certs")]
    who = ["--hostname-override", node_name(number), "--node-ip", node_address(number)]
    init.start(
        "kubelet",
        [program, "kubelet", "--config", str(kubelet), "--kubeconfig", str(kubeconfig), *where, *who],
    )
    proxy = config.write(folder / "kube-proxy.json", config.kube_proxy(number, kubeconfig=kubeconfig))
    init.start("kube-proxy", [program, "kube-proxy", "--config", str(proxy)])


if __name__ == "__main__":
    try:
        main()
    except NotUp as error:
        sys.stderr.write(f"{error}\n")
        os._exit(1)
