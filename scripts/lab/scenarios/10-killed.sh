# kill -9 of either process, and of both: nothing crosses the wan in clear, and traffic comes back after a restart
#
# R307. Both hosts send all the time, and so does the gateway itself; the gateway's default route would carry the packets
# over the wan if anything let go of them, and the kernel forwards.
scenario() {
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  background_traffic

  say "control process killed"
  flow_start through A B 4 1000
  sleep 0.5
  kill_process controlA
  check_flow through "the data plane carries on without the control process"
  equal "pings without the control process" 10 "$(pings hostA "$HOST_B" 10)"
  ravelin_start_control A
  check "the tunnel is up after the control process came back" wait_until 30 tunnel_up A
  check "traffic passes after the control process came back" wait_path hostA "$HOST_B" 15
  equal "pings" 10 "$(pings hostA "$HOST_B" 10)"
  clear_so_far "while the control process was dead"

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
clear_so_far() { wan_settle; equal "nothing in clear on the wan $1" 0 "$(wan_count clear)"; }
restart_control_if_gone() { wait_until 2 alive controlA || ravelin_start_control A; }
