# Replayed, altered and unknown ESP, and clear packets that policy covers, are dropped by name on either port
# quick
#
# R41 R154 R155: frames are put on the gateway's own link, beside the wan that is watched.
scenario() {
  local before count
  watch_start
  ravelin_config A start=immediately
  ravelin_config B start=respond
  ravelin_start B
  ravelin_start A
  check "the tunnel comes up" wait_until 20 tunnel_up A
  wait_path hostA "$HOST_B"
  record_esp 40 || fail "could not record ESP"

  injected replay_dup "ESP recorded and sent again" "$LAB/esp"
  in_ns wan "$PY" "$LAB_HERE/py/wire.py" flip "$LAB/esp" "$LAB/flip" >"$LAB/flip.count"
  # The first four lines flip the sequence number itself; the others keep one that was taken already.
  sed -n '5,$p' "$LAB/flip" >"$LAB/flip.body"
  flips_refused
  "$PY" "$LAB_HERE/py/wire.py" spi "$LAB/esp" "$LAB/spi" 0xdeadbee0 --count 20 >/dev/null
  injected no_sa "ESP with an SPI nobody has" "$LAB/spi"
  clear_refused wan0
  clear_refused lan0

  # Behind the window: the window is 1,024, so 2,000 more packets leave the recorded ones behind it.
  flow_start push B A 2 1500
  check_flow push "2 s of traffic while recorded packets age"
  injected replay_old "ESP recorded long ago" "$LAB/esp"
  equal "the tunnel still works" 10 "$(pings hostA "$HOST_B" 10)"
  check_conservation A
  check_conservation B
  watch_stop
  check_wan
}

record_esp() { # COUNT: frames from gwB to gwA, as they lie on gwA's link
  in_ns hostB ping -n -i 0.02 -c $(($1 + 60)) -W 1 "$HOST_A" >/dev/null 2>&1 &
  local ping=$!
  in_ns wan "$PY" "$LAB_HERE/py/wire.py" capture toA "$LAB/esp" "$1" 8 "ip proto 50 and src host $OUT_B" >/dev/null
  local status=$?
  wait $ping
  return $status
}

inject() { in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$1" --pause 200; }

injected() { # REASON TEXT FILE: each frame sent is one more drop of that reason, and none is forwarded
  local before after sent
  before=$(drops_of A "$1")
  sent=$(inject "$3")
  wait_until 3 settled A
  sleep 0.2
  after=$(drops_of A "$1")
  equal "$2 is dropped as $1" "$sent" $((after - before))
}

flips_refused() {
  local before sent
  before=$(drops_of A bad_icv)
  # The replay check comes first and would refuse those: a number ahead of the window lets the ICV be the judge.
  "$PY" - "$LAB/flip.body" "$LAB/flip.ahead" "$LAB_HERE/py" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[3])
import frames, struct
out = []
for number, frame in enumerate(frames.read_hex(sys.argv[1])):
    parsed = frames.Parsed(frame)
    part = bytearray(parsed.esp_part())
    top, = struct.unpack_from("!I", part, 4)
    struct.pack_into("!I", part, 4, (top & 0xFFFFFF) + 5000 + number)
    out.append(parsed.with_esp(bytes(part)))
frames.write_hex(sys.argv[2], out)
PYTHON
  sent=$(inject "$LAB/flip.ahead")
  wait_until 3 settled A
  sleep 0.2
  equal "one flipped bit in each octet, under a fresh sequence number: bad_icv" "$sent" $(($(drops_of A bad_icv) - before))
  equal "the window did not move: the tunnel works" 10 "$(pings hostA "$HOST_B" 10)"
}

clear_refused() { # PORT
  local before sent
  before=$(drops_of A plain_on_protected)
  if [ "$1" = wan0 ]; then
    "$PY" "$LAB_HERE/py/wire.py" clear "$LAB/clear" "$(mac_of wan toA)" "$(mac_of gwA wan0)" "$HOST_B" "$HOST_A" 20 >/dev/null
    sent=$(in_ns wan "$PY" "$LAB_HERE/py/wire.py" send toA "$LAB/clear")
  else
    # Inside: a packet that pretends to come from the far network, on its way to this one.
    "$PY" "$LAB_HERE/py/wire.py" clear "$LAB/clear" "$(mac_of hostA eth0)" "$(mac_of gwA lan0)" "$HOST_B" "$HOST_A" 20 >/dev/null
    sent=$(in_ns hostA "$PY" "$LAB_HERE/py/wire.py" send eth0 "$LAB/clear")
  fi
  wait_until 3 settled A
  sleep 0.2
  equal "clear packets on $1 that policy covers are dropped as plain_on_protected" "$sent" $(($(drops_of A plain_on_protected) - before))
}
