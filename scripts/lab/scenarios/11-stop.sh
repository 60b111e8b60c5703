# SIGTERM: Delete messages go out, XDP is detached, sockets and devices are gone, and still nothing leaves in clear
# quick
scenario() {
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  check "XDP is attached" both_attached
  start_process noise.A hostA ping -n -q -i 0.02 "$HOST_B"
  check "the control process ends on TERM" stop_process controlA 15
  check "strongSwan received the Delete" wait_until 3 deleted
  check "the data plane ends on TERM" stop_process dataplaneA 15
  check "XDP is detached from both ports" none_attached
  check "no process is left" none_left
  equal "no ping passes" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  equal "nothing left in clear" 0 "$(wan_settle; wan_count clear)"
  ravelin_start A
  check "it starts again at once" wait_until 20 tunnel_up A
  check "traffic passes" wait_path hostA "$HOST_B" 10
  stop_process noise.A
  check_conservation A
  watch_stop
  check_wan
}
both_attached() { xdp_on gwA lan0 && xdp_on gwA wan0; }
none_attached() { ! xdp_on gwA lan0 && ! xdp_on gwA wan0; }
deleted() { strongswan_log B | grep -q 'received DELETE for IKE_SA'; }
none_left() { ! alive controlA && ! alive dataplaneA; }
