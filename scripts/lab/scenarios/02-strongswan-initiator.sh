# strongSwan begins: Ravelin answers as responder
# quick
scenario() {
  watch_start
  ravelin_config A start=respond
  ravelin_start A
  equal "nothing is sent before the peer begins" 0 "$(wan_settle; wan_count ike)"
  strongswan_start B role=initiator
  check "the tunnel comes up" wait_until 20 tunnel_up A
  check "strongSwan has the child SA installed" wait_until 5 strongswan_up B
  wait_path hostB "$HOST_A"
  equal "pings hostB to hostA" 20 "$(pings hostB "$HOST_A" 20)"
  equal "pings hostA to hostB" 20 "$(pings hostA "$HOST_B" 20)"
  swanctl_do B --terminate --ike peer >/dev/null 2>&1
  check "strongSwan's Delete takes the tunnel down" wait_until 5 not tunnel_up A
  equal "no ping passes without the tunnel" 0 "$(pings hostA "$HOST_B" 2 -W 1)"
  at_least "they are counted as no_outbound_sa" 1 "$(drops_of A no_outbound_sa)"
  swanctl_do B --initiate --child net >/dev/null 2>&1
  check "the tunnel comes up again" wait_until 10 tunnel_up A
  equal "pings hostA to hostB, again" 10 "$(wait_path hostA "$HOST_B"; pings hostA "$HOST_B" 10)"
  check_conservation A
  watch_stop
  check_wan
}
