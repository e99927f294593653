"""Packet faults against the kernel: real namespaces, a real wire, real servers, real deaths."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from typing import Any

import pytest

from agent.clients import netns, nft
from agent.faults.kernel import cuts as packet_cuts
from agent.faults.kernel.scope import DIRECTIONS, PROTOCOLS, scope

pytestmark = pytest.mark.root

PARTITION = "agent.faults.packets:partition"
DROP = "agent.faults.packets:drop"
DELAY = "agent.faults.packets:delay"
HEAL = "agent.faults:heal"
PORT = 9000


def test_one_peer_is_cut_off_and_the_other_is_not(wire: Any, player: Any, until: Any) -> None:
    """A partition silences the peer it names and leaves its neighbour on the same wire alone."""
    here = player()
    told = here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    assert told["victims"] == [wire.peers[0]]
    assert told["dose"]["measured"] == {"own_packet": "dropped"}
    assert not wire.reaches(wire.peers[0])
    assert until(lambda: wire.reaches(wire.peers[1]))
    assert here.call(HEAL) == {"healed": ["packets.partition"]}
    assert until(lambda: wire.reaches(wire.peers[0]))
    assert wire.tables() == []
    (injection,) = here.injections()
    assert injection.missed is None
    assert injection.dose["measured"]["packets_dropped"] >= 1
    assert injection.dose["measured"]["dropped_fraction"] == 1.0


def test_only_the_port_is_cut_off(wire: Any, player: Any, until: Any) -> None:
    """With a port and no peer, everybody loses that port and keeps the next one."""
    here = player()
    told = here.call(PARTITION, port=PORT, protocol="tcp", netns=wire.near)
    assert told["victims"] == ["*:9000"]
    assert not wire.reaches(wire.peers[0])
    assert not wire.reaches(wire.peers_v6[1])
    assert until(lambda: wire.reaches(wire.peers[0], port=PORT + 1))


def test_an_established_connection_is_cut_and_goes_on(wire: Any, player: Any) -> None:
    """A connection from before the fault falls silent with it, and gets its answer after the heal."""
    here = player()
    with wire.connect(wire.peers[0], timeout_s=0.5) as connection:
        connection.sendall(b"before")
        assert connection.recv(100) == b"before"
        here.call(PARTITION, peers=[wire.peers[0]], port=PORT, netns=wire.near)
        connection.sendall(b"during")
        with pytest.raises(TimeoutError):
            connection.recv(100)
        here.call(HEAL)
        connection.settimeout(20)
        assert connection.recv(100) == b"during"


def test_ipv6_falls_as_silent_as_ipv4(wire: Any, player: Any, until: Any) -> None:
    """A cut IPv6 peer times out, it is not reported as unreachable, and its neighbour answers."""
    here = player()
    assert here.call(PARTITION, peers=[wire.peers_v6[0]], port=PORT, netns=wire.near)["victims"] == [
        "[fd77::2]:9000"
    ]
    assert not wire.reaches(wire.peers_v6[0])
    assert until(lambda: wire.reaches(wire.peers_v6[1]))
    assert until(lambda: wire.reaches(wire.peers[0]))


@pytest.mark.parametrize(("direction", "arrivals"), [("egress", (False, True)), ("ingress", (True, False))])
def test_one_direction_alone_can_be_cut(
    wire: Any, player: Any, direction: str, arrivals: tuple[bool, bool]
) -> None:
    """Datagrams of one direction are lost and those of the other arrive."""
    near, far = (
        wire.inside(name, lambda: socket.socket(type=socket.SOCK_DGRAM)) for name in (wire.near, wire.far)
    )
    with near, far:
        near.bind(("10.77.0.1", 7000))
        far.bind((wire.peers[0], 7000))
        player().call(PARTITION, peers=[wire.peers[0]], direction=direction, netns=wire.near)
        assert (_arrives(near, far), _arrives(far, near)) == arrivals


def _arrives(source: socket.socket, target: socket.socket) -> bool:
    target.settimeout(0.5)
    try:
        source.sendto(b"x", target.getsockname())
        return target.recv(10) == b"x"
    except (PermissionError, TimeoutError):
        return False


def test_the_kernel_heals_when_everybody_is_dead(wire: Any, player: Any, until: Any) -> None:
    """With the run and its reaper killed by SIGKILL, the lease lapses and packets pass again."""
    here = player()
    here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    assert not wire.reaches(wire.peers[0])
    (injection,) = here.injections()
    assert not injection.gone_check().holds
    here.die_with_everything()
    died = time.monotonic()
    assert until(lambda: wire.reaches(wire.peers[0]))
    assert time.monotonic() - died < 8 * float(injection.lease_s)
    assert wire.tables() == [injection.undo.arguments["table"]]
    assert injection.gone_check().holds
    dose = injection.undo()
    assert (dose.holds, dose.says) == (False, "ended before it was healed: its lease lapsed")
    assert wire.tables() == []


def test_the_run_renews_the_lease(wire: Any, player: Any) -> None:
    """The fault stays in for several leases while its run lives."""
    here = player()
    here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    (injection,) = here.injections()
    deadline = time.monotonic() + 3 * injection.lease_s
    while time.monotonic() < deadline:
        assert not wire.reaches(wire.peers[0])
        assert not injection.gone_check().holds


def test_a_lapsed_lease_stays_lapsed(wire: Any, player: Any, until: Any) -> None:
    """Renewing too late does not bring the fault back."""
    here = player(GAMEDAY_LEASE_S="0.2")
    here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    (injection,) = here.injections()
    here.die_with_everything()
    until(lambda: injection.gone_check().holds)
    assert not injection.renew().holds
    assert injection.gone_check().holds


def test_the_hard_end_comes_whatever_renews(wire: Any, player: Any, until: Any) -> None:
    """The kernel itself lets packets pass after max_duration_s, although the lease is renewed."""
    here = player()
    began = time.monotonic()
    here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near, max_duration_s=2.5)
    assert not wire.reaches(wire.peers[0])
    (injection,) = here.injections()
    here.die_with_everything()  # or the reaper would take away what lasts too long
    assert not injection.gone_check().holds
    until(lambda: injection.renew().holds and injection.gone_check().holds)
    assert time.monotonic() - began > 2.4
    assert injection.renew().holds
    assert injection.gone_check().holds
    assert until(lambda: wire.reaches(wire.peers[0]))


def test_a_fault_that_lasts_too_long_is_taken_away_while_its_run_lives(
    wire: Any, player: Any, until: Any
) -> None:
    """The reaper ends it after max_duration_s, which is no fault of the heal that comes later."""
    here = player()
    here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near, max_duration_s=1.5)
    assert not wire.reaches(wire.peers[0])
    until(lambda: not wire.tables())
    assert wire.reaches(wire.peers[0])
    here.call(HEAL)
    assert here.injections()[0].missed is None


def test_drop_loses_the_fraction_asked_for(wire: Any, player: Any) -> None:
    """Of 3000 datagrams about 30 % are lost, and the dose says so too."""
    sent, lost = 3000, 0.3
    here = player()
    near, far = (
        wire.inside(name, lambda: socket.socket(type=socket.SOCK_DGRAM)) for name in (wire.near, wire.far)
    )
    with near, far:
        far.bind((wire.peers[0], 7000))
        far.setblocking(False)
        here.call(DROP, loss_fraction=lost, peers=[wire.peers[0]], direction="egress", netns=wire.near)
        came = 0
        for _ in range(sent):
            came += _passes(near, far)
        here.call(HEAL)
    # Eight standard deviations of a binomial: 8 * sqrt(0.3 * 0.7 / 3000) = 0.067.
    assert abs(1 - came / sent - lost) < 0.067
    dose = here.injections()[0].dose
    assert dose["asked"]["loss_fraction"] == lost
    assert dose["measured"]["packets_met"] >= sent
    assert abs(dose["measured"]["dropped_fraction"] - lost) < 0.067


def _passes(near: socket.socket, far: socket.socket) -> bool:
    """Send one datagram; the sender itself is told when it is lost on the way out."""
    try:
        near.sendto(b"x", far.getsockname())
    except PermissionError:
        return False
    return True


def test_a_processs_namespace_is_as_good_as_a_named_one(wire: Any, player: Any, until: Any) -> None:
    """A pid stands for the namespace it lives in, and its start time tells it from a later one."""
    here = player()
    told = here.call(PARTITION, peers=["10.77.0.1"], port=PORT, pid=wire.server)
    assert told["landed"]
    assert not wire.reaches(wire.peers[0])
    here.call(HEAL)
    assert until(lambda: wire.reaches(wire.peers[0]))
    name, says = here.refusal(PARTITION, peers=["10.77.0.1"], pid=wire.server, created=time.time() - 1e6)
    assert name == "NoTargets"
    assert "the pid was reused" in says


def test_the_fault_is_found_again_after_its_process_died(wire: Any, player: Any) -> None:
    """A namespace named by a process that died since is found through whoever else holds it."""
    passer_by = subprocess.Popen(["ip", "netns", "exec", wire.near, "sleep", "60"])
    try:
        here = player()
        # Until `ip` has entered the namespace and become `sleep`, its pid stands for ours.
        own = netns.own().inode
        deadline = time.monotonic() + 10
        while netns.of_process(passer_by.pid).inode == own and time.monotonic() < deadline:
            pass
        here.call(PARTITION, peers=[wire.peers[0]], pid=passer_by.pid)
    finally:
        passer_by.kill()
        passer_by.wait()
    assert len(wire.tables()) == 1
    assert here.call(HEAL) == {"healed": ["packets.partition"]}
    assert wire.tables() == []


def test_two_injections_do_not_harm_each_other(wire: Any, player: Any, until: Any) -> None:
    """Two runs cut the same peer; when one is healed the other's fault is still in."""
    one, other = player(), player()
    one.call(PARTITION, peers=[wire.peers[0], wire.peers[1]], netns=wire.near)
    other.call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    one.call(HEAL)
    assert until(lambda: wire.reaches(wire.peers[1]))
    assert not wire.reaches(wire.peers[0])
    other.call(HEAL)
    assert until(lambda: wire.reaches(wire.peers[0]))
    assert wire.tables() == []


def test_undoing_three_times_at_once_is_harmless(wire: Any, player: Any) -> None:
    """Three processes undo the same injection together, and once more when it is long gone."""
    here, rescuers = player(), [player() for _ in range(3)]
    here.call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    (injection,) = here.injections()
    for _ in range(2):
        for rescuer in rescuers:
            rescuer.send(injection.undo.func, **injection.undo.arguments)
        for rescuer in rescuers:
            rescuer.result()
    assert wire.tables() == []
    assert injection.gone_check().holds
    assert not injection.renew().holds
    assert wire.tables() == []


def test_a_fault_without_traffic_missed_its_dose(wire: Any, player: Any) -> None:
    """A partition that met no packet but the agent's own says so when it is healed."""
    here = player()
    here.call(PARTITION, peers=["10.77.0.99"], port=PORT, protocol="tcp", netns=wire.near)
    here.call(HEAL)
    assert here.injections()[0].missed == "met no traffic"


def test_a_namespace_that_is_gone_takes_the_fault_with_it(wire: Any, player: Any) -> None:
    """Undoing and checking work when the namespace was deleted meanwhile."""
    name = f"{wire.near}x"
    subprocess.run(["ip", "netns", "add", name], check=True)
    here = player()
    try:
        here.call(PARTITION, peers=[wire.peers[0]], netns=name)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    assert here.call(HEAL) == {"healed": ["packets.partition"]}


def test_the_leash_names_victims_and_touches_nothing(wire: Any, player: Any, until: Any) -> None:
    """On the leash the victims and the undo are told, and the kernel holds nothing."""
    told = player(GAMEDAY_LEASH="true").call(PARTITION, peers=[wire.peers[0]], netns=wire.near)
    assert told["leashed"]
    assert told["victims"] == [wire.peers[0]]
    assert wire.tables() == []
    assert until(lambda: wire.reaches(wire.peers[0]))


@pytest.mark.parametrize(
    ("arguments", "name", "says"),
    [
        ({"peers": ["127.0.0.1"]}, "Refused", "loopback"),
        ({"peers": ["::/0"]}, "Refused", "loopback"),
        ({"peers": ["10.0.0.0/7"]}, "Refused", "nearly everybody"),
        ({"port": 22}, "Refused", "port 22"),
        ({}, "UsageError", "say what to hit"),
        ({"peers": ["localhost"]}, "UsageError", "'localhost' is not an address"),
        ({"peers": ["10.0.0.1"], "netns": "no-such-namespace"}, "NoTargets", "no-such-namespace"),
        ({"peers": ["10.0.0.1"], "netns": "../../etc"}, "UsageError", "cannot be the name"),
        ({"peers": ["10.0.0.1"], "pid": 1, "netns": "x"}, "UsageError", "not both"),
        ({"peers": ["10.0.0.1"], "max_duration_s": 0}, "UsageError", "max_duration_s"),
    ],
)
def test_what_would_lock_one_out_is_refused(
    player: Any, require: Any, arguments: dict[str, Any], name: str, says: str
) -> None:
    """In the agent's own namespace the widest cuts are refused, and mistakes are everywhere."""
    require("nft")
    before = nft.tables(netns.own())
    here = player()
    found, message = here.refusal(PARTITION, **arguments)
    assert found == name
    assert says in message
    assert set(nft.tables(netns.own())) <= set(before)


def test_more_than_the_radius_is_refused(wire: Any, player: Any) -> None:
    """Two peers do not fit into a blast radius of one, and none of them is cut."""
    here = player(GAMEDAY_RADIUS_COUNT="1")
    assert here.refusal(PARTITION, peers=list(wire.peers), netns=wire.near)[0] == "RadiusExceeded"
    assert wire.tables() == []
    told = here.call(PARTITION, peers=list(wire.peers), quantity=1, seed=7, netns=wire.near)
    assert len(told["victims"]) == 1


def test_the_kernel_takes_every_kind_of_scope(wire: Any) -> None:
    """Each combination of peers, port, protocol and direction is a script that the kernel verifies."""
    space = netns.named(wire.near)
    some = ([], ["10.0.0.0/8", "10.1.0.1"], ["fd00::/8", "fd00::1"], ["10.0.0.1", "fd00::1"])
    for peers, port, protocol, direction in itertools.product(some, (None, 53), PROTOCOLS, DIRECTIONS):
        if not peers and port is None:
            continue
        whom = scope(peers=peers, port=port, protocol=protocol, direction=direction)
        text = packet_cuts.script("gameday_t", whom, loss_fraction=0.5, lease_s=0.0015, max_duration_s=86_400)
        nft.check(space, text)
    assert wire.tables() == []
