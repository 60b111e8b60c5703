# strongSwan answers: tunnel up by IKEv2, pings, the gateway's inside address, TCP and UDP both ways
# quick
#
# strongSwan's user-space data path carries ESP in UDP 4500 only.
scenario() {
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  check "XDP is attached to both ports" both_attached
  wait_path hostA "$HOST_B"
  equal "pings hostA to hostB" 20 "$(pings hostA "$HOST_B" 20)"
  equal "pings hostB to hostA" 20 "$(pings hostB "$HOST_A" 20)"
  equal "pings from hostB to the gateway's inside address" 10 "$(pings hostB "$IN_A" 10)"
  equal "pings from the gateway itself, from its inside address" 10 "$(pings gwA "$HOST_B" 10 -I "$IN_A")"
  equal "pings from hostA to the gateway's inside address, outside the tunnel" 10 "$(pings hostA "$IN_A" 10)"
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
  watch_stop
  check_wan
  at_least "ESP in UDP frames" 6000 "$(wan_count esp_udp)"
  at_least "IKE frames" 4 "$(wan_count ike)"
}
both_attached() { xdp_on gwA lan0 && xdp_on gwA wan0; }
