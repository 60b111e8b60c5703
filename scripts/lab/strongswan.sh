# A strongSwan gateway in a namespace, its data path in user space (kernel-libipsec), so that the host kernel needs no
# IPsec. Sourced after net.sh.
#
# What this peer can do: ESP in tunnel mode inside UDP 4500 and nothing else; it asks for that encapsulation by itself.

# strongswan_start SIDE [KEY=VALUE...]: SIDE is A or B, the gateway gwA or gwB. Keys, with their defaults:
#   role=responder|initiator  ike=…  esp=…  ike_rekey=4h  child_rekey=1h  psk=$LAB_PSK  mobike=no  remote=ADDRESS of the other side
#   outer=4|6 inner="4 6": families of the gateways' addresses and of the selectors
#   local_auth=, remote_auth=: lines of swanctl.conf in place of auth = psk; connection=, secrets=: more lines there
#   plugins=: more of them
strongswan_start() {
  local side=$1 role=responder ike=aes256gcm16-prfsha384-x25519,aes256-sha256-modp2048 esp=aes128gcm16
  local ike_rekey=4h child_rekey=1h psk=$LAB_PSK over=10m extra= mobike=no
  local local_auth='auth = psk' remote_auth='auth = psk' outer=4 inner=4
  local connection= secrets= plugins=
  shift
  local setting
  for setting; do
    case ${setting%%=*} in
      role|ike|esp|ike_rekey|child_rekey|psk|over|extra|mobike|local_auth|remote_auth|outer|inner|connection|secrets|plugins) local "${setting%%=*}=${setting#*=}" ;;
      *) die "strongswan_start: unknown setting $setting" ;;
    esac
  done
  local dir=$LAB/swan$side mine theirs my_net their_net me peer action=none
  if [ "$side" = A ]; then
    mine=$OUT_A theirs=$OUT_B my_net=$NET_A their_net=$NET_B me=a.lab peer=b.lab
  else
    mine=$OUT_B theirs=$OUT_A my_net=$NET_B their_net=$NET_A me=b.lab peer=a.lab
  fi
  local my_ts= their_ts= my_net6=$NET6_A their_net6=$NET6_B family
  [ "$side" = A ] || my_net6=$NET6_B their_net6=$NET6_A
  if [ "$outer" = 6 ]; then
    [ "$side" = A ] && mine=$OUT6_A theirs=$OUT6_B || mine=$OUT6_B theirs=$OUT6_A
  fi
  for family in $inner; do
    [ "$family" = 4 ] && set -- "$my_net" "$their_net" || set -- "$my_net6" "$their_net6"
    my_ts=$my_ts${my_ts:+,}$1 their_ts=$their_ts${their_ts:+,}$2
    # Its routes into the tunnel go with the tunnel, and the kernel would then forward in clear: nothing of this peer
    # may be mistaken for a leak of the gateway under test.
    ipn "gw$side" route replace blackhole "$2"
  done
  [ "$role" = responder ] || action=start
  mkdir -p "$dir/etc" && chmod 700 "$dir"
  strongswan_daemon_conf "$dir" "$extra" "$plugins" >"$dir/strongswan.conf"
  (
    umask 077
    cat >"$dir/etc/swanctl.conf" <<CONF
connections {
  peer {
    version = 2
    mobike = $mobike
    local_addrs = $mine
    remote_addrs = $theirs
    proposals = $ike
    rekey_time = $ike_rekey
    over_time = $over
    rand_time = 0
    dpd_delay = 20s
    keyingtries = 0
    $connection
    local { $local_auth
            id = $me }
    remote { $remote_auth
             id = $peer }
    children {
      net {
        local_ts = $my_ts
        remote_ts = $their_ts
        esp_proposals = $esp
        rekey_time = $child_rekey
        life_time = 2h
        rand_time = 0
        start_action = $action
        dpd_action = restart
      }
    }
  }
}
secrets {
  ike-peer {
    id-1 = $me
    id-2 = $peer
    secret = "$psk"
  }
  $secrets
}
CONF
  )
  # A socket left by an earlier one would look like an answer.
  rm -f "$dir/vici"
  start_process "swan$side" "gw$side" env STRONGSWAN_CONF="$dir/strongswan.conf" SWANCTL_DIR="$dir/etc" /usr/sbin/charon-systemd
  wait_until 15 test -S "$dir/vici" || { tail -5 "$LAB/swan$side.log" "$dir/charon.log" >&2; die "strongSwan did not start"; }
  swanctl_do "$side" --load-all >"$dir/load.log" 2>&1 || { cat "$dir/load.log" >&2; die "strongSwan refused its configuration"; }
}

# 16 threads: the user-space data path keeps several for itself, and too few leave none to answer commands.
# The file log flushes each line, so that a scenario can wait for one.
strongswan_daemon_conf() { # DIR EXTRA PLUGINS
  cat <<CONF
charon {
  threads = 16
  install_routes = yes
  retransmit_tries = 5
  $2
  load = random nonce openssl aes sha1 sha2 hmac kdf ctr gcm ccm chapoly curve25519 pem pubkey x509 constraints revocation vici socket-default kernel-libipsec kernel-netlink $3
  filelog {
    main {
      path = $1/charon.log
      time_format = %H:%M:%S
      flush_line = yes
      default = 1
    }
  }
  plugins {
    vici { socket = unix://$1/vici }
  }
}
swanctl {
  load = random nonce openssl pem pubkey x509 pkcs1 pkcs8
}
CONF
}

swanctl_do() { # SIDE ARGUMENTS...
  local dir=$LAB/swan$1
  shift
  STRONGSWAN_CONF=$dir/strongswan.conf SWANCTL_DIR=$dir/etc swanctl "$@" --uri "unix://$dir/vici"
}

strongswan_log() { cat "$LAB/swan$1/charon.log"; }
strongswan_up() { swanctl_do "$1" --list-sas 2>/dev/null | grep -q 'INSTALLED'; }
strongswan_stop() { stop_process "swan$1"; }
