# What the scripts of this folder share. Sourced.
#
# Contract with `ravelin-bench peers`:
#   NAME.sh install                 fetches what is missing (packages of the distribution, their sources where no
#                                   program is packaged); prints nothing when all is there
#   NAME.sh up GW SINK DIR          starts the peer in namespace GW, between devices lan0 and wan0, and its other end,
#                                   where it needs one, in namespace SINK (device sink0); returns once it carries traffic.
#                                   DIR/pids has the processes in GW that move packets, one a line; DIR/mode one line
#                                   on how it runs
#   NAME.sh down DIR                ends what `up` started, by its process ids
#   NAME.sh guard DIR               waits for the end of its standard input, then does `down` and removes DIR: whoever holds
#                                   the other end may die in any way, nothing that polls stays behind
# Addresses are the bench's: traffic from 10.1.0.0/24 to 100.64.0.0/10 is to be protected; 198.18.0.1 in GW, 198.18.0.2 in SINK.
set -euo pipefail

NET_A=10.1.0.0/24 NET_B=100.64.0.0/10 INNER_A=10.1.0.1 INNER_B=100.64.0.1 OUT_A=198.18.0.1 OUT_B=198.18.0.2

die() { echo "$*" >&2; exit 1; }

# Only the network namespace: `ip netns exec` would change mounts too.
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }

packages() { # COMMAND... -- PACKAGE...: installs the packages when a command is missing
  local missing=
  while [ "$1" != -- ]; do command -v "$1" >/dev/null 2>&1 || missing=yes; shift; done
  shift
  [ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
    die "cannot install $* (cure: apt-get update, or a network)"
}

# start DIR FILE NAMESPACE COMMAND...: in the background, its process id into DIR/all and DIR/FILE.pid, its output into
# DIR/FILE.log. nsenter becomes the command, so that the id is the command's own (of a function it would be a shell's).
start() {
  local dir=$1 file=$2 ns=$3
  shift 3
  nsenter --net="/run/netns/$ns" -- "$@" >"$dir/$file.log" 2>&1 9>&- &
  echo $! >>"$dir/all"
  echo $! >"$dir/$file.pid"
}

wait_until() { # SECONDS COMMAND...
  local n=$(($1 * 10))
  shift
  while ! "$@" >/dev/null 2>&1; do
    n=$((n - 1))
    [ $n -gt 0 ] || return 1
    sleep 0.1
  done
}

# By id, gently, then not.
down() {
  local pid
  [ -f "$1/all" ] || return 0
  while read -r pid; do kill "$pid" 2>/dev/null || true; done <"$1/all"
  while read -r pid; do wait_until 5 gone "$pid" || kill -9 "$pid" 2>/dev/null || true; done <"$1/all"
  rm -f "$1/all" "$1/pids"
}

# `up` and `down` of one DIR, one after the other. What is started does not hold the lock on (see `start`).
locked() { exec 9>"$1/lock"; flock 9; }

guard() {
  trap '' INT TERM HUP
  cat >/dev/null
  [ -d "$1" ] || return 0
  locked "$1"
  down "$1"
  after "$1"
  case $1 in */ravelin-bench-*) rm -rf -- "$1" ;; esac
}

# What a script has to put right behind its peer.
after() { :; }

# What was started does not outlive a failed start.
clean_up_after_failure() { FAILED_DIR=$1; trap 'status=$?; [ $status = 0 ] || down "$FAILED_DIR"; exit $status' EXIT; }

gone() { ! kill -0 "$1" 2>/dev/null; }
