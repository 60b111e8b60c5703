# Base of the lab library: messages, the lab's own directory, processes by id, clean-up. Sourced, never run.
#
# Decides what belongs to this run and what is taken down at its end. Reads nothing of the product.
# Never touches a process or a namespace that this run did not make; what a killed run left behind is recognised by
# the owner noted in its directory (process id and start time), so that a recycled id is not mistaken for it.

LAB_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$LAB_HERE/../.." && pwd)
LAB_ROOT=${RAVELIN_LAB_ROOT:-/run/ravelin-lab}
PY=/usr/bin/python3
LAB=                 # directory of this lab: configurations, sockets, logs, captures
LAB_ID=              # prefix of its namespaces
LAB_KEEP=            # not empty: leave everything up at the end
LAB_STARTED=$SECONDS

say()  { printf '[%3ds] %s\n' $((SECONDS - LAB_STARTED)) "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
# A signal may come while a function's output is redirected: the last words go where the first ones went.
exec {LAB_OUT}>&1 {LAB_ERR}>&2
last_words() { exec >&"$LAB_OUT" 2>&"$LAB_ERR"; }

# Ends the run. The caller's exit trap prints the final line from LAB_WHY.
LAB_WHY=
die()  { LAB_WHY=$*; printf 'error: %s\n' "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root: run it with sudo"; }

proc_start() { # PID: start time in clock ticks since boot (empty when there is no such process)
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  set -- ${stat##*) }
  echo "${20}"
}

proc_is() { # PID START: the very process that was started, and not a zombie
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  set -- "$2" ${stat##*) }
  [ "$2" != Z ] && [ "${21}" = "$1" ]
}

lab_begin() { # NAME: makes the directory and fixes the prefix; sweeps leftovers of dead runs
  mkdir -p "$LAB_ROOT" && chmod 700 "$LAB_ROOT" || die "cannot make $LAB_ROOT"
  lab_sweep
  LAB=$(mktemp -d "$LAB_ROOT/$1.XXXX") || die "cannot make a directory in $LAB_ROOT"
  LAB_ID=rl$$-${LAB##*.}
  echo "$LAB_ID" >"$LAB/id"
  echo "$$ $(proc_start $$)" >"$LAB/owner"
  : >"$LAB/processes"
}

lab_sweep() { # labs whose owner died without cleaning up
  local dir pid start
  for dir in "$LAB_ROOT"/*/; do
    [ -e "$dir/owner" ] && [ ! -e "$dir/keep" ] || continue
    read -r pid start <"$dir/owner"
    proc_is "$pid" "$start" || lab_remove "${dir%/}"
  done
}

# start_process NAME NAMESPACE COMMAND...: in the background, output to $LAB/NAME.log; its id in $(pid_of NAME)
start_process() {
  local name=$1 ns=$2 pid start
  shift 2
  # A session of its own: Ctrl-C reaches this script alone, which then stops things in order.
  setsid nsenter --net="/run/netns/$LAB_ID-$ns" -- "$@" >>"$LAB/$name.log" 2>&1 </dev/null {LAB_OUT}>&- {LAB_ERR}>&- &
  pid=$!
  start=$(proc_start "$pid")
  echo "$name $pid ${start:-0}" >>"$LAB/processes"
}

# The last process started under this name: "PID START".
process_entry() { awk -v n="$1" '$1 == n { e = $2 " " $3 } END { print e }' "$LAB/processes"; }
pid_of() { local e; e=$(process_entry "$1"); echo "${e%% *}"; }
alive() { local e; e=$(process_entry "$1"); [ -n "$e" ] && proc_is $e; }

# signal_process NAME SIGNAL: only when it is still the process that was started
signal_process() { local e; e=$(process_entry "$1"); [ -n "$e" ] && proc_is $e && kill -"$2" "${e%% *}"; }

# kill_process NAME: KILL, and gone
kill_process() {
  signal_process "$1" KILL || return 0
  wait "$(pid_of "$1")" 2>/dev/null # also keeps the shell from announcing it
  true
}

# end_of NAME SECONDS: waits for a process that ends by itself; ENDED is its status, 124 when it does not end
end_of() {
  ENDED=124
  wait_until "$2" not alive "$1" || return 0
  wait "$(pid_of "$1")" 2>/dev/null
  ENDED=$?
}

# stop_process NAME [SECONDS]: TERM, and KILL when it does not go; status 1 when it had to be killed
stop_process() {
  signal_process "$1" TERM || return 0
  wait_until "${2:-10}" not alive "$1" && return 0
  kill_process "$1"
  return 1
}

not() { ! "$@"; }

# wait_until SECONDS COMMAND...: until it succeeds; status 1 after that time
wait_until() {
  local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
    sleep 0.05
  done
}

lab_remove() { # DIR: ends what this lab started, deletes its namespaces, removes the directory
  local dir=$1 id name pid start round left
  id=$(cat "$dir/id" 2>/dev/null)
  for round in TERM KILL; do
    left=
    while read -r name pid start; do
      proc_is "$pid" "$start" && { kill -$round "$pid" 2>/dev/null; left="$left $pid:$start"; }
    done < <(tac "$dir/processes" 2>/dev/null)
    [ -n "$left" ] || break
    [ $round = KILL ] || wait_until 5 all_gone $left
  done
  if [ -n "$id" ]; then
    for name in /run/netns/"$id"-*; do
      [ -e "$name" ] && ip netns del "${name##*/}"
    done
    # Programs that a killed data plane left pinned, on devices that are gone with their namespace.
    rm -rf /sys/fs/bpf/ravelin-"$id"-* 2>/dev/null
  fi
  rm -rf "$dir"
}

all_gone() { local e; for e; do proc_is "${e%%:*}" "${e##*:}" && return 1; done; true; }

lab_end() {
  [ -n "$LAB" ] && [ -d "$LAB" ] || return 0
  if [ -n "$LAB_KEEP" ]; then
    touch "$LAB/keep"
  else
    lab_remove "$LAB"
  fi
  LAB=
}
