# SIGTERM: Delete messages go out, XDP is detached, sockets and devices are gone, and still nothing leaves in clear
# quick
#
# R41 R307: the same for clear packets on their way in, which pretend to come from the far network: not before the first
# start, not after the end, until they are released.
scenario() {
  ravelin_config A start=immediately
  equal "without Ravelin the kernel forwards what comes from the far network" 20 "$(clear_in wan0)"
  check "held, as at boot" ravelin_hold A
  equal "held: nothing from the far network comes in by wan0" 0 "$(clear_in wan0)"
  equal "held: nor by lan0" 0 "$(clear_in lan0)"
  watch_start
  strongswan_start B role=responder
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  not_beside
  check "XDP is attached" both_attached
  start_process noise.A hostA ping -n -q -i 0.02 "$HOST_B"
  check "the control process ends on TERM" stop_process controlA 15
  check "strongSwan received the Delete" wait_until 3 deleted
  check "the data plane ends on TERM" stop_process dataplaneA 15
  check "XDP is detached from both ports" none_attached
  check "no process is left" none_left
  equal "no ping passes" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  equal "nothing left in clear" 0 "$(wan_settle; wan_count clear)"
  equal "stopped: nothing from the far network comes in by wan0" 0 "$(clear_in wan0)"
  equal "stopped: nor by lan0" 0 "$(clear_in lan0)"
  ravelin_start A
  check "it starts again at once" wait_until 20 tunnel_up A
  check "traffic passes" wait_path hostA "$HOST_B" 10
  stop_process noise.A
  check_conservation A
  watch_stop
  check_wan
  ravelin_stop A
  check "released" in_ns gwA "$RAVELIN_BIN/ravelin" --run-dir "$(run_dir A)" release
  equal "released: no rule is left" "0: 32766: 32767:" "$(ipn gwA rule show | awk '{ print $1 }' | xargs)"
  equal "released: the kernel forwards again" 20 "$(clear_in wan0)"
}
# clear_in PORT: 20 datagrams from the far network, put on that link of gwA; prints how many reached hostA
clear_in() {
  local from=wan by=toA before
  [ "$1" = wan0 ] || from=hostA by=eth0
  "$PY" "$LAB_HERE/py/wire.py" clear "$LAB/clear" "$(mac_of $from $by)" "$(mac_of gwA "$1")" "$HOST_B" "$HOST_A" 20 >/dev/null
  in_ns hostA ping -n -q -c 1 -W 1 "$IN_A" >/dev/null # ARP is not what is tested
  before=$(unexpected_udp)
  in_ns $from "$PY" "$LAB_HERE/py/wire.py" send $by "$LAB/clear" >/dev/null
  sleep 0.3
  echo $(($(unexpected_udp) - before))
}
unexpected_udp() { in_ns hostA cat /proc/net/snmp | awk '/^Udp: [0-9]/ { print $3 }'; }
ravelin_hold() { in_ns gwA "$RAVELIN_BIN/ravelin-control" --config "$LAB/ravelin$1/ravelin.toml" --hold; }
not_beside() {
  check "holding is refused beside a running gateway" not ravelin_hold A
  check "and took nothing away" in_ns gwA ping -n -c 1 -W 2 -I "$IN_A" "$HOST_B"
}
both_attached() { xdp_on gwA lan0 && xdp_on gwA wan0; }
none_attached() { ! xdp_on gwA lan0 && ! xdp_on gwA wan0; }
deleted() { strongswan_log B | grep -q 'received DELETE for IKE_SA'; }
none_left() { ! alive controlA && ! alive dataplaneA; }
