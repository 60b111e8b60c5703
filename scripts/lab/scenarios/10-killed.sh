# kill -9 of either process, and of both: nothing crosses the wan in clear, and traffic comes back after a restart
# alone
#
# R306, R307. Both hosts send all the time, and so does the gateway itself; the gateway's default route would carry the packets
# over the wan if anything let go of them, and the kernel forwards.
scenario() {
  local before
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  background_traffic

  say "control process killed"
  numbers_start
  flow_start through A B 4 1000
  sleep 0.5
  before=$(ike_spis)
  kill_process controlA
  check_flow through "the data plane carries on without the control process"
  equal "pings without the control process" 10 "$(pings hostA "$HOST_B" 10)"
  ravelin_start_control A
  check "the tunnel is up after the control process came back" wait_until 30 tunnel_up A
  check "traffic passes after the control process came back" wait_path hostA "$HOST_B" 15
  equal "pings" 10 "$(pings hostA "$HOST_B" 10)"
  clear_so_far "while the control process was dead"
  goes_on "$before"
  # R302: the next control process goes on with the same keys, and their numbers go on too.
  numbers_check "control process killed and back" 5000

  say "data plane killed"
  kill_process dataplaneA
  sleep 2
  equal "no ping passes without the data plane" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  clear_so_far "while the data plane was dead"
  ravelin_start_dataplane A
  restart_control_if_gone
  check "traffic passes after the data plane came back" wait_path hostA "$HOST_B" 45
  equal "pings" 10 "$(pings hostA "$HOST_B" 10)"

  say "both killed"
  kill_process dataplaneA
  kill_process controlA
  sleep 2
  equal "no ping passes without both" 0 "$(pings hostA "$HOST_B" 3 -W 1)"
  clear_so_far "while both were dead"
  ravelin_start A
  check "traffic passes after both came back" wait_path hostA "$HOST_B" 45
  equal "pings" 10 "$(pings hostA "$HOST_B" 10)"
  check_conservation A
  stop_process noise.A
  stop_process noise.B
  stop_process noise.gw
  watch_stop
  check_wan
}

background_traffic() {
  start_process noise.A hostA ping -n -q -i 0.02 "$HOST_B"
  start_process noise.B hostB ping -n -q -i 0.02 "$HOST_A"
  start_process noise.gw gwA ping -n -q -i 0.05 -I "$IN_A" "$HOST_B"
}
# The new control process goes on with the IKE SA of the one before: the peer sees no second one, and rekeys of both kinds
# through it work without loss.
ike_spis() { echo "$(tunnel_value A ike_spi_local) $(tunnel_value A ike_spi_remote)"; }
goes_on() {
  local child ike
  equal "the same IKE SA after the kill" "$1" "$(ike_spis)"
  child=$(tunnel_value A spi_in) ike=$(ike_spis)
  flow_start rekeys A B 5 500
  sleep 0.3
  swanctl_do B --rekey --child net >/dev/null
  check "the peer rekeys the child SA" wait_until 5 differs "$child" tunnel_value A spi_in
  swanctl_do B --rekey --ike peer >/dev/null
  check "the peer rekeys the IKE SA" wait_until 5 differs "$ike" ike_spis
  check_flow rekeys "rekeys through the restored IKE SA"
  equal "IKE_SA_INIT requests that the peer saw" 1 "$(strongswan_log B | grep -c 'parsed IKE_SA_INIT request')"
}
differs() { local was=$1; shift; [ "$("$@")" != "$was" ]; }
clear_so_far() { wan_settle; equal "nothing in clear on the wan $1" 0 "$(wan_count clear)"; }
restart_control_if_gone() { wait_until 2 alive controlA || ravelin_start_control A; }
