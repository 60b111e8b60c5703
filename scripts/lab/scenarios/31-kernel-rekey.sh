# Rekeys of child and IKE SAs with a Linux kernel's own ESP, begun by it and by Ravelin: 0 lost
# alone
. "$LAB_HERE/uml/guest.sh"
. "$LAB_HERE/uml/strongswan.sh"

scenario() {
  guest_prerequisites
  watch_start
  guest_start B
  guest_network B
  guest_strongswan B esp=aes256gcm16
  begin_flows "rekeys by the peer" lifetime=1h
  local step
  for step in "--child net" "--ike peer" "--child net"; do
    check "the peer rekeys: $step" guest_swanctl B --rekey $step
    sleep 1.5
  done
  end_flows "rekeys by the peer"
  at_least "rekeys, as Ravelin counts them" 2 "$(tunnel_value A rekeys)"
  equal "the peer's IKE SA is another one" 1 "$(ike_rekeys)"
  ravelin_stop A

  begin_flows "rekeys by Ravelin" lifetime=3s ike_lifetime=7s
  sleep 8
  end_flows "rekeys by Ravelin"
  at_least "child rekeys by Ravelin" 2 "$(tunnel_value A rekeys)"
  at_least "IKE rekeys, as the peer saw them, more than" 2 "$(ike_rekeys)"
  ravelin_stop A

  equal "the other kernel found no fault in any ESP packet" "" "$(guest_xfrm_faults B)"
  guest_stop B
  watch_stop
  check_wan
  at_least "frames of IP protocol 50" 8000 "$(wan_count esp)"
  equal "ESP in UDP" 0 "$(wan_count esp_udp)"
}

ike_rekeys() { guest_strongswan_log B | grep -c 'IKE_SA peer\[[0-9]*\] rekeyed'; }

begin_flows() { # TEXT SETTINGS...
  local text=$1
  shift
  ravelin_config A start=immediately esp=aes256gcm16 "$@"
  ravelin_start A
  check "$text: up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  flow_start ab A B 60 300
  flow_start ba B A 60 300
}

end_flows() { # TEXT
  flow_stop ab
  flow_stop ba
  check_flow ab "$1, hostA to hostB"
  check_flow ba "$1, hostB to hostA"
  equal "$1: replay, old" 0 "$(drops_of A replay_old)"
  equal "$1: unknown SPI" 0 "$(drops_of A no_sa)"
  check_conservation A
}
