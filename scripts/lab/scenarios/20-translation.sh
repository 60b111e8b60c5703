# Our own NAT (R54 to R57, R149, R150): TCP, UDP, ping and tracepath into a tunnel that knows the hosts by other addresses, and
# in clear by the gateway's own; a forwarded port, a static address; the gateway's own sockets keep their ports; one outside end for a socket whichever worker has it
# quick
scenario() {
  internet_up
  watch_start
  ravelin_config A start=immediately tunnels=2
  rules >>"$LAB/ravelinA/ravelin.toml"
  ravelin_config B start=respond tunnels=2
  ravelin_start B
  ravelin_start A
  start_process who-b hostB "$PY" "$LAB_HERE/py/who.py" serve 7000 10.9.2.10
  start_process who-inet inet "$PY" "$LAB_HERE/py/who.py" serve 7000
  start_process who-a hostA "$PY" "$LAB_HERE/py/who.py" serve 7000
  check "both tunnels come up" wait_until 20 both_up
  wait_path hostA 10.9.2.10
  into_the_tunnel
  in_clear
  from_outside
  reload_keeps
  check_conservation A
  two_queues
  check_conservation A
  check_conservation B
  watch_stop
  equal "no inside address crossed the wan in clear" 0 "$(wan_count clear)"
  at_least "ESP on the wan" 40 "$(wan_count esp)"
}
both_up() { tunnel_up A net && tunnel_up A other; }

OTHER=10.9.1.200 INTERNET=203.0.113.9 ROUTER=198.18.0.254 FIXED=198.51.100.80

# A router on the wan and a host behind it, which knows no way to 10.0.0.0/8.
internet_up() {
  make_ns inet
  make_link wan toI inet eth0
  ipn wan addr add "$ROUTER/24" dev br0
  ipn wan addr add 203.0.113.1/24 dev toI
  ipn inet addr add "$INTERNET/24" dev eth0
  ipn inet route add default via 203.0.113.1
  ipn wan route add 198.51.100.0/24 via "$OUT_A"
  in_ns wan sysctl -qw net.ipv4.ip_forward=1
  ipn gwA route add 203.0.113.0/24 via "$ROUTER"
}

rules() {
  cat <<CONF
[[nat]]
kind = "source"
from = ["$NET_A"]
tunnel = "other"
pool = "$OTHER"

[[nat]]
kind = "static"
from = ["10.9.1.10"]
port = "wan0"
pool = "$FIXED"

[[nat]]
kind = "destination"
to = "port"
ports = "8080"
port = "wan0"
target = "$HOST_A"
target-port = 7000

[[nat]]
kind = "source"
from = ["$NET_A"]
port = "wan0"
pool = "port"
CONF
}

asks() { in_ns "$1" "$PY" "$LAB_HERE/py/who.py" ask "${@:2}" 2>&1; }

into_the_tunnel() {
  equal "into the tunnel: pings" 10 "$(pings hostA 10.9.2.10 10)"
  equal "into the tunnel: full-size pings in fragments" 5 "$(pings hostA 10.9.2.10 5 -M dont -s 2900)"
  equal "into the tunnel: TCP comes from the translated address" "$OTHER 1000000" \
    "$(asks hostA tcp 10.9.2.10 7000 1000000 | cut -d' ' -f1,3)"
  equal "into the tunnel: UDP comes from there, too" "$OTHER" "$(asks hostA udp 10.9.2.10 7000 | cut -d' ' -f1)"
  equal "the other tunnel, which knows the host itself: not translated" "$HOST_A" "$(asks hostA tcp "$HOST_B" 7000 | cut -d' ' -f1)"
  check "tracepath through the tunnel" path_ends 10.9.2.10
}

in_clear() {
  local port
  equal "in clear: pings" 10 "$(pings hostA "$INTERNET" 10)"
  equal "in clear: TCP comes from the gateway's address" "$OUT_A 1000000" \
    "$(asks hostA tcp "$INTERNET" 7000 1000000 | cut -d' ' -f1,3)"
  port=$(asks hostA udp "$INTERNET" 7000 | cut -d' ' -f2)
  at_least "in clear: UDP from a port above the host's own" 61000 "$port"
  check "tracepath: the router on the way is seen" tracepath_has "$ROUTER"
  check "tracepath: and the end" path_ends "$INTERNET"
  equal "the gateway's own pings" 5 "$(pings gwA "$INTERNET" 5)"
  equal "the gateway's own TCP" "$OUT_A" "$(asks gwA tcp "$INTERNET" 7000 | cut -d' ' -f1)"
  equal "from inside to the gateway's own address" 5 "$(pings hostA "$OUT_A" 5)"
}
tracepath_has() { in_ns hostA tracepath -n "$INTERNET" | tee "$LAB/path" | grep -q " $1 "; }
path_ends() { in_ns hostA tracepath -n "$1" | tee "$LAB/path" | grep -q "$1.*reached"; }

from_outside() {
  equal "a forwarded port: the caller is seen" "$INTERNET 1000000" "$(asks inet tcp "$OUT_A" 8080 1000000 | cut -d' ' -f1,3)"
  equal "a forwarded port, UDP" "$INTERNET" "$(asks inet udp "$OUT_A" 8080 | cut -d' ' -f1)"
  equal "from inside by the outside address (hairpin)" "$OUT_A" "$(asks hostA tcp "$OUT_A" 8080 | cut -d' ' -f1)"
  equal "a static address: from outside" "$INTERNET" "$(asks inet tcp "$FIXED" 7000 | cut -d' ' -f1)"
  equal "a static address: pings" 5 "$(pings inet "$FIXED" 5)"
  equal "a static address: from inside" "$FIXED" "$(in_ns hostA ping -n -c 1 -W 2 -I 10.9.1.10 "$INTERNET" >/dev/null && echo "$FIXED")"
  equal "nobody outside reaches a port that nothing is behind" "" "$(asks inet udp "$OUT_A" 65000 | grep -v -i -e trace -e error -e timed -e '^ ' | cut -d' ' -f1)"
  at_least "and is counted" 1 "$(drops_of A nat_no_mapping)"
}

# RFC 4787 REQ-1 with two workers: whichever queue a socket's datagrams come by, it has one outside end for all destinations.
two_queues() {
  local end
  ravelin_stop A
  for end in hostA:eth0 gwA:lan0 gwA:wan0 wan:toA; do
    in_ns "${end%:*}" ethtool -L "${end#*:}" rx 2 tx 2 || die "two queues at $end"
  done
  ravelin_config A start=respond tunnels=2 cores=0,1
  rules >>"$LAB/ravelinA/ravelin.toml"
  ravelin_start A
  start_process who-many inet "$PY" "$LAB_HERE/py/who.py" serve-udp 7100 7115
  # All sixteen are there before they are asked.
  wait_until 10 eval '[ "$(in_ns inet ss -Hulnp | grep -c ":71[01][0-9] ")" -ge 16 ]'
  wait_path hostA "$INTERNET" 5
  equal "two queues: outside ends of one socket, and of 24" "1 24" "$(in_ns hostA "$PY" "$LAB_HERE/py/who.py" same "$INTERNET" 7100 7115 24)"
  equal "two queues: both workers had packets, and handed some over" "2 true" \
    "$(ravelin_json A workers | jq -r '"\([.[] | select(.counters.received > 20)] | length) \([.[].counters.handed_out] | add > 20)"')"
  equal "two queues: sessions at the one worker that has the host" 1 "$(ravelin_json A nat | jq '[.workers[] | select(.open > 0)] | length')"
  check "two queues: tracepath, whose errors quote translated packets" path_ends "$INTERNET"
}

# A flow that lives through a reload which changes the rules around it.
reload_keeps() {
  local before after
  before=$(ravelin_json A nat | jq '[.workers[].open] | add')
  at_least "show nat: sessions" 3 "$before"
  flow_start through A B 3 200
  sleep 0.5
  sed -i 's/8080/8081/' "$LAB/ravelinA/ravelin.toml"
  check "the rules change" ravelin_do A reload
  check_flow through "datagrams through the reload"
  after=$(ravelin_json A nat | jq '[.workers[].open] | add')
  at_least "show nat: the sessions are there still" "$before" "$after"
  equal "the new port is forwarded" "$INTERNET" "$(asks inet tcp "$OUT_A" 8081 | cut -d' ' -f1)"
}
