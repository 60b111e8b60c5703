# VRFs: two customers with the same networks on both sides, a tunnel each, by policy and by route; nothing crosses. Then each
# tunnel's outside moves into its VRF too, to an uplink of its own, where the gateways have the same addresses.
scenario() {
  local side
  customer red 1
  customer blue 2
  uplink red 1
  uplink blue 2
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
  outside_in_vrfs
  check_conservation A
  check_conservation B
  # R307: neither process: what the tables hold leads nowhere.
  kill_process controlA
  kill_process dataplaneA
  equal "both processes killed: no ping of either" "0 0" "$(pings redA "$HOST_B" 2 -W 1) $(pings blueA "$HOST_B" 2 -W 1)"
  watch_stop
  check_wan
}

# R68, R78: by a reload at both gateways.
outside_in_vrfs() {
  local side other before
  for side in A B; do
    "$PY" - "$LAB/ravelin$side/ravelin.toml" <<'PYTHON'
import re, sys
text = open(sys.argv[1]).read()
head, *tunnels = text.split("[[tunnel]]")
tunnels = [re.sub(r'^vrf = (.*)$', r'vrf = \1\noutside-vrf = \1', t, flags=re.M) for t in tunnels]
open(sys.argv[1], "w").write("[[tunnel]]".join([head, *tunnels]))
PYTHON
    [ $side = B ] || translation >>"$LAB/ravelinA/ravelin.toml"
    signal_process "control$side" HUP
  done
  check "both are in their VRFs" wait_until 30 both_outside
  ravelin_do A up red >/dev/null
  for side in red blue; do
    check "$side: there is a way by its own uplink" wait_path "${side}A" "$HOST_B" 30
  done
  wan_settle
  before=$(wan_count esp)
  for side in red blue; do
    equal "$side: pings by its own uplink" 20 "$(pings "${side}A" "$HOST_B" 20 -s 1000)"
    equal "$side: who is there" "$side" "$(who "${side}A" "$HOST_B")"
  done
  translated
  wan_settle
  equal "no ESP crossed the main VRF's wan meanwhile" "$before" "$(wan_count esp)"
  for side in red blue; do
    stop_process "seen.$side"
    at_least "$side: IKE on its own uplink" 4 "$(seen $side 'udp port 500')"
    at_least "$side: ESP on its own uplink" 40 "$(seen $side 'ip proto 50')"
  done
  equal "no SPI is on both uplinks" 0 "$(comm -12 <(spis red) <(spis blue) | wc -l)"
  # What red's peer sent, once more, where blue's is: the same addresses, and an SPI that this gateway has.
  other=$(drops_of B vrf_outside)
  stray_esp
  check "red's ESP on blue's uplink is dropped as that" wait_until 10 drops_grew B vrf_outside "$other"
  ipn ispred link set toA down
  check "red without its uplink: its way ends" wait_no_path redA "$HOST_B"
  equal "red without its uplink: blue's pings" 20 "$(pings blueA "$HOST_B" 20)"
  ipn ispred link set toA up
  check "red with its uplink: there is a way" wait_path redA "$HOST_B" 30
}

# Of both customers' hosts, which have one address, by one pool in each VRF; and into red's tunnel.
translation() {
  local n
  printf '\n[[nat]]\nkind = "source"\nfrom = ["%s"]\ntunnel = "red"\npool = "%s"\n' "$NET_A" "$SHOWN"
  for n in 1 2; do
    printf '\n[[nat]]\nkind = "source"\nfrom = ["%s"]\nport = "wan%s"\npool = "%s"\n' "$NET_A" $n "$POOL"
  done
}

# R132, R149, R150: the same host, port, pool and server in two VRFs: each has its own answer, and twice from the same address.
translated() {
  local side
  for side in red blue red blue; do
    equal "$side: a server of its ISP, and how it knows the host" "$side $POOL" "$(answer "${side}A" "$SERVER")"
  done
  equal "red: how the far side of its tunnel knows the host" "red $SHOWN" "$(answer redA "$HOST_B")"
  equal "blue: how the far side of its tunnel knows the host" "blue $HOST_A" "$(answer blueA "$HOST_B")"
  equal "NAT of each VRF is shown" "vrf blue vrf red" \
    "$(ravelin_json A nat | jq -r '[.rules[].text | split(":")[0]] | unique | join(" ")')"
}

both_outside() { # at both gateways
  local side
  for side in A B; do
    [ "$(ravelin_json $side tunnels | jq -r '[.[] | .outside_vrf] | join(" ")')" = "red blue" ] || return 1
  done
}
seen() { tcpdump -nr "$LAB/$1.pcap" "$2" 2>/dev/null | wc -l; } # UPLINK FILTER
spis() { tcpdump -nr "$LAB/$1.pcap" 'ip proto 50' 2>/dev/null | sed -n 's/.*spi=\(0x[0-9a-f]*\).*/\1/p' | sort -u; }
drops_grew() { [ "$(drops_of "$1" "$2")" -gt "$3" ]; }

# One frame from A to B of what was seen on red's uplink, as it was, on blue's.
stray_esp() {
  in_ns ispblue "$PY" - "$LAB/red.pcap" "$(mac_of gwB wan2)" <<'PYTHON'
import socket, struct, sys
data, at, frames = open(sys.argv[1], "rb").read(), 24, []
while at < len(data):
    n = struct.unpack_from("<I", data, at + 8)[0]
    frames.append(data[at + 16:at + 16 + n])
    at += 16 + n
esp = [f for f in frames if f[12:14] == b"\x08\x00" and f[23] == 50 and f[26:30] == socket.inet_aton("198.18.0.1")]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("toB", 0))
s.send(bytes.fromhex(sys.argv[2].replace(":", "")) + esp[-1][6:])
PYTHON
}

SHOWN=${NET_A%.*}.200 POOL=203.0.113.8 SERVER=203.0.113.9

# uplink NAME N: the gateways' ports wanN, with the addresses that they have on the wan, in an ISP's network of their own; there
# is a server in it
uplink() {
  local side own
  make_ns "isp$1"
  ipn "isp$1" link add br0 type bridge mcast_snooping 0
  ipn "isp$1" link set br0 up
  for side in A B; do
    [ $side = A ] && own=$OUT_A || own=$OUT_B
    make_link "gw$side" "wan$2" "isp$1" "to$side"
    ipn "isp$1" link set "to$side" master br0
    ipn "gw$side" addr add "$own/32" dev "wan$2"
    ipn "gw$side" route add "${OUT_A%.*}.0/24" dev "wan$2" table "10$2"
    ipn "gw$side" rule add oif "wan$2" lookup "10$2" pref $((1010 + $2))
    ipn "gw$side" rule add iif "wan$2" lookup "10$2" pref $((1020 + $2))
  done
  ipn gwA addr add "$POOL/32" dev "wan$2" # for ARP
  ipn gwA route add "${SERVER%.*}.0/24" dev "wan$2" table "10$2"
  ipn "isp$1" addr add "$SERVER/24" dev br0
  answers "isp$1" "$SERVER" "$1"
  start_process "seen.$1" "isp$1" tcpdump --immediate-mode -i br0 -s 1600 -U -w "$LAB/$1.pcap" 'udp port 500 or udp port 4500 or ip proto 50'
  wait_until 10 test -s "$LAB/$1.pcap" || die "the capture of $1's uplink did not start"
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
    answers "$1$side" "$host" "$1"
  done
}

answers() { # NS ADDRESS NAME: says its name, and by what address it knows who asks
  start_process "who.$1" "$1" "$PY" -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('$2', 7777))
while True:
    _, peer = s.recvfrom(64)
    s.sendto(('$3 ' + peer[0]).encode(), peer)"
  wait_until 20 port_open "$1" 7777 || die "nobody answers in $1"
}

answer() { # NS ADDRESS: always from one port
  in_ns "$1" "$PY" -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('', 5555))
s.settimeout(2)
s.sendto(b'?', ('$2', 7777))
print(s.recv(64).decode())" 2>/dev/null
}
who() { answer "$@" | cut -d ' ' -f 1; } # NS ADDRESS

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
    for port in ("lan", "wan"):
        ports += f'[[port]]\nname = "{port}{n}"\nvrf = "{name}"\n\n'
red = f'vrf = "red"\nselectors = [{{ local = "{near}", remote = "{far}" }}]'
blue = f'vrf = "blue"\ninterface = {{ name = "tun-blue", routes = ["{far}"] }}'
parts = text.split("[[tunnel]]")
parts[1] = re.sub(r"^selectors = .*", lambda _: red, parts[1], flags=re.M).replace('name = "net"', 'name = "red"')
parts[2] = re.sub(r"^selectors = .*", lambda _: blue, parts[2], flags=re.M).replace('name = "other"', 'name = "blue"')
open(file, "w").write(ports + "[[tunnel]]".join(parts))
PYTHON
}
