# random kills, reloads, rekeys and link flaps under load: nothing in clear outside, nothing injected inside, traffic comes back
#
# R303 R306 R307: scripts/chaos runs it for longer, or again with the same seed (CHAOS_SEED, CHAOS_SECONDS). A sniffer counts what
# crosses the wan in clear; beside it somebody puts packets in clear on the gateway's own link, as if they came from the far network.
scenario() {
  local seed=${CHAOS_SEED:-$(($(date +%s) % 32768))} end count=0 event last=none
  say "seed $seed (scripts/chaos --seed $seed)"
  RANDOM=$seed
  injector
  watch_start
  strongswan_start B role=responder
  ravelin_config A start=immediately dpd=2s
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  load
  start_process inject wan bash -c "while :; do '$PY' '$LAB_HERE/py/wire.py' send toA '$LAB/clear' --pause 4000; done"
  end=$((SECONDS + ${CHAOS_SECONDS:-9}))
  while [ $SECONDS -lt $end ]; do
    event=$(pick "$last") last=$event count=$((count + 1))
    say "$count: $event"
    "$event"
    wait_path hostA "$HOST_B" 45 || { fail "traffic comes back after $event ($count)"; return; }
    equal "in clear on the wan, injected and delivered, after $event" "0 0" "$(wan_settle; wan_count clear) $(delivered)"
  done
  at_least "events" 2 $count
  accounts
  check_conservation A
  watch_stop
  check_wan
}

EVENTS=(control_killed dataplane_killed both_killed reloaded child_rekeyed ike_rekeyed wan_flaps lan_flaps taken_down)
pick() { # LAST: another one
  local event=$1
  while [ "$event" = "$1" ]; do event=${EVENTS[RANDOM % ${#EVENTS[@]}]}; done
  echo "$event"
}
moment() { sleep "0.$((RANDOM % 9))"; }

control_killed() {
  kill_process controlA
  moment
  ravelin_start_control A
}
dataplane_killed() {
  kill_process dataplaneA
  moment
  ravelin_start_dataplane A
  wait_until 2 alive controlA || ravelin_start_control A
}
both_killed() {
  if [ $((RANDOM % 2)) = 0 ]; then kill_process dataplaneA; kill_process controlA; else kill_process controlA; kill_process dataplaneA; fi
  moment
  ravelin_start A
}
reloaded() {
  ravelin_config A start=immediately dpd=2s lifetime=$((30 + RANDOM % 30))m mtu=$((1300 + RANDOM % 200))
  signal_process controlA HUP
  moment
}
child_rekeyed() { swanctl_do B --rekey --child net >/dev/null; moment; }
ike_rekeyed() { swanctl_do B --rekey --ike peer >/dev/null; moment; }
wan_flaps() { flap wan0; ipn gwA route replace default via "$OUT_B"; }
lan_flaps() { flap lan0; }
flap() {
  ipn gwA link set "$1" down
  moment
  ipn gwA link set "$1" up
}
taken_down() {
  ravelin_do A down net --timeout 5 >/dev/null
  moment
  ravelin_do A up net --timeout 20 >/dev/null
}

load() {
  local way
  for way in "A B" "B A"; do
    set -- $way
    local target=$HOST_B
    [ "$2" = B ] || target=$HOST_A
    rm -f "$LAB/load$1.flow"
    start_process "load$1.receive" "host$2" "$PY" "$LAB_HERE/py/flow.py" receive "$target" 30001 "$LAB/load$1.flow" --idle 100
    wait_until 5 port_open "host$2" 30001
    start_process "load$1.send" "host$1" "$PY" "$LAB_HERE/py/flow.py" send "$target" 30001 --seconds 4000 --rate 300 --size 400
  done
  start_process noise gwA ping -n -q -i 0.05 -I "$IN_A" "$HOST_B"
}
injector() {
  in_ns hostA nft -f - <<NFT
table ip chaos {
  chain in {
    type filter hook input priority -300
    ip saddr $HOST_B udp dport 7 counter
  }
}
NFT
  "$PY" "$LAB_HERE/py/wire.py" clear "$LAB/clear" "$(mac_of gwB wan0)" "$(mac_of gwA wan0)" "$HOST_B" "$HOST_A" 1000 >/dev/null
  head -n 20 "$LAB/clear" >"$LAB/some"
  in_ns gwA ping -n -q -c 1 -W 1 "$HOST_A" >/dev/null # ARP is not what is tested
  in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$LAB/some" >/dev/null
  equal "without Ravelin what is injected is delivered" 20 "$(sleep 0.3; delivered)"
  BASE=20
}
BASE=0 # those of before Ravelin ran
delivered() { echo $(($(in_ns hostA nft list table ip chaos | sed -n 's/.*counter packets \([0-9]*\).*/\1/p') - BASE)); }

accounts() {
  local name
  stop_process inject
  stop_process noise
  for name in loadA loadB; do
    flow_stop $name
    equal "$name: datagrams that came twice, and whether the end came" "0 true" "$(flow_value $name duplicates) $(flow_value $name end_seen)"
    say "$name: $(jq -c '{sent, received, lost, longest_gap_ms}' "$LAB/$name.flow")"
  done
}
