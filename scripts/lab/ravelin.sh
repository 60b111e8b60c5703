# A Ravelin gateway in a namespace: two processes, a configuration made here, a run directory of its own.
# Sourced after net.sh.
#
# Binaries come from $RAVELIN_BIN (default: the release build of this tree); nothing is installed.

RAVELIN_PREBUILT=${RAVELIN_BIN:+yes}
RAVELIN_BIN=${RAVELIN_BIN:-${CARGO_TARGET_DIR:-$REPO/target}/release}

# The last part of a run directory also names what is pinned in the BPF file system, so it differs between the gateways.
run_dir() { echo "$LAB/$LAB_ID-$1"; }

# ravelin_config SIDE [KEY=VALUE...]: writes the configuration and the secrets of gateway A or B. Keys, with defaults:
#   start=immediately|on-traffic|respond  ike=…  esp=…  encapsulation=auto|udp  ike_lifetime=4h  lifetime=1h  window=1024
#   mtu=1500  fragment=1280  df=copy  cores=CORE  policy=bypass  tunnels=1   (a second tunnel, 10.9.A.0/24 – 10.9.B.0/24, with tunnels=2)
#   ports="lan0 wan0"  file=ravelin.toml  dpd=20s  local=ADDRESS of this side  more=LINES of [[tunnel]]
#   outer=4|6  inner="4 6": families of the gateways' addresses and of the selectors
#   interface=KEYS of a route-based tunnel's device, instead of selectors
ravelin_config() {
  local side=$1 start=immediately ike='aes256gcm16-prfsha384-x25519 aes256-sha256-modp2048' esp=aes128gcm16
  local encapsulation=auto ike_lifetime=4h lifetime=1h window=1024 mtu=1500 fragment=1280 df=copy cores= policy=bypass tunnels=1
  local ports='lan0 wan0' file=ravelin.toml setting port psk=$LAB_PSK dpd=20s local= more= outer=4 inner=4 interface=
  shift
  for setting; do
    case ${setting%%=*} in
      start|ike|esp|encapsulation|ike_lifetime|lifetime|window|mtu|fragment|df|cores|policy|tunnels|ports|file|psk|dpd|local|more|outer|inner|interface)
        local "${setting%%=*}=${setting#*=}" ;;
      *) die "ravelin_config: unknown setting $setting" ;;
    esac
  done
  local dir=$LAB/ravelin$side me peer mine theirs my_net their_net
  if [ "$side" = A ]; then
    me=a.lab peer=b.lab mine=$OUT_A theirs=$OUT_B my_net=$NET_A their_net=$NET_B
    : "${cores:=0}"
  else
    me=b.lab peer=a.lab mine=$OUT_B theirs=$OUT_A my_net=$NET_B their_net=$NET_A
    : "${cores:=$(($(nproc) > 1))}"
  fi
  local my_net6=$NET6_A their_net6=$NET6_B
  [ "$side" = A ] || my_net6=$NET6_B their_net6=$NET6_A
  if [ "$outer" = 6 ]; then
    [ "$side" = A ] && mine=$OUT6_A theirs=$OUT6_B || mine=$OUT6_B theirs=$OUT6_A
  fi
  mine=${local:-$mine}
  mkdir -p "$dir" "$(run_dir "$side")" && chmod 700 "$dir"
  {
    for port in $ports; do
      printf '[[port]]\nname = "%s"\nattach = "auto"\n\n' "$port"
    done
    cat <<CONF
[dataplane]
cores = [${cores//,/, }]
frames = 16384
frame-size = 2048
ring-size = 2048
tun = "ravelin0"

[control]
run-dir = "$(run_dir "$side")"
secrets = "secrets.toml"
default-policy = "$policy"

CONF
    ravelin_tunnel net "$my_net" "$their_net"
    if [ "$tunnels" = 2 ]; then
      # Another pair of identities: a responder tells two tunnels between the same addresses apart by them.
      me=${me/./2.} peer=${peer/./2.}
      if [ "$side" = A ]; then ravelin_tunnel other 10.9.1.0/24 10.9.2.0/24; else ravelin_tunnel other 10.9.2.0/24 10.9.1.0/24; fi
    fi
  } >"$dir/$file"
  [ "$side" = A ] && me=a peer=b || me=b peer=a
  (
    umask 077
    set -- $me.lab $peer.lab "$psk"
    [ "$tunnels" = 1 ] || set -- "$@" ${me}2.lab ${peer}2.lab "$psk"
    printf '[[secret]]\nlocal-id = "%s"\nremote-id = "%s"\npsk = "%s"\n\n' "$@" >"$dir/secrets.toml"
  )
}

# Uses the caller's settings.
ravelin_tunnel() { # NAME LOCAL REMOTE
  cat <<CONF
[[tunnel]]
name = "$1"
local = "$mine"
remote = "$theirs"
local-id = "$me"
remote-id = "$peer"
ike-proposals = [$(quoted $ike)]
esp-proposals = [$(quoted $esp)]
$(if [ -n "$interface" ]; then echo "interface = { $interface }"; else echo "selectors = [$(ravelin_selectors "$2" "$3")]"; fi)
start = "$start"
replay-window = $window
tunnel-mtu = $mtu
ike-fragment-size = $fragment
df = "$df"
ike-lifetime = "$ike_lifetime"
lifetime = "$lifetime"
encapsulation = "$encapsulation"
dpd = "$dpd"
$more

CONF
}

ravelin_selectors() { # LOCAL REMOTE
  local out= family from to
  for family in $inner; do
    [ "$family" = 4 ] && from=$1 to=$2 || from=$my_net6 to=$their_net6
    out="$out${out:+, }{ local = \"$from\", remote = \"$to\" }"
  done
  echo "$out"
}

quoted() { local out= w; for w; do out="$out${out:+, }\"$w\""; done; echo "$out"; }

ravelin_start() { # SIDE: both processes, waiting for each socket
  ravelin_start_dataplane "$1"
  ravelin_start_control "$@"
}

ravelin_start_dataplane() {
  local dir
  dir=$(run_dir "$1")
  start_process "dataplane$1" "gw$1" env RUST_LOG="${RUST_LOG:-info}" "$RAVELIN_BIN/ravelin-dataplane" --run-dir "$dir"
  wait_until 15 dataplane_listens "$1" || { tail -20 "$LAB/dataplane$1.log" >&2; die "the data plane of gw$1 did not start"; }
}

# A killed process leaves its socket's file behind: somebody must listen on it.
dataplane_listens() { alive "dataplane$1" && in_ns "gw$1" ss -Hlx | grep -qF "$(run_dir "$1")/dataplane.sock"; }

ravelin_start_control() { # SIDE [OPTIONS...]
  local dir=$LAB/ravelin$1
  start_process "control$1" "gw$1" env RUST_LOG="${RUST_LOG:-info}" "$RAVELIN_BIN/ravelin-control" --config "$dir/ravelin.toml" "${@:2}"
  wait_until 20 ravelin_answers "$1" || { tail -20 "$LAB/control$1.log" "$LAB/dataplane$1.log" >&2; die "the control process of gw$1 did not start"; }
}

ravelin_do() { # SIDE ARGUMENTS...: the command `ravelin`
  local side=$1
  shift
  "$RAVELIN_BIN/ravelin" --run-dir "$(run_dir "$side")" "$@"
}

ravelin_answers() { alive "control$1" && ravelin_do "$1" show workers --json; }
ravelin_json() { ravelin_do "$1" show "$2" --json; }
ravelin_log() { cat "$LAB/control$1.log"; }
ravelin_stop() { stop_process "control$1" && stop_process "dataplane$1"; }
