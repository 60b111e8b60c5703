# 30 s of numbered traffic across child and IKE rekeys begun by Ravelin, and again begun by strongSwan: 0 lost
scenario() {
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately lifetime=4s ike_lifetime=14s
  half "rekeys by Ravelin"
  at_least "child rekeys by Ravelin" 5 "$(tunnel_value A rekeys)"
  at_least "IKE rekeys by Ravelin, in strongSwan's log" 1 "$(in_log 'IKE_SA peer\[[0-9]*\] rekeyed')"
  equal "IKE rekeys by strongSwan meanwhile" 0 "$(in_log 'initiating IKE_SA peer')"
  check_conservation A
  ravelin_stop A
  strongswan_stop B

  strongswan_start B role=responder child_rekey=4s ike_rekey=14s
  ravelin_config A start=immediately
  half "rekeys by strongSwan"
  at_least "child rekeys by strongSwan" 5 "$(tunnel_value A rekeys)"
  at_least "IKE rekeys by strongSwan, in its log" 1 "$(in_log 'initiating IKE_SA peer')"
  check_conservation A
  watch_stop
  check_wan
}

in_log() { strongswan_log B | grep -c "$1"; }

half() { # TEXT
  ravelin_start A
  check "$1: the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  flow_start ab A B 30 1000
  flow_start ba B A 30 1000
  check_flow ab "$1, 30 s hostA to hostB"
  check_flow ba "$1, 30 s hostB to hostA"
  equal "$1: replay, old" 0 "$(drops_of A replay_old)"
  equal "$1: unknown SPI" 0 "$(drops_of A no_sa)"
}
