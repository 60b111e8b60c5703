# Peers from anywhere: two strongSwan clients with addresses from our pool, each by SAs of its own, which outlive kill -9; leases over a restart.
# Then we are the client: an address from strongSwan's pool, and from Ravelin's
# quick
#
# R33, R75, R122, R131, R141.
scenario() {
  local one two
  watch_start
  road_config
  ravelin_start A
  strongswan_start B
  road_clients
  check "the first client is up" wait_until 10 road_up 1
  swanctl_do B --initiate --child two >/dev/null 2>&1
  check "and the second beside it" wait_until 10 road_up 2
  one=$(road_address road1.lab) two=$(road_address road2.lab)
  equal "each has an address of its own" "10.3.0.8 10.3.0.9" "$one $two"
  at_least "the DNS server is told" 1 "$(strongswan_log B | grep -c 'CPRP(ADDR DNS')"
  equal "four SPIs, none twice" 4 "$(ravelin_json A tunnels | jq -r '.[0].peers[] | .spi_in, .spi_out' | sort -u | wc -l)"
  wait_until 5 in_ns gwB ping -n -c 1 -W 1 -I "$one" "$HOST_A"
  equal "pings of the first client" 10 "$(pings gwB "$HOST_A" 10 -I "$one")"
  equal "pings of the second client" 10 "$(pings gwB "$HOST_A" 10 -I "$two")"
  equal "pings to the first client" 10 "$(pings hostA "$one" 10)"
  equal "pings to the second client" 10 "$(pings hostA "$two" 10)"
  equal "what nobody has is dropped" 0 "$(pings hostA 10.3.0.10 2 -W 1)"
  at_least "as no_outbound_sa" 1 "$(drops_of A no_outbound_sa)"

  killed "$one" "$two"

  swanctl_do B --terminate --ike one >/dev/null 2>&1
  check "one goes, the other stays" wait_until 5 road_up 1
  equal "pings to the other" 10 "$(pings hostA "$two" 10)"

  sleep 1.2 # leases are written once a second
  equal "nobody else reads the leases" 600 "$(stat -c %a "$(run_dir A)/leases.json")"
  stop_process controlA
  ravelin_start_control A
  check "IKE has begun again" wait_until 10 begun 3
  swanctl_do B --terminate --force --timeout 1 --ike two >/dev/null 2>&1
  # In the other order: who asks first does not get the other's.
  swanctl_do B --initiate --child two >/dev/null 2>&1
  swanctl_do B --initiate --child one >/dev/null 2>&1
  check "both are back" wait_until 15 road_up 2
  equal "each has the address it had" "$one $two" "$(road_address road1.lab) $(road_address road2.lab)"
  equal "pings to the first client, again" 10 "$(wait_path hostA "$one"; pings hostA "$one" 10)"
  client
  check_conservation A
  watch_stop
  check_wan
}

# R306: the control process is killed under load; the next one goes on with both clients, each under its own address.
killed() { # ONE TWO
  local before
  before=$(road_spis)
  road_flow out hostA gwB "$1"
  road_flow in gwB hostA "$HOST_A" "$2"
  sleep 0.5
  kill_process controlA
  sleep 0.5
  ravelin_start_control A
  check "kill -9: IKE has begun again" wait_until 10 begun 2
  equal "kill -9: the same SAs" "$before" "$(road_spis)"
  check_flow out "kill -9: to the first client"
  check_flow in "kill -9: from the second client"
  swanctl_do B --rekey --child one >/dev/null 2>&1
  swanctl_do B --rekey --ike two >/dev/null 2>&1
  check "kill -9: a client rekeys its child SA" wait_until 5 differs "$before" road_spis
  equal "kill -9: pings of the first client after its rekey" 10 "$(pings gwB "$HOST_A" 10 -I "$1")"
  equal "kill -9: pings to the second client after its rekey" 10 "$(pings hostA "$2" 10)"
  equal "kill -9: each has the address it had" "$1 $2" "$(road_address road1.lab) $(road_address road2.lab)"
  equal "kill -9: the clients have begun no other IKE SA" 2 "$(strongswan_log B | grep -c 'generating IKE_SA_INIT request')"
}
road_spis() { ravelin_json A tunnels | jq -r '.[0].peers[] | .spi_in, .spi_out' | sort | tr '\n' ' '; }
differs() { local before=$1; shift; [ "$("$@")" != "$before" ]; }
road_flow() { # NAME FROM TO TARGET [SOURCE]: a client's address is one of gwB's
  local port=$((20000 + RANDOM % 20000))
  rm -f "$LAB/$1.flow"
  start_process "$1.receive" "$3" "$PY" "$LAB_HERE/py/flow.py" receive "$4" "$port" "$LAB/$1.flow"
  wait_until 5 port_open "$3" "$port" || die "the receiver of $1 did not start"
  start_process "$1.send" "$2" "$PY" "$LAB_HERE/py/flow.py" send "$4" "$port" --seconds 4 --rate 400 ${5:+--source "$5"}
}

# RFC 7296 §2.19 from the other side: the machine itself is the client, and sends without naming a source.
client() {
  road_server "pools = road"
  client_config
  check "reloaded as a client" ravelin_do A reload
  check "strongSwan gives an address" wait_until 10 has_address 10.4.0.7
  equal "and a DNS server" 10.2.0.53 "$(ravelin_json A tunnels | jq -r '.[0].dns[0]')"
  equal "the selector is its own" "10.4.0.7/32 = $NET_B" "$(ravelin_json A tunnels | jq -r '.[0].selectors[0]')"
  wait_path gwA "$HOST_B" 5
  equal "the machine's own pings" 10 "$(pings gwA "$HOST_B" 10)"
  swanctl_do B --rekey --child road >/dev/null 2>&1
  swanctl_do B --rekey --ike road >/dev/null 2>&1
  sleep 0.5
  equal "and after rekeys of both SAs" 10 "$(pings gwA "$HOST_B" 10)"
  signal_process controlA KILL
  wait_until 5 not alive controlA
  ravelin_start_control A
  check "the next control process has the address" wait_until 10 has_address 10.4.0.7
  equal "and nothing was lost" 10 "$(pings gwA "$HOST_B" 10)"
  ravelin_do A down net >/dev/null 2>&1
  check "down: the address is gone" wait_until 5 not on_device 10.4.0.7
  road_server ""
  ravelin_do A up net >/dev/null 2>&1
  check "no pool: the reason is named" wait_until 10 failed_with INTERNAL_ADDRESS_FAILURE
  stop_process swanB
  ipn gwB route del blackhole 10.4.0.0/24

  ravelin_config B start=respond
  sed -i -e 's/^remote = .*/remote = "any"/' \
    -e "s|^selectors = .*|pool = [\"10.4.0.32/28\"]\ndns = [\"10.2.0.54\"]\nselectors = [{ local = \"$NET_B\", remote = \"10.4.0.0/24\" }]|" \
    "$LAB/ravelinB/ravelin.toml"
  ravelin_start B
  ravelin_do A up net >/dev/null 2>&1
  check "Ravelin gives an address" wait_until 10 has_address 10.4.0.32
  equal "and a DNS server" 10.2.0.54 "$(ravelin_json A tunnels | jq -r '.[0].dns[0]')"
  wait_path gwA "$HOST_B" 5
  equal "pings of the machine" 10 "$(pings gwA "$HOST_B" 10)"
  equal "pings to it" 10 "$(pings hostB 10.4.0.32 10)"
  ravelin_stop B
}

has_address() { [ "$(ravelin_json A tunnels | jq -r '.[0].addresses[0]')" = "$1" ] && on_device "$1"; }
on_device() { ipn gwA -4 -o addr show dev ravelin0 | grep -qF " $1/32 "; }
failed_with() { ravelin_json A tunnels | jq -r '.[0].last_error' | grep -q "$1"; }

client_config() {
  ravelin_config A more='request-address = ["ipv4"]'
  sed -i "s|^selectors = .*|selectors = [{ remote = \"$NET_B\" }]|" "$LAB/ravelinA/ravelin.toml"
}

# strongSwan as the server, with a pool or without.
road_server() {
  local dir=$LAB/swanB
  ipn gwB route replace blackhole 10.4.0.0/24
  (
    umask 077
    cat >"$dir/etc/swanctl.conf" <<CONF
connections {
  road {
    version = 2
    mobike = no
    local_addrs = $OUT_B
    $1
    proposals = aes256gcm16-prfsha384-x25519
    local { auth = psk
            id = b.lab }
    remote { auth = psk
             id = a.lab }
    children { road { local_ts = $NET_B
                      esp_proposals = aes128gcm16 } }
  }
}
pools {
  road {
    addrs = 10.4.0.7-10.4.0.9
    dns = 10.2.0.53
  }
}
secrets {
  ike-a {
    secret = "$LAB_PSK"
  }
}
CONF
  )
  swanctl_do B --terminate --force --timeout 1 --ike one >/dev/null 2>&1
  swanctl_do B --load-all >"$dir/load.log" 2>&1 || { cat "$dir/load.log" >&2; die "strongSwan refused its configuration"; }
}

begun() { [ "$(grep -c 'IKE begins' "$LAB/controlA.log")" -ge "$1" ]; }
road_up() { [ "$(ravelin_json A tunnels | jq "[.[0].peers[] | select(.spi_out)] | length")" = "$1" ]; }
road_address() { ravelin_json A tunnels | jq -r ".[0].peers[] | select(.id | contains(\"$1\")) | .selectors[0]" | sed 's/.* = //; s:/32::'; }

road_config() {
  ravelin_config A start=respond
  local dir=$LAB/ravelinA
  sed -i -e "s/^remote = .*/remote = \"any\"/" -e 's/^remote-id = .*/remote-id = "any"/' \
    -e 's|^selectors = .*|pool = ["10.3.0.8/30"]\ndns = ["10.1.0.53"]\nselectors = [{ local = "10.1.0.0/24", remote = "10.3.0.0/24" }]|' \
    "$dir/ravelin.toml"
  (umask 077; printf '[[secret]]\nlocal-id = "a.lab"\nremote-id = "any"\npsk = "%s"\n' "$LAB_PSK" >"$dir/secrets.toml")
}

# One charon plays both clients: two connections with identities and virtual addresses of their own.
road_clients() {
  local dir=$LAB/swanB n name
  (
    umask 077
    {
      echo 'connections {'
      for n in 1 2; do
        [ "$n" = 1 ] && name=one || name=two
        cat <<CONF
  $name {
    version = 2
    mobike = no
    local_addrs = $OUT_B
    remote_addrs = $OUT_A
    vips = 0.0.0.0
    unique = never
    proposals = aes256gcm16-prfsha384-x25519
    local { auth = psk
            id = road$n.lab }
    remote { auth = psk
             id = a.lab }
    children { $name { remote_ts = $NET_A
                       esp_proposals = aes128gcm16 } }
  }
CONF
      done
      printf '}\nsecrets {\n  ike-a {\n    secret = "%s"\n  }\n}\n' "$LAB_PSK"
    } >"$dir/etc/swanctl.conf"
  )
  swanctl_do B --load-all >"$dir/load.log" 2>&1 || { cat "$dir/load.log" >&2; die "strongSwan refused its configuration"; }
  swanctl_do B --initiate --child one >/dev/null 2>&1
}
