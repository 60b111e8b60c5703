#!/usr/bin/env bash
# wireguard-go of the distribution as a peer of the benches: see common.sh for the commands.
# Its cipher is always ChaCha20-Poly1305.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# side NAMESPACE DIR DEVICE PEER'S-KEY ENDPOINT ALLOWED
side() {
  in_ns "$1" wg set "$3" listen-port 51820 private-key "$2/$3.key" peer "$(cat "$2/$4.pub")" endpoint "$5:51820" allowed-ips "$6"
  in_ns "$1" ip link set "$3" up
  in_ns "$1" ip route replace "$6" dev "$3"
}

up() {
  local gw=$1 sink=$2 dir=$3 a b
  # The control sockets of both ends lie in one directory of the file system.
  a=rwa$$ b=rwb$$
  for dev in $a $b; do (umask 077; wg genkey >"$dir/$dev.key"); wg pubkey <"$dir/$dev.key" >"$dir/$dev.pub"; done
  start "$dir" near "$gw" env LOG_LEVEL=error wireguard-go -f "$a"
  start "$dir" far "$sink" env LOG_LEVEL=error wireguard-go -f "$b"
  wait_until 10 test -S "/var/run/wireguard/$a.sock" || die "wireguard-go did not start: $(cat "$dir/near.log")"
  wait_until 10 test -S "/var/run/wireguard/$b.sock" || die "wireguard-go did not start: $(cat "$dir/far.log")"
  side "$gw" "$dir" "$a" "$b" "$OUT_B" "$NET_B"
  side "$sink" "$dir" "$b" "$a" "$OUT_A" "$NET_A"
  in_ns "$sink" ip addr add "$INNER_B/32" dev "$b"
  wait_until 10 in_ns "$gw" ping -n -c 1 -W 1 -I "$INNER_A" "$INNER_B" || die "no ping through wireguard-go"
  cp "$dir/near.pid" "$dir/pids"
  echo "chacha20-poly1305, TUN device, $(nproc) cores" >"$dir/mode"
}

case ${1:-} in
  install) packages wireguard-go wg -- wireguard-go wireguard-tools ;;
  up) locked "$4"; clean_up_after_failure "$4"; up "$2" "$3" "$4" ;;
  down) locked "$2"; down "$2"; after "$2" ;;
  guard) guard "$2" ;;
  *) die "usage: ${0##*/} install | up GW SINK DIR | down DIR | guard DIR" ;;
esac
