# The lab, whole: source this one.
#
# lab_setup NAME makes directory and namespaces; lab_end takes everything down. Scripts set `trap lab_end EXIT` and the
# signals below, so that Ctrl-C leaves nothing behind.
_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for _part in base prereq rust net strongswan ravelin checks; do . "$_here/$_part.sh"; done

lab_setup() {
  need_root "$0"
  lab_begin "$1"
  LAB_PSK=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
  make_topology
}

lab_traps() {
  trap "$1" EXIT
  trap 'LAB_WHY=interrupted; exit 130' INT
  trap 'LAB_WHY=terminated; exit 143' TERM HUP
}
