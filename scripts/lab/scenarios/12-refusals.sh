# Whatever cannot work ends with an error that says what and how to cure it, status not 0, and nothing left attached
# quick
scenario() {
  ravelin_config A
  cp "$LAB/ravelinA/ravelin.toml" "$LAB/ravelinA/good.toml"

  check "a good file passes the check" "$RAVELIN_BIN/ravelin" check "$LAB/ravelinA/ravelin.toml"
  sed 's/esp-proposals = .*/esp-proposals = ["rot13"]/' "$LAB/ravelinA/good.toml" >"$LAB/ravelinA/bad.toml"
  refused "ravelin check of an unknown proposal" 'rot13' "$RAVELIN_BIN/ravelin" check "$LAB/ravelinA/bad.toml"
  check "it names file and line" said_line bad.toml "$(grep -n rot13 "$LAB/ravelinA/bad.toml" | cut -d: -f1)"
  refused "a missing file" 'nowhere.toml' "$RAVELIN_BIN/ravelin" check "$LAB/nowhere.toml"
  chmod 644 "$LAB/ravelinA/secrets.toml"
  refused "secrets that others can read" 'secrets.toml' "$RAVELIN_BIN/ravelin-control" --config "$LAB/ravelinA/ravelin.toml"
  chmod 600 "$LAB/ravelinA/secrets.toml"
  refused "the command without a gateway" 'not running' "$RAVELIN_BIN/ravelin" --run-dir "$(run_dir A)" show tunnels
  refused "the control process with a bad file" 'rot13' "$RAVELIN_BIN/ravelin-control" --config "$LAB/ravelinA/bad.toml"
  nothing_attached "after these"

  refused "the data plane without privileges" 'root\|CAP_\|capabilit' setpriv --reuid 65534 --regid 65534 --clear-groups \
    "$RAVELIN_BIN/ravelin-dataplane" --run-dir "$(open_directory)"

  ravelin_start_dataplane A
  sed 's/"lan0"/"nosuch0"/' "$LAB/ravelinA/good.toml" >"$LAB/ravelinA/ravelin.toml"
  start_process controlA gwA "$RAVELIN_BIN/ravelin-control" --config "$LAB/ravelinA/ravelin.toml"
  end_of dataplaneA 10
  equal "a port that does not exist ends the data plane with status" 1 $ENDED
  check "it says which" grep -q 'nosuch0.*no such device' "$LAB/dataplaneA.log"
  check "the control process says so too" wait_until 5 grep -q 'nosuch0' "$LAB/controlA.log"
  stop_process controlA
  nothing_attached "after the missing port"
  cp "$LAB/ravelinA/good.toml" "$LAB/ravelinA/ravelin.toml"

  ravelin_start_dataplane A
  start_process occupant gwA "$PY" -c 'import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(("0.0.0.0",500)); time.sleep(60)'
  wait_until 5 port_open gwA 500
  refused "UDP 500 in use" '500' "$RAVELIN_BIN/ravelin-control" --config "$LAB/ravelinA/ravelin.toml"
  stop_process occupant
  stop_process dataplaneA
  nothing_attached "at the end"

  ravelin_start A
  refused "a second control process on the same directory" 'already\|another\|in use' "$RAVELIN_BIN/ravelin-control" --config "$LAB/ravelinA/ravelin.toml"
  refused "a second data plane on the same directory" 'already\|another\|in use' "$RAVELIN_BIN/ravelin-dataplane" --run-dir "$(run_dir A)"
  check "the first ones are not disturbed, and name the kernels of every algorithm (R227)" kernels_named
  check "sockets are counted by port" sockets_counted
  ravelin_stop A
  nothing_attached "after TERM"
}

kernels_named() {
  local algorithm said
  said=$(ravelin_do A show workers) || return 1
  for algorithm in aes-gcm aes-gmac aes-ctr aes-cbc chacha20-poly1305 sha1 sha2-256 sha2-512; do
    grep -q "crypto:.*$algorithm [a-z]" <<<"$said" || { echo "$algorithm is not named: $said"; return 1; }
  done
  grep -q "^buffers: normal pages" <<<"$said" || { echo "where the buffers lie is not said: $said"; return 1; }
}
sockets_counted() {
  ravelin_do A show ports --json | jq -e 'all(.[]; .counters.rx_ring_full == 0 and .counters.fill_ring_empty >= 0)'
}

refused() { # TEXT PATTERN COMMAND...: ends by itself, status 1..123, and says something that matches
  local text=$1 pattern=$2 status
  shift 2
  in_ns gwA timeout -k 5 15 "$@" >"$LAB/refused.out" 2>&1
  status=$?
  if [ $status -ge 1 ] && [ $status -le 123 ] && grep -qi "$pattern" "$LAB/refused.out"; then
    pass "$text: status $status, \"$(grep -i "$pattern" "$LAB/refused.out" | head -n 1 | sed 's/\x1b\[[0-9;]*m//g' | cut -c1-150)\""
  else
    fail "$text: status $status"
    head -n 8 "$LAB/refused.out" | sed 's/^/       /'
  fi
}
said_line() { grep -q "$1:$2\|line $2" "$LAB/refused.out"; }
nothing_attached() { check "nothing is attached $1" none_attached; }
none_attached() { ! xdp_on gwA lan0 && ! xdp_on gwA wan0; }
open_directory() { local d=$LAB/open; mkdir -p "$d"; chmod 777 "$d"; chmod 711 "$LAB_ROOT" "$LAB"; echo "$d"; }
