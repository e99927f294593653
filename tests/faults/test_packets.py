"""What packet faults decide without touching a kernel: whom they hit, what they refuse, what they write."""

from __future__ import annotations

import os
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clients import nft, tc, tc_lease
from agent.faults.kernel import cuts, delays, rules
from agent.faults.kernel.scope import DIRECTIONS, PROTOCOLS, Scope, check_delay, refuse_lockout, scope
from agent.model import NoTargets, Refused, UsageError

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = st.ip_addresses().filter(lambda a: getattr(a, "ipv4_mapped", None) is None)
NETWORKS = st.tuples(st.ip_addresses(v=4), st.integers(8, 32)).map(
    lambda each: ip_network(f"{each[0]}/{each[1]}", strict=False)
)
PEERS = st.one_of(ADDRESSES, NETWORKS).map(str)
PORTS = st.none() | st.integers(1, 65535)


def _scope(peers: list[str] | None = None, **changes: Any) -> Scope:
    return scope(**{"peers": peers or [], "port": None, "protocol": "any", **changes})


SCOPES = st.builds(
    lambda peers, port, protocol, direction: _scope(peers, port=port, protocol=protocol, direction=direction),
    st.lists(PEERS, min_size=1, max_size=5),
    PORTS,
    st.sampled_from(PROTOCOLS),
    st.sampled_from(DIRECTIONS),
)


@given(peers=st.lists(PEERS, min_size=1, max_size=8), port=PORTS)
def test_every_peer_is_one_victim(peers: list[str], port: int | None) -> None:
    """Each distinct address or network is one victim, whatever the order, and has the port in its name."""
    found = _scope(peers, port=port).victims
    assert len(found) == len({ip_network(p) for p in peers})
    assert found == _scope(peers[::-1], port=port).victims
    assert port is None or all(victim.endswith(f":{port}") for victim in found)


@given(peers=st.lists(ADDRESSES.map(str), min_size=3, max_size=8, unique=True), seed=st.integers())
def test_a_seed_repeats_the_choice_of_peers(peers: list[str], seed: int) -> None:
    """Two of the peers are chosen, the same two for the same seed, and only peers that were named."""
    chosen = _scope(peers, quantity=2, seed=seed).victims
    assert chosen == _scope(peers[::-1], quantity=2, seed=seed).victims
    assert set(chosen) < set(_scope(peers).victims)
    assert len(chosen) == 2


def test_victims_read_as_an_operator_writes_them() -> None:
    """An address stands alone, a network with its length, IPv6 in brackets before a port."""
    found = _scope(["10.0.0.2", "10.1.0.0/16", "fd00::2"], port=9000).victims
    assert found == ("10.0.0.2:9000", "10.1.0.0/16:9000", "[fd00::2]:9000")
    assert _scope(["fd00::2"]).victims == ("fd00::2",)
    assert _scope(port=53).victims == ("*:53",)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "say what to hit"),
        ({"peers": ["10.0.0.300"]}, "'10.0.0.300' is not an address or a network"),
        ({"peers": ["10.0.0.1/24"]}, "has host bits set"),
        ({"peers": ["10.0.0.1; flush ruleset"]}, "is not an address"),
        ({"peers": [None]}, "is not an address"),
        ({"peers": "10.0.0.1"}, "write a list, ['10.0.0.1']"),
        ({"peers": ["fe80::1%eth0"]}, "leave the interface out"),
        ({"peers": ["::ffff:10.0.0.1"]}, "write 10.0.0.1 for"),
        ({"port": 0}, "write a number from 1 to 65535"),
        ({"port": 65536}, "write a number from 1 to 65535"),
        ({"port": "80; drop"}, "is not a port"),
        ({"port": True}, "is not a port"),
        ({"port": 80, "protocol": "icmp"}, "write tcp, udp or any"),
        ({"port": 80, "direction": "sideways"}, "write ingress, egress or both"),
        ({"peers": ["10.0.0.1"], "quantity": 1, "fraction": 0.5}, "not both"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(arguments: dict[str, Any], says: str) -> None:
    """Every wrong argument is refused by name before anything else happens."""
    with pytest.raises(UsageError) as told:
        _scope(**arguments)
    assert says in str(told.value)


def test_too_few_peers_are_no_smaller_fault() -> None:
    """Three of two peers is a refusal."""
    with pytest.raises(NoTargets):
        _scope(["10.0.0.1", "10.0.0.2"], quantity=3)


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "127.0.0.0/8", "::1", "::/0", "0.0.0.0/0", "10.0.0.0/7", "2000::/3"]
)
def test_the_agents_own_namespace_is_not_locked_out(peer: str) -> None:
    """Loopback and nearly everybody are refused as a whole, and allowed for one port."""
    with pytest.raises(Refused):
        refuse_lockout(_scope([peer]))
    refuse_lockout(_scope([peer], port=9000))


def test_ssh_of_everybody_stays() -> None:
    """Port 22 may be cut for a peer, not for everybody; other addresses of loopback may be cut."""
    with pytest.raises(Refused, match="port 22"):
        refuse_lockout(_scope(port=22))
    with pytest.raises(Refused, match="port 22"):
        refuse_lockout(_scope(["0.0.0.0/0"], port=22))
    refuse_lockout(_scope(["10.0.0.1"], port=22))
    refuse_lockout(_scope(["127.0.1.5"]))


@pytest.mark.parametrize(
    ("latency_ms", "jitter_ms"), [(0, 0), (60_001, 0), (10, 11), (10, -1), (float("nan"), 0)]
)
def test_a_delay_out_of_range_is_refused(latency_ms: float, jitter_ms: float) -> None:
    """A latency that is none or longer than a minute, and a jitter beyond it, are refused."""
    with pytest.raises(UsageError):
        check_delay(latency_ms, jitter_ms)


@given(whom=SCOPES, loss=st.floats(0.0001, 1), lease_s=st.floats(0.001, 60), span_s=st.floats(0.001, 86400))
def test_a_script_touches_its_own_table_only(whom: Scope, loss: float, lease_s: float, span_s: float) -> None:
    """Every line adds something to the injection's own table, and both timeouts are at least 1 ms."""
    text = cuts.script("gameday_t", whom, loss_fraction=loss, lease_s=lease_s, max_duration_s=span_s)
    lines = text.splitlines()
    assert all(line.startswith("add ") and line.split()[2:4] == ["inet", "gameday_t"] for line in lines)
    assert [line.split()[4] for line in lines[-2:]] == ["span", "lease"]
    assert "timeout 0ms" not in text
    assert ("numgen" in text) is (loss < 1)
    hooks = [line for line in lines if " hook " in line]
    assert len(hooks) == (2 if whom.direction == "both" else 1)


@given(whom=SCOPES)
def test_own_packets_stay_in_scope(whom: Scope) -> None:
    """The test packet goes to a peer of the scope, or nowhere when only incoming packets are in it."""
    own = cuts.own_packet(whom)
    if whom.direction == "ingress":
        assert own["address"] == ""
    else:
        target = ip_network(str(own["address"]))
        assert any(target.subnet_of(each) for each in whom.of_version(target.version))  # type: ignore[arg-type]
        assert own["family"] == target.version
    assert own["port"] == (whom.port or 9)


@given(seconds=st.floats(0, 1e6))
def test_times_for_nft_are_whole_milliseconds(seconds: float) -> None:
    """A time is rounded to the millisecond and never to nothing, which would mean for ever."""
    told = int(rules.milliseconds(seconds).removesuffix("ms"))
    assert told >= 1
    assert abs(told / 1000 - seconds) <= 0.0011


@pytest.mark.parametrize(
    ("met", "dropped", "alive", "says"),
    [
        (10, 10, {"lease", "span"}, ""),
        (0, 0, {"lease", "span"}, "met no traffic"),
        (10, 0, {"lease", "span"}, "dropped none of the 10 packets that it met"),
        (10, 10, {"span"}, "ended before it was healed: its lease lapsed"),
        (10, 10, {"lease"}, ""),
        (10, 10, set[str](), ""),
    ],
)
def test_a_dose_that_was_missed_says_why(met: int, dropped: int, alive: set[str], says: str) -> None:
    """No traffic, no loss and an early end are told; the hard end that was asked for is none."""
    elements = {name: frozenset({"ipv4", "ipv6"} if name in alive else ()) for name in ("lease", "span")}
    table = nft.Table(elements=elements, packets={"own": 1, "met": met, "dropped": dropped})
    told = cuts.dose(table)
    assert (told.holds, told.says) == (not says, says)
    assert told.measured["packets_met"] == met


def test_a_table_is_read_as_nft_prints_it() -> None:
    """Elements with and without a timeout, and counters, come out of nft's JSON."""
    lease = {"elem": {"val": "ipv4", "timeout": 2, "expires": 1}}
    listed = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "t"}},
            {"counter": {"name": "met", "packets": 7, "bytes": 80}},
            {"set": {"name": "lease", "elem": [lease]}},
            {"set": {"name": "plain", "elem": ["ipv6"]}},
            {"set": {"name": "span"}},
        ]
    }
    assert nft.parse_table(listed) == nft.Table(
        elements={"lease": frozenset({"ipv4"}), "plain": frozenset({"ipv6"}), "span": frozenset()},
        packets={"met": 7},
    )


def test_qdiscs_are_read_as_tc_prints_them() -> None:
    """A prio at the root and a netem below it, as iproute2 6.1 prints them."""
    netem = {"kind": "netem", "handle": "8:", "parent": "7:4", "options": {"delay": {"delay": 0.08}}}
    listed = [
        {"kind": "prio", "handle": "7:", "root": True, "options": {"bands": 4}, "packets": 9},
        {**netem, "packets": 3},
    ]
    assert tc.parse_qdiscs(listed) == (
        tc.Qdisc(kind="prio", handle="7:", is_root=True, packets=9),
        tc.Qdisc(kind="netem", handle="8:", parent="7:4", delay_s=0.08, packets=3),
    )


@given(whom=SCOPES, latency_ms=st.floats(0.001, 60_000))
def test_a_delay_puts_its_filters_last(whom: Scope, latency_ms: float) -> None:
    """First the root, then netem, then filters that name the peers, each on the same interface."""
    lines = delays.commands("w0", "7:", whom.networks, whom, latency_ms=latency_ms, jitter_ms=0)
    assert [line.split()[0] for line in lines[:2]] == ["qdisc", "qdisc"]
    assert all(line.startswith("filter add dev w0 parent 7: ") for line in lines[2:])
    for network in whom.networks:
        assert any(f" dst {network}" in line for line in lines[2:])


@given(until=st.floats(0, 1e6), span_until=st.floats(0, 1e6), now=st.floats(0, 1e6))
def test_a_lease_is_over_at_whichever_end_comes_first(until: float, span_until: float, now: float) -> None:
    """A lease is over at its own end or at the hard end, and has lapsed only at its own."""
    lease = tc_lease.Lease(until=until, span_until=span_until)
    assert lease.is_over(now) == (now >= until or now >= span_until)
    assert lease.has_lapsed(now) == (until <= now and until <= span_until)
    assert lease.is_over(now) or not lease.has_lapsed(now)


@pytest.mark.skipif(not hasattr(os, "CLONE_NEWNET"), reason="not Linux: no boot clock")
def test_a_lease_is_renewed_in_place_and_not_once_it_is_over(tmp_path: Path) -> None:
    """Renewing moves the lease's end and never the hard end; a withdrawn or ended one stays so."""
    path = tmp_path / "lease"
    tc_lease.begin(path, lease_s=50, max_duration_s=60)
    first = tc_lease.read(path)
    assert first is not None
    assert tc_lease.renew(path, lease_s=100)
    second = tc_lease.read(path)
    assert second is not None
    assert second.until > first.until + 40
    assert second.span_until == first.span_until
    tc_lease.begin(path, lease_s=0, max_duration_s=60)
    assert not tc_lease.renew(path, lease_s=100)
    path.unlink()
    assert not tc_lease.renew(path, lease_s=100)
    assert not path.exists()
