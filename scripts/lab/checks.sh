# Assertions of scenarios, the watch on the wan, and numbered traffic. Sourced after ravelin.sh.
#
# Decides nothing; each assertion prints one line, PASS or FAIL, and is counted. A scenario that ends early fails.

CHECKS_PASSED=0 CHECKS_FAILED=0
AH_WANTED=           # not empty: the scenario negotiates AH
pass() { CHECKS_PASSED=$((CHECKS_PASSED + 1)); echo "  PASS $*"; }
fail() { CHECKS_FAILED=$((CHECKS_FAILED + 1)); LAB_WHY=${LAB_WHY:-$*}; echo "  FAIL $*"; }

# check TEXT COMMAND...: passes when the command succeeds
check() { local text=$1; shift; if "$@" >"$LAB/check.out" 2>&1; then pass "$text"; else fail "$text"; sed 's/^/       /' "$LAB/check.out" | tail -n 12; fi; }

# equal TEXT WANTED GOT, and the other comparisons of integers
equal() { if [ "$2" = "$3" ]; then pass "$1 ($3)"; else fail "$1: wanted $2, got $3"; fi; }
at_least() { if [ "${3:-x}" -ge "$2" ] 2>/dev/null; then pass "$1 ($3)"; else fail "$1: wanted at least $2, got $3"; fi; }
at_most() { if [ "${3:-x}" -le "$2" ] 2>/dev/null; then pass "$1 ($3)"; else fail "$1: wanted at most $2, got $3"; fi; }

# ---- what crosses the wan ----

watch_start() {
  start_process watch wan "$PY" "$LAB_HERE/py/watch.py" br0 "$OUT_A,$OUT6_A" "$OUT_B,$OUT6_B" "$LAB/wan.json" "$LAB/unexpected.pcap"
  wait_until 10 test -s "$LAB/wan.json" || { cat "$LAB/watch.log" >&2; die "the watch on the wan did not start"; }
}
watch_stop() { stop_process watch; }
wan_count() { jq -r ".$1" "$LAB/wan.json"; }
wan_settle() { sleep 0.6; } # longer than the watch's period
# Reads the final figures: call after watch_stop.
check_wan() {
  local known
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
  equal "nothing but IKE, ESP, ARP and neighbour discovery crossed the wan" 0 "$(wan_count unexpected)"
  [ "$(wan_count unexpected)" = 0 ] || tcpdump -nr "$LAB/unexpected.pcap" -c 5 2>/dev/null | sed 's/^/       /'
  known=$(jq '[to_entries[] | select(.key != "total") | .value] | add' "$LAB/wan.json")
  # Authentic, but for everybody to read: only where it was asked for.
  [ -n "$AH_WANTED" ] || equal "no AH crossed the wan" 0 "$(wan_count ah)"
  equal "every frame on the wan is of one known kind" "$(wan_count total)" "$known"
}
wan_summary() {
  jq -r '"\(.ike) IKE, \(.esp) ESP, \(.esp_udp) ESP in UDP, \(.keepalive) keepalives, \(.arp) ARP, \(.nd) ND, \(.icmp_error) ICMP errors between the gateways; \(.clear) in clear, \(.unexpected) of any other kind"' "$LAB/wan.json"
}

# What is on the wire between these two: ESP's numbers, each of an SA used once.
numbers_start() {
  start_process numbers wan tcpdump --immediate-mode -i br0 -s 96 -U -w "$LAB/numbers.pcap" 'udp port 4500 or ip proto 50'
  wait_until 5 test -s "$LAB/numbers.pcap" || die "the capture of numbers did not start"
}
numbers_check() { # TEXT PACKETS: at least so many
  local packets twice highest
  wan_settle
  stop_process numbers
  read -r packets twice highest <<<"$("$PY" "$LAB_HERE/py/numbers.py" "$LAB/numbers.pcap")"
  at_least "$1: packets seen" "$2" "$packets"
  equal "$1: numbers used twice, up to $highest" 0 "$twice"
}

# ---- numbered traffic ----

# flow_start NAME FROM TO SECONDS RATE [SIZE [BURST]]: FROM and TO are A or B; the account goes to $LAB/NAME.flow
flow_start() {
  local name=$1 from=$2 to=$3 target port=$((20000 + RANDOM % 20000))
  [ "$to" = A ] && target=$HOST_A || target=$HOST_B
  rm -f "$LAB/$name.flow"
  start_process "$name.receive" "host$to" "$PY" "$LAB_HERE/py/flow.py" receive "$target" "$port" "$LAB/$name.flow"
  wait_until 5 port_open "host$to" "$port" || die "the receiver of $name did not start"
  start_process "$name.send" "host$from" "$PY" "$LAB_HERE/py/flow.py" send "$target" "$port" --seconds "$4" --rate "$5" --size "${6:-200}" --burst "${7:-0}"
}
port_open() { in_ns "$1" ss -Hlnu "sport = :$2" | grep -q .; }
flow_wait() { # NAME SECONDS: until its account is there
  wait_until "$2" test -s "$LAB/$1.flow"
}
flow_stop() { signal_process "$1.send" TERM; flow_wait "$1" 8; }
flow_value() { jq -r ".$2" "$LAB/$1.flow" 2>/dev/null; }
check_flow() { # NAME TEXT: nothing lost, nothing twice
  if ! flow_wait "$1" "${3:-60}"; then fail "$2: no account of the flow"; return; fi
  local lost
  lost=$(flow_value "$1" lost)
  if [ "$lost" = 0 ] && [ "$(flow_value "$1" duplicates)" = 0 ] && [ "$(flow_value "$1" end_seen)" = true ]; then
    pass "$2: $(flow_value "$1" sent) sent, 0 lost, longest gap $(flow_value "$1" longest_gap_ms) ms"
  else
    fail "$2: $(jq -c . "$LAB/$1.flow")"
  fi
}

pings() { # FROM_NS TARGET COUNT [PING OPTIONS]: prints how many answers came
  local ns=$1 target=$2 count=$3
  shift 3
  in_ns "$ns" ping -n -i 0.05 -W 2 -c "$count" "$@" "$target" 2>/dev/null | sed -n 's/.* \([0-9]*\) received.*/\1/p'
}
# The first packets may fall into the negotiation: wait for the tunnel, then count.
wait_path() { wait_until "${3:-20}" in_ns "$1" ping -n -c 1 -W 1 "$2"; }

# iperf FROM TO OPTIONS...: a client on host FROM against a server on host TO, JSON to $LAB/iperf.json
iperf() {
  local from=$1 to=$2 target
  shift 2
  [ "$to" = A ] && target=$HOST_A || target=$HOST_B
  start_process iperf-server "host$to" iperf3 -s -1
  wait_until 5 tcp_open "host$to" 5201 || die "iperf3 server did not start"
  in_ns "host$from" timeout 90 iperf3 -c "$target" -J --connect-timeout 5000 "$@" >"$LAB/iperf.json" 2>"$LAB/iperf.err"
  local rc=$?
  wait_until 3 not alive iperf-server || stop_process iperf-server 1
  return $rc
}
tcp_open() { in_ns "$1" ss -Hlnt "sport = :$2" | grep -q .; }
iperf_mbit() { jq -r '((.end.sum_received // .end.sum).bits_per_second / 1e6 | floor)' "$LAB/iperf.json"; }
iperf_lost() { jq -r '.end.sum.lost_packets' "$LAB/iperf.json"; }

# ---- Ravelin's own account ----

drops_of() { ravelin_json "$1" drops | jq -r ".total.$2 // 0"; }
worker_sum() { ravelin_json "$1" workers | jq -r "[.[].counters.$2 // 0] | add"; }
tunnel_value() { ravelin_json "$1" tunnels | jq -r ".[] | select(.name == \"${3:-net}\") | .$2"; }
tunnel_up() { [ "$(tunnel_value "$1" state "${2:-net}")" = up ]; }
settled() { [ "$(ravelin_json "$1" drops | jq -r .conservation.difference)" = 0 ]; }

check_conservation() { # SIDE: at rest, received = forwarded + punted + consumed + drops, for each worker and in all (R303)
  local bad
  if ! wait_until 5 settled "$1"; then
    fail "conservation on gw$1: $(ravelin_json "$1" drops | jq -c .conservation)"
    return
  fi
  bad=$(ravelin_json "$1" workers | jq -c '[.[] | select(.conservation.difference != 0) | {id, conservation}]')
  if [ "$bad" != '[]' ]; then fail "conservation on gw$1: $bad"; return; fi
  # The same from the bare counters, so that the product's own sum is not what proves itself.
  bad=$(ravelin_json "$1" workers | jq -c '[.[] | .counters as $c
    | ($c.received + $c.injected + $c.generated + $c.handed_in + $c.released) as $in
    | ($c.forwarded + $c.punted + $c.handed_out + $c.consumed + $c.held + .drops) as $out | select($in != $out) | {id, $in, $out}]')
  if [ "$bad" = '[]' ]; then
    pass "conservation on gw$1: $(ravelin_json "$1" drops | jq -r '"\(.conservation.entered) entered, \(.conservation.left) left"')"
  else
    fail "conservation on gw$1, from the counters: $bad"
  fi
}

resident_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$(pid_of "$1")/status"; }
