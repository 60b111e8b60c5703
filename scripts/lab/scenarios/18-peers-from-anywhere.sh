# Peers from anywhere: two strongSwan clients with addresses from our pool, each by SAs of its own; leases over a restart
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

  swanctl_do B --terminate --ike one >/dev/null 2>&1
  check "one goes, the other stays" wait_until 5 road_up 1
  equal "pings to the other" 10 "$(pings hostA "$two" 10)"

  sleep 1.2 # leases are written once a second
  equal "nobody else reads the leases" 600 "$(stat -c %a "$(run_dir A)/leases.json")"
  stop_process controlA
  ravelin_start_control A
  check "IKE has begun again" wait_until 10 begun
  swanctl_do B --terminate --force --timeout 1 --ike two >/dev/null 2>&1
  # In the other order: who asks first does not get the other's.
  swanctl_do B --initiate --child two >/dev/null 2>&1
  swanctl_do B --initiate --child one >/dev/null 2>&1
  check "both are back" wait_until 15 road_up 2
  equal "each has the address it had" "$one $two" "$(road_address road1.lab) $(road_address road2.lab)"
  equal "pings to the first client, again" 10 "$(wait_path hostA "$one"; pings hostA "$one" 10)"
  check_conservation A
  watch_stop
  check_wan
}

begun() { [ "$(grep -c 'IKE begins' "$LAB/controlA.log")" -ge 2 ]; }
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
