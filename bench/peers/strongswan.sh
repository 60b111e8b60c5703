#!/usr/bin/env bash
# strongSwan of the distribution with its data path in user space (kernel-libipsec) as a peer of the benches: see
# common.sh for the commands. AES-128-GCM in UDP 4500, the only encapsulation that this data path knows.
#
# strongswan.sh ike HUB SPOKES DIR COUNT GROUP: for `ravelin-bench ike`: one end in namespace HUB that waits for anybody
# who knows the secret, one in SPOKES with COUNT connections of which none has begun, each with an address, an identity and a
# network of its own. DIR/hub and DIR/spokes have their control sockets (vici).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

CHARON=/usr/sbin/charon-systemd

settings() { # DIR [LINES]: of one end; LINES are more of the daemon's
  local dir=$1
  mkdir -p "$dir/etc"
  cat >"$dir/strongswan.conf" <<CONF
charon {
  threads = 16
  ${2:-}
  load = random nonce openssl aes sha1 sha2 hmac kdf ctr gcm curve25519 pem pubkey constraints vici socket-default kernel-libipsec kernel-netlink
  filelog { main { path = $dir/charon.log
                   flush_line = yes } }
  plugins { vici { socket = unix://$dir/vici } }
}
swanctl { load = random nonce openssl pem pubkey }
CONF
}

end() { # NAMESPACE DIR FILE MINE THEIRS MY-NET THEIR-NET MY-ID THEIR-ID
  local dir=$2/$3
  settings "$dir"
  (
    umask 077
    cat >"$dir/etc/swanctl.conf" <<CONF
connections { peer {
  version = 2
  mobike = no
  local_addrs = $4
  remote_addrs = $5
  proposals = aes256gcm16-prfsha384-x25519
  local { auth = psk
          id = $8 }
  remote { auth = psk
           id = $9 }
  children { net { local_ts = $6
                   remote_ts = $7
                   esp_proposals = aes128gcm16 } }
} }
secrets { ike-peer { id-1 = $8
                     id-2 = $9
                     secret = "of this bench alone" } }
CONF
  )
  begin "$@"
}

begin() { # NAMESPACE DIR FILE: the daemon, with what its configuration says
  local dir=$2/$3
  start "$2" "$3" "$1" env STRONGSWAN_CONF="$dir/strongswan.conf" SWANCTL_DIR="$dir/etc" $CHARON
  wait_until 15 test -S "$dir/vici" || die "strongSwan did not start: $(tail -3 "$dir/charon.log" 2>/dev/null)"
  ctl "$2" "$3" --load-all >"$dir/load.log" 2>&1 || die "strongSwan refused its configuration: $(tail -3 "$dir/load.log")"
}

ctl() { # DIR FILE ARGUMENTS...
  local dir=$1/$2
  shift 2
  STRONGSWAN_CONF=$dir/strongswan.conf SWANCTL_DIR=$dir/etc swanctl "$@" --uri "unix://$dir/vici"
}

up() {
  local gw=$1 sink=$2 dir=$3
  # Its routes into the tunnel want an address of its own in the protected network.
  in_ns "$sink" ip addr replace "$INNER_B/32" dev lo
  end "$sink" "$dir" far "$OUT_B" "$OUT_A" "$NET_B" "$NET_A" b.bench a.bench
  end "$gw" "$dir" near "$OUT_A" "$OUT_B" "$NET_A" "$NET_B" a.bench b.bench
  ctl "$dir" near --initiate --child net --timeout 10 >"$dir/up.log" 2>&1 || die "no tunnel: $(tail -3 "$dir/up.log")"
  cp "$dir/near.pid" "$dir/pids"
  echo "aes-128-gcm in UDP, kernel-libipsec, $(nproc) cores" >"$dir/mode"
}

nth() { # FIRST N: an IPv4 address
  local IFS=. a
  read -r -a a <<<"$1"
  local n=$(((a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3]) + $2))
  REPLY=$((n >> 24)).$((n >> 16 & 255)).$((n >> 8 & 255)).$((n & 255))
}

# One connection of many: an end's address, identity and network, then the other's (empty: anybody's).
many() { # NAME MINE MY-ID MY-NET THEIRS THEIR-ID THEIR-NET GROUP
  cat <<CONF
  t$1 { version = 2
    mobike = no
    local_addrs = $2
    remote_addrs = ${5:-%any}
    proposals = aes256gcm16-prfsha384-$8
    local { auth = psk
            id = $3 }
    remote { auth = psk
             ${6:+id = $6} }
    children { n$1 { local_ts = $4
                     remote_ts = $7
                     esp_proposals = aes128gcm16 } } }
CONF
}

# Where it has the choice, what is fastest: no cookies, tables for many, one secret, no waiting for events of routes.
ike() { # HUB SPOKES DIR COUNT GROUP
  local dir=$3 count=$4 group=$5 n outer inner
  local lines='dos_protection = no
  ikesa_table_size = 4096
  ikesa_table_segments = 16
  process_route = no
  install_routes = no'
  settings "$dir/hub" "$lines"
  settings "$dir/spokes" "$lines"
  (
    umask 077
    { echo 'connections {'
      many any $OUT_A hub.bench 10.1.0.0/16 '' '' $NET_B "$group"
      echo '} secrets { ike-one { secret = "of this bench alone" } }'; } >"$dir/hub/etc/swanctl.conf"
    { echo 'connections {'
      for ((n = 0; n < count; n++)); do
        nth 10.64.0.1 "$n"; outer=$REPLY
        nth $INNER_B "$n"; inner=$REPLY
        many "$n" "$outer" "s$n.bench" "$inner/32" $OUT_A hub.bench 10.1.0.0/16 "$group"
        echo "addr add $inner/32 dev lo" >&3
      done
      echo '} secrets { ike-one { secret = "of this bench alone" } }'; } >"$dir/spokes/etc/swanctl.conf" 3>"$dir/addresses"
  )
  # Its routes into the tunnels want addresses of their own in the protected networks.
  ip -n "$1" addr replace "$INNER_A/32" dev lo
  ip -n "$2" -batch "$dir/addresses"
  begin "$1" "$dir" hub
  begin "$2" "$dir" spokes
}

case ${1:-} in
  install)
    [ -x $CHARON ] && [ -e /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so ] && command -v swanctl >/dev/null ||
      packages no-such-command -- charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins
    ;;
  up) locked "$4"; clean_up_after_failure "$4"; up "$2" "$3" "$4" ;;
  ike) locked "$4"; clean_up_after_failure "$4"; ike "$2" "$3" "$4" "$5" "$6" ;;
  down) locked "$2"; down "$2"; after "$2" ;;
  guard) guard "$2" ;;
  *) die "usage: ${0##*/} install | up GW SINK DIR | ike HUB SPOKES DIR COUNT GROUP | down DIR | guard DIR" ;;
esac
