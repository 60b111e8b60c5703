# strongSwan answers: tunnel up by IKEv2, pings, the gateway's inside address, TCP and UDP both ways; IPv4 and IPv6 in either family
# quick
#
# strongSwan's user-space data path carries ESP in UDP 4500 only.
scenario() {
  six_up
  # Its TUN device comes with IPv6.
  in_ns gwB sysctl -qw net.ipv6.conf.default.disable_ipv6=0
  watch_start
  strongswan_start B role=responder inner='4 6'
  ravelin_config A start=immediately inner='4 6'
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  check "XDP is attached to both ports" both_attached
  wait_path hostA "$HOST_B"
  equal "pings hostA to hostB" 20 "$(pings hostA "$HOST_B" 20)"
  equal "pings hostB to hostA" 20 "$(pings hostB "$HOST_A" 20)"
  equal "pings from hostB to the gateway's inside address" 10 "$(pings hostB "$IN_A" 10)"
  equal "pings from the gateway itself, from its inside address" 10 "$(pings gwA "$HOST_B" 10 -I "$IN_A")"
  equal "pings from hostA to the gateway's inside address, outside the tunnel" 10 "$(pings hostA "$IN_A" 10)"
  six_inside 'IPv6 in IPv4'
  check "TCP hostA to hostB" iperf A B -t 2
  at_least "Mbit/s" 1 "$(iperf_mbit)"
  check "TCP hostB to hostA" iperf A B -t 2 -R
  at_least "Mbit/s" 1 "$(iperf_mbit)"
  flow_start ab A B 3 1000
  flow_start ba B A 3 1000
  check_flow ab "1,000 datagrams a second hostA to hostB"
  check_flow ba "1,000 datagrams a second hostB to hostA"
  equal "state" up "$(tunnel_value A state)"
  equal "encapsulation" esp-in-udp "$(tunnel_value A encapsulation)"
  at_least "ESP packets out, by the tunnel's counter" 3000 "$(tunnel_value A traffic_out.packets)"
  at_least "ESP packets in" 3000 "$(tunnel_value A traffic_in.packets)"
  for what in tunnels sas ports workers drops; do check "show $what as text" ravelin_do A show "$what"; done
  check_conservation A
  outer_six
  watch_stop
  check_wan
  at_least "ESP in UDP frames" 6000 "$(wan_count esp_udp)"
  at_least "IKE frames" 4 "$(wan_count ike)"
}
six_inside() {
  wait_path hostA "$HOST6_B"
  equal "$1: pings hostA to hostB" 20 "$(pings hostA "$HOST6_B" 20)"
  equal "$1: pings hostB to hostA" 20 "$(pings hostB "$HOST6_A" 20)"
  equal "$1: pings from hostB to the gateway's inside address" 10 "$(pings hostB "$IN6_A" 10)"
}
# The same tunnel between the IPv6 addresses of the gateways.
outer_six() {
  ravelin_stop A
  strongswan_stop B
  strongswan_start B role=responder outer=6 inner='4 6'
  ravelin_config A start=immediately outer=6 inner='4 6'
  ravelin_start A
  check "the tunnel comes up between IPv6 addresses" wait_until 20 tunnel_up A
  six_inside 'IPv6 in IPv6'
  equal "IPv4 in IPv6: pings hostA to hostB" 20 "$(pings hostA "$HOST_B" 20)"
  equal "IPv4 in IPv6: pings hostB to hostA" 20 "$(pings hostB "$HOST_A" 20)"
  check_conservation A
}
both_attached() { xdp_on gwA lan0 && xdp_on gwA wan0; }
