# Numbered traffic across child and IKE rekeys begun by Ravelin, by strongSwan, and by both at once (RFC 7296 §2.8.1,
# §2.8.2; R308): 0 lost
# alone
#
# With LAB_LONG=yes in the environment instead 200 rekeys, a third by each side and a third that collide: some four and a half minutes.
scenario() {
  [ -z "${LAB_LONG:-}" ] || { long; return; }
  watch_start
  strongswan_start B role=responder
  # It does not know RFC 9611: one pair serves both workers.
  ravelin_config A start=immediately lifetime=3s ike_lifetime=11s cores=0,1 more='per-worker = true'
  half "rekeys by Ravelin"
  at_least "child rekeys by Ravelin" 4 "$(tunnel_value A rekeys)"
  at_least "IKE rekeys by Ravelin, in strongSwan's log" 1 "$(in_log 'IKE_SA peer\[[0-9]*\] rekeyed')"
  check "one pair for two workers" wait_until 8 two_sas
  equal "IKE rekeys by strongSwan meanwhile" 0 "$(in_log 'initiating IKE_SA peer')"
  check_conservation A
  ravelin_stop A
  strongswan_stop B

  strongswan_start B role=responder child_rekey=3s ike_rekey=11s
  ravelin_config A start=immediately
  half "rekeys by strongSwan"
  at_least "child rekeys by strongSwan" 4 "$(tunnel_value A rekeys)"
  at_least "IKE rekeys by strongSwan, in its log" 1 "$(in_log 'initiating IKE_SA peer')"
  check_conservation A
  ravelin_stop A
  strongswan_stop B

  # The same lifetimes from the same moment, without jitter; and a control process that now and then sleeps over both
  # of the times (the data plane goes on): its own request and the peer's cross.
  strongswan_start B role=responder child_rekey=3s ike_rekey=10s
  ravelin_config A start=immediately lifetime=3s ike_lifetime=10s more='rekey-jitter = 0'
  half "rekeys by both at once" 20 naps
  at_least "collisions that strongSwan saw" 2 "$(in_log 'detected CHILD_REKEY collision\|detected IKE_REKEY collision')"
  at_least "child rekeys" 5 "$(tunnel_value A rekeys)"
  check "one pair of child SAs is left between two rekeys" wait_until 8 two_sas
  check_conservation A
  watch_stop
  check_wan
}

long() {
  local made=0 naps=0
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately lifetime=1s
  half "long, by Ravelin" 66
  at_least "long: rekeys by Ravelin" 67 "$(tunnel_value A rekeys)"
  made=$((made + $(tunnel_value A rekeys)))
  check_conservation A
  ravelin_stop A
  strongswan_stop B

  strongswan_start B role=responder child_rekey=1s
  ravelin_config A start=immediately
  half "long, by strongSwan" 70
  at_least "long: rekeys by strongSwan" 67 "$(tunnel_value A rekeys)"
  made=$((made + $(tunnel_value A rekeys)))
  check_conservation A
  ravelin_stop A
  strongswan_stop B

  strongswan_start B role=responder child_rekey=1s
  ravelin_config A start=immediately lifetime=1s more='rekey-jitter = 0'
  ravelin_start A
  check "long, by both: the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  flow_start ab A B 400 1000
  flow_start ba B A 400 1000
  while [ "$(in_log 'detected CHILD_REKEY collision')" -lt 67 ] && [ $naps -lt 150 ]; do
    naps=$((naps + 1))
    signal_process controlA STOP
    sleep 1.1
    signal_process controlA CONT
    sleep 0.6
  done
  flow_stop ab
  flow_stop ba
  check_flow ab "long, by both, hostA to hostB"
  check_flow ba "long, by both, hostB to hostA"
  at_least "collisions that strongSwan saw" 67 "$(in_log 'detected CHILD_REKEY collision')"
  at_least "long: rekeys by both" 67 "$(tunnel_value A rekeys)"
  made=$((made + $(tunnel_value A rekeys)))
  equal "long, by both: unknown SPI" 0 "$(drops_of A no_sa)"
  equal "long, by both: replay, old" 0 "$(drops_of A replay_old)"
  check_conservation A
  at_least "rekeys in all" 200 "$made"
  watch_stop
  check_wan
}
in_log() { strongswan_log B | grep -c "$1"; }

two_sas() { [ "$(ravelin_json A sas | jq '[.[] | select(.state != "expiring")] | length')" = 2 ]; }
naps() { local i; for i in 1 2 3 4 5 6 7 8; do signal_process controlA STOP; sleep 1; signal_process controlA CONT; sleep 1.1; done; }

half() { # TEXT [SECONDS [MEANWHILE]]
  ravelin_start A
  check "$1: the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  flow_start ab A B "${2:-17}" 1000
  flow_start ba B A "${2:-17}" 1000
  ${3:-true}
  check_flow ab "$1, ${2:-17} s hostA to hostB" $((${2:-17} + 40))
  check_flow ba "$1, ${2:-17} s hostB to hostA"
  equal "$1: replay, old" 0 "$(drops_of A replay_old)"
  equal "$1: unknown SPI" 0 "$(drops_of A no_sa)"
}
