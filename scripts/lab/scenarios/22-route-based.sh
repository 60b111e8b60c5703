# Route-based tunnels: OSPF of FRR speaks over the tunnel's device, routes lead hosts through it without the kernel, and when
# the tunnel, or the gateway, is down they lead nowhere
. "$LAB_HERE/frr.sh"

scenario() {
  frr_prerequisites
  watch_start
  # What OSPF does not say any more must not take the default route, which is in clear here.
  ravelin_config A start=immediately 'interface=name = "tun-a", addresses = ["172.16.0.1/30"], routes = ["10.0.0.0/12"]'
  ravelin_config B start=respond 'interface=name = "tun-b", addresses = ["172.16.0.2/30"], routes = ["10.0.0.0/12"]'
  ravelin_start B
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_until 5 ipn gwA -4 addr show dev tun-a up
  frr_start A tun-a
  frr_start B tun-b
  # R60, R36: 224.0.0.5 with a TTL of 1, and what follows by unicast.
  check "OSPF: the adjacency is full" wait_until 10 both_full
  check "OSPF: A learns the network behind B" wait_until 5 ospf_route A 10.9.2.0/24
  check "OSPF: B learns the network behind A" wait_until 5 ospf_route B 10.1.0.0/24
  carried
  down_and_up
  killed
  watch_stop
  check_wan
  frr_stop A
  frr_stop B
}

both_full() { ospf_full A && ospf_full B; }

# R60, R61: hosts, and the gateways themselves; the device carries only what the kernel sends and receives.
carried() {
  local before
  before=$(device_packets A)
  equal "pings between the hosts" 20 "$(pings hostA "$HOST_B" 20 -s 1000)"
  equal "pings between the networks that OSPF tells of" 20 "$(pings hostB 10.9.1.10 20 -I 10.9.2.10)"
  at_most "packets of the kernel meanwhile" 15 $(($(device_packets A) - before))
  equal "the other end of the link answers" 5 "$(pings gwA 172.16.0.2 5)"
  # R112: the check that operators do, from host and gateway to the other one's loopback.
  ipn gwB addr add 10.9.9.9/32 dev lo
  wait_path hostA 10.9.9.9 5 # the kernel tells of its addresses a moment later
  equal "the other gateway's loopback answers" "5 5" "$(pings hostA 10.9.9.9 5) $(pings gwA 10.9.9.9 5)"
  equal "the gateway behind the tunnel answers" 5 "$(pings hostA "$IN_B" 5)"
  equal "the gateway's own address is the kernel's" 3 "$(pings hostA "$IN_A" 3)"
  equal "the tunnel's device is shown" tun-a "$(ravelin_json A tunnels | jq -r '.[0].interface')"
  check_conservation A
  check_conservation B
}
device_packets() { ipn "gw$1" -j -s link show "tun-$( [ "$1" = A ] && echo a || echo b)" | jq '.[0].stats64 | .tx.packets + .rx.packets'; }

# R307: with the adjacency goes its route; the one behind it leads into the tunnel, which is down.
down_and_up() {
  ravelin_do A down net >/dev/null
  equal "tunnel down: no ping" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  at_least "tunnel down: they were dropped as no_outbound_sa" 3 "$(drops_of A no_outbound_sa)"
  check "tunnel down: OSPF withdraws its route" wait_until 8 not ospf_route A 10.9.2.0/24
  equal "tunnel down: no ping without OSPF's route" 0 "$(pings hostA 10.9.2.10 3 -W 1)"
  ravelin_do A up net >/dev/null
  check "tunnel up: the adjacency is full again" wait_until 10 both_full
  check "tunnel up: the route is back" wait_until 5 ospf_route A 10.9.2.0/24
  equal "tunnel up: pings" 10 "$(pings hostA "$HOST_B" 10)"
}

# R307: routes stay, and so does the device, which nobody reads.
killed() {
  kill_process controlA
  kill_process dataplaneA
  equal "both processes killed: no ping" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  equal "both processes killed: none of the gateway itself" 0 "$(pings gwA "$HOST_B" 2 -W 1)"
}
