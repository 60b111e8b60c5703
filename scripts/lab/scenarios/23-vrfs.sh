# VRFs: two customers with the same networks on both sides, a tunnel each, by policy and by route; nothing crosses
scenario() {
  local side
  customer red 1
  customer blue 2
  watch_start
  for side in A B; do vrf_config $side; done
  ravelin_start B
  ravelin_start A
  check "the tunnels come up" wait_until 40 both_up
  # R132, R133: red by policy, blue by its device's route; each host answers with the name of its customer.
  for side in red blue; do
    check "$side: there is a way" wait_path "${side}A" "$HOST_B" 20
    equal "$side: pings" 20 "$(pings "${side}A" "$HOST_B" 20 -s 1000)"
    equal "$side: pings back" 20 "$(pings "${side}B" "$HOST_A" 20)"
    equal "$side: who is there" "$side" "$(who "${side}A" "$HOST_B")"
    equal "$side: who is there, from the other side" "$side" "$(who "${side}B" "$HOST_A")"
  done
  equal "the tunnel's VRF is shown" "red blue" "$(ravelin_json A tunnels | jq -r '[.[] | .vrf] | join(" ")')"
  # One customer's tunnel ends, and the other's goes on; nothing goes by the other's.
  ravelin_do A down red >/dev/null
  check "red down: its way ends" wait_no_path redA "$HOST_B"
  equal "red down: no ping" 0 "$(pings redA "$HOST_B" 3 -W 1)"
  equal "red down: blue's pings" 20 "$(pings blueA "$HOST_B" 20)"
  equal "red down: who is there for blue" blue "$(who blueA "$HOST_B")"
  # The table is the kernel's: a route goes, and comes back.
  # What the kernel says reaches the data plane after `ip` is done.
  ipn gwB route del "$NET_B" dev lan2 table 102
  check "blue without its route: its way ends" wait_no_path blueA "$HOST_B"
  equal "blue without its route: no ping" 0 "$(pings blueA "$HOST_B" 3 -W 1)"
  ipn gwB route add "$NET_B" dev lan2 table 102
  check "blue with its route: there is a way" wait_path blueA "$HOST_B" 20
  equal "blue with its route: pings" 20 "$(pings blueA "$HOST_B" 20)"
  check_conservation A
  check_conservation B
  # R307: neither process: what the tables hold leads nowhere.
  kill_process controlA
  kill_process dataplaneA
  equal "both processes killed: no ping of either" "0 0" "$(pings redA "$HOST_B" 2 -W 1) $(pings blueA "$HOST_B" 2 -W 1)"
  watch_stop
  check_wan
}

both_up() { [ "$(ravelin_json A tunnels | jq -r '[.[] | select(.state == "up")] | length')" = 2 ]; }

wait_no_path() { wait_until 20 not in_ns "$1" ping -n -c 1 -W 1 "$2"; } # NS ADDRESS

# customer NAME N: hosts on both sides with the addresses of hostA and hostB, behind ports of their own
customer() {
  local side net host in far
  for side in A B; do
    if [ $side = A ]; then net=$NET_A host=$HOST_A in=$IN_A far=$NET_B; else net=$NET_B host=$HOST_B in=$IN_B far=$NET_A; fi
    make_ns "$1$side"
    make_link "$1$side" eth0 "gw$side" "lan$2"
    ipn "$1$side" addr add "$host/24" dev eth0
    ipn "$1$side" route add default via "$in"
    # The kernel's part: an address for ARP, a table, and the rule for what it forwards itself.
    ipn "gw$side" addr add "$in/32" dev "lan$2"
    ipn "gw$side" route add "$net" dev "lan$2" table "10$2"
    ipn "gw$side" rule add iif "lan$2" lookup "10$2" pref $((1000 + $2))
    start_process "who.$1$side" "$1$side" "$PY" -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('$host', 7777))
while True:
    _, peer = s.recvfrom(64)
    s.sendto(b'$1', peer)"
    wait_until 20 port_open "$1$side" 7777 || die "nobody answers in $1$side"
  done
}

who() { # NS ADDRESS
  in_ns "$1" "$PY" -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.sendto(b'?', ('$2', 7777))
print(s.recv(64).decode())" 2>/dev/null
}

vrf_config() { # SIDE
  local start=immediately dir=$LAB/ravelin$1 near=$NET_A far=$NET_B
  [ "$1" = A ] || start=respond near=$NET_B far=$NET_A
  ravelin_config "$1" start=$start tunnels=2
  "$PY" - "$dir/ravelin.toml" "$near" "$far" <<'PYTHON'
import re, sys
file, near, far = sys.argv[1:]
text = open(file).read()
ports = '[[vrf]]\nname = "red"\ntable = 101\n\n[[vrf]]\nname = "blue"\ntable = 102\n\n'
for n, name in ((1, "red"), (2, "blue")):
    ports += f'[[port]]\nname = "lan{n}"\nvrf = "{name}"\n\n'
red = f'vrf = "red"\nselectors = [{{ local = "{near}", remote = "{far}" }}]'
blue = f'vrf = "blue"\ninterface = {{ name = "tun-blue", routes = ["{far}"] }}'
parts = text.split("[[tunnel]]")
parts[1] = re.sub(r"^selectors = .*", lambda _: red, parts[1], flags=re.M).replace('name = "net"', 'name = "red"')
parts[2] = re.sub(r"^selectors = .*", lambda _: blue, parts[2], flags=re.M).replace('name = "other"', 'name = "blue"')
open(file, "w").write(ports + "[[tunnel]]".join(parts))
PYTHON
}
