#!/usr/bin/env bash
# Intel's IPsec MB library of the distribution as a yardstick of `ravelin-bench crypto --beside ipsec-mb`. It carries no
# traffic and needs no namespace:
#   install    fetches compiler and library where they are missing, and builds ipsec-mb.c into a folder of its own
#   run        becomes the program, which reads commands from standard input and ends with it
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SOURCE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/ipsec-mb.c
BUILT=${RAVELIN_BENCH_IPSEC_MB:-/var/cache/ravelin-bench/ipsec-mb}
PROGRAM=$BUILT/ipsec-mb

install() {
  [ "$(uname -m)" = x86_64 ] || die "the library is for x86-64 alone"
  [ ! "$PROGRAM" -nt "$SOURCE" ] || return 0
  packages gcc -- gcc libc6-dev
  [ -e /usr/include/intel-ipsec-mb.h ] || packages no-such-command -- libipsec-mb-dev
  mkdir -p "$BUILT"
  local new
  new=$(mktemp "$BUILT/new.XXXXXX")
  gcc -std=c11 -D_GNU_SOURCE -O3 -march=x86-64-v3 -Wall -Wextra -Werror -o "$new" "$SOURCE" -lIPSec_MB >&2 ||
    { rm -f "$new"; die "ipsec-mb.c does not build"; }
  mv "$new" "$PROGRAM"
}

case ${1:-} in
  install) install ;;
  run) exec "$PROGRAM" ;;
  *) die "usage: ${0##*/} install | run" ;;
esac
