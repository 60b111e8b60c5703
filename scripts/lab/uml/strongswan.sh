# strongSwan in a guest, on the XFRM of the guest's kernel. Source after guest.sh.
#
# Decides its configuration. Without a NAT between the gateways it sends plain ESP.

# guest_strongswan SIDE [KEY=VALUE...]: starts it, or has it load another configuration. Keys, with their defaults:
#   ike=…  esp=…  ah=… (instead of esp)  mode=tunnel|transport  outer=4|6  protocol= (of the selectors; gre)  ike_rekey=4h  child_rekey=1h  psk=$LAB_PSK
guest_strongswan() {
  local side=$1 ike=aes256gcm16-prfsha384-x25519,aes256-sha256-modp2048 esp=aes128gcm16 ah= mode=tunnel outer=4 ike_rekey=4h child_rekey=1h psk=$LAB_PSK protocol=
  local mine=$OUT_A theirs=$OUT_B my_net=$NET_A their_net=$NET_B me=a.lab peer=b.lab setting share
  shift
  for setting; do
    case ${setting%%=*} in
      ike|esp|ah|mode|outer|ike_rekey|child_rekey|psk|protocol) local "${setting%%=*}=${setting#*=}" ;;
      *) die "guest_strongswan: unknown setting $setting" ;;
    esac
  done
  [ "$side" = A ] || mine=$OUT_B theirs=$OUT_A my_net=$NET_B their_net=$NET_A me=b.lab peer=a.lab
  if [ $outer = 6 ]; then
    mine=$OUT6_A theirs=$OUT6_B
    [ "$side" = A ] || mine=$OUT6_B theirs=$OUT6_A
  fi
  [ $mode = tunnel ] || my_net=$mine their_net=$theirs
  local only=${protocol:+[$protocol]}
  local proposals="esp_proposals = $esp"
  [ -z "$ah" ] || proposals="ah_proposals = $ah"
  share=$(guest_dir "$side")/share
  mkdir -p "$share/etc"
  (
    umask 077
    cat >"$share/etc/swanctl.conf" <<CONF
connections {
  peer {
    version = 2
    mobike = no
    local_addrs = $mine
    remote_addrs = $theirs
    proposals = $ike
    rekey_time = $ike_rekey
    rand_time = 0
    local { auth = psk
            id = $me }
    remote { auth = psk
             id = $peer }
    children {
      net {
        local_ts = $my_net$only
        remote_ts = $their_net$only
        $proposals
        mode = $mode
        rekey_time = $child_rekey
        rand_time = 0
        replay_window = 256
        start_action = none
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
}
CONF
  )
  [ -e "$share/strongswan.conf" ] || guest_charon "$side"
  # While there is no tunnel this kernel stays silent: what crosses the wan in clear is then Ravelin's doing. (strongSwan
  # flushes all policies when it starts, and its own replace one of the same selector: hence the wider one.)
  if [ $outer = 4 ] || [ $mode = tunnel ]; then
    guest_run "$side" "ip xfrm policy update src $my_net dst 10.0.0.0/8 dir out action block priority 4000000000" ||
      die "the guest's kernel takes no policy"
  fi
  guest_swanctl "$side" --load-all >"$share/load.log" || { cat "$share/load.log" >&2; die "strongSwan in the guest refused its configuration"; }
}

guest_charon() { # SIDE
  local share
  share=$(guest_dir "$1")/share
  cat >"$share/strongswan.conf" <<'CONF'
charon {
  threads = 16
  retransmit_tries = 5
  load = random nonce openssl aes sha1 sha2 hmac kdf ctr gcm ccm chapoly curve25519 pem pubkey constraints vici socket-default kernel-netlink
  filelog {
    main {
      path = /mnt/charon.log
      time_format = %H:%M:%S
      flush_line = yes
      default = 1
    }
  }
  plugins {
    vici { socket = unix:///run/vici }
  }
}
swanctl {
  load = random nonce openssl pem pubkey
}
CONF
  guest_run "$1" '
    export STRONGSWAN_CONF=/mnt/strongswan.conf SWANCTL_DIR=/mnt/etc
    setsid /usr/sbin/charon-systemd >/mnt/charon.out 2>&1 &
    for i in $(seq 100); do [ -S /run/vici ] && exit 0; sleep 0.1; done
    exit 1' || { tail -5 "$share/charon.log" "$share/charon.out" >&2; die "strongSwan in the guest did not start"; }
}

guest_swanctl() { # SIDE ARGUMENTS...
  local side=$1
  shift
  guest_run "$side" "STRONGSWAN_CONF=/mnt/strongswan.conf SWANCTL_DIR=/mnt/etc swanctl $* --uri unix:///run/vici"
}
guest_strongswan_log() { cat "$(guest_dir "$1")/share/charon.log"; }
guest_strongswan_up() { guest_swanctl "$1" --list-sas | grep -q INSTALLED; }
