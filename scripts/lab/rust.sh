# Finds the Rust toolchain, also under sudo, and builds the product. Sourced after base.sh.
#
# Decides which cargo is used. Under sudo the invoking user's toolchain is borrowed, but never written to: what cargo
# fetches as root goes to root's own cache.

find_cargo() {
  # What `cargo install` puts there is needed as well (bpf-linker).
  export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  command -v cargo >/dev/null && return 0
  local home
  for home in "${SUDO_USER:+$(getent passwd "$SUDO_USER" | cut -d: -f6)}" /root; do
    if [ -n "$home" ] && [ -x "$home/.cargo/bin/cargo" ]; then
      export PATH="$home/.cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
      return 0
    fi
  done
  if [ -x /usr/local/cargo/bin/cargo ]; then
    export PATH="/usr/local/cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-/usr/local/rustup}"
    return 0
  fi
  die "no cargo found: install Rust (https://rustup.rs), stable, 1.95 or newer"
}

build_prerequisites() {
  command -v cc >/dev/null || install_packages gcc libc6-dev
  find_cargo
  "$REPO/scripts/toolchain" >"${1:-/dev/stderr}" 2>&1 || { [ -z "${1:-}" ] || tail -20 "$1" >&2; die "the eBPF toolchain could not be installed (scripts/toolchain)"; }
}

# With RAVELIN_BIN in the environment the binaries there are taken as they are.
build_product() {
  [ -z "${RAVELIN_PREBUILT:-}" ] || { say "taking the binaries in $RAVELIN_BIN"; return 0; }
  (cd "$REPO" && cargo build --release --locked -p ravelin-dataplane -p ravelin-control) || die "the build failed"
}
