#!/usr/bin/env bash
# strongSwan of the distribution with its data path in user space (kernel-libipsec) as a peer of the benches: see
# common.sh for the commands. AES-128-GCM in UDP 4500, the only encapsulation that this data path knows.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

CHARON=/usr/sbin/charon-systemd

end() { # NAMESPACE DIR FILE MINE THEIRS MY-NET THEIR-NET MY-ID THEIR-ID
  local dir=$2/$3
  mkdir -p "$dir/etc"
  cat >"$dir/strongswan.conf" <<CONF
charon {
  threads = 16
  load = random nonce openssl aes sha1 sha2 hmac kdf ctr gcm curve25519 pem pubkey constraints vici socket-default kernel-libipsec kernel-netlink
  filelog { main { path = $dir/charon.log
                   flush_line = yes } }
  plugins { vici { socket = unix://$dir/vici } }
}
swanctl { load = random nonce openssl pem pubkey }
CONF
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
  start "$2" "$3" "$1" env STRONGSWAN_CONF="$dir/strongswan.conf" SWANCTL_DIR="$dir/etc" $CHARON
  wait_until 15 test -S "$dir/vici" || die "strongSwan did not start: $(tail -3 "$dir/charon.log" 2>/dev/null)"
  ctl "$2" "$3" --load-all >"$dir/load.log" 2>&1 || die "strongSwan refused its configuration: $(cat "$dir/load.log")"
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

case ${1:-} in
  install)
    [ -x $CHARON ] && [ -e /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so ] && command -v swanctl >/dev/null ||
      packages no-such-command -- charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins
    ;;
  up) locked "$4"; clean_up_after_failure "$4"; up "$2" "$3" "$4" ;;
  down) locked "$2"; down "$2"; after "$2" ;;
  guard) guard "$2" ;;
  *) die "usage: ${0##*/} install | up GW SINK DIR | down DIR | guard DIR" ;;
esac
