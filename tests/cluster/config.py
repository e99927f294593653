"""The configuration files of one cluster, as data; JSON is YAML, so nothing is quoted by hand."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from places import API_PORT, PODS_CIDR, node_address, node_name, pods_of

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, content: Any) -> Path:
    """Write *content* as JSON, readable by its owner only."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
    return path


def kubeconfig(*, address: str, authority: Path, token: str) -> dict[str, Any]:
    """Return how to reach the API server at *address* as its administrator."""
    data = base64.b64encode(authority.read_bytes()).decode()
    server = {"server": f"https://{address}:{API_PORT}", "certificate-authority-data": data}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "gameday-tests", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "gameday-tests", "context": {"cluster": "gameday-tests", "user": "admin"}}],
        "current-context": "gameday-tests",
    }


def kubelet(node: Path, number: int, *, cgroup: str) -> dict[str, Any]:
    """Return a kubelet's configuration: pods in a cgroup of their own, nothing evicted or collected.

    No CAP_SYS_RESOURCE is needed (``KubeletInUserNamespace``), and cgroup v1 will do.
    """
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # nobody outside the cluster's namespaces can reach it
        "address": node_address(number),
        "port": 10250,
        "readOnlyPort": 0,
        "healthzPort": 10248,
        "healthzBindAddress": "127.0.0.1",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{node}/containerd.sock",
        "podLogsDir": str(node / "podlogs"),
        "volumePluginDir": str(node / "plugins"),
        "resolvConf": "",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "imagefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "localStorageCapacityIsolation": False,
        "protectKernelDefaults": False,
        "nodeStatusUpdateFrequency": "3s",
        "nodeLeaseDurationSeconds": 12,
        "syncFrequency": "10s",
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "shutdownGracePeriod": "0s",
        "featureGates": {"KubeletInUserNamespace": True},
    }


def kube_proxy(number: int, *, kubeconfig: Path) -> dict[str, Any]:
    """Return kube-proxy's configuration; sysctls that are the whole machine's are left alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS_CIDR,
        "hostnameOverride": node_name(number),
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "10s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def containerd(node: Path, *, pause: str) -> str:
    """Return containerd's configuration (TOML); every folder of it is below *node*."""
    return f"""\
version = 2
root = "{node}/images"
state = "{node}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{node}/containerd.sock"
[debug]
  level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{node}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def cni(node: Path, number: int) -> dict[str, Any]:
    """Return the pod network: a wire for each pod, so that all that pods say to each other is routed.

    A bridge would hand the answers of a Service's endpoint straight to a pod of the same node, past
    the rules that have to change their source address back.
    """
    ipam = {
        "type": "host-local",
        "dataDir": str(node / "addresses"),
        "ranges": [[{"subnet": pods_of(number)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
