# Shared by the scripts of this folder: how they speak, who builds, where things are. Sourced, not run.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
export CARGO_TARGET_DIR="$ROOT/target"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' BLUE=$'\e[34m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' RED='' GREEN='' BLUE='' PLAIN=''
fi

step() { printf '\n%s== %s%s\n' "$BOLD$BLUE" "$*" "$PLAIN"; }
say() { printf '   %s\n' "$*"; }
good() { printf '   %s✔%s %s\n' "$GREEN" "$PLAIN" "$*"; }
die() {
    printf '%s✘ %s%s\n' "$RED" "$*" "$PLAIN" >&2
    exit 1
}

# Runs the calling script again as root, if need be through sudo.
as_root() {
    [ "$(id -u)" = 0 ] && return
    command -v sudo >/dev/null || die "this needs root, and there is no sudo here: run it as root"
    exec sudo --preserve-env=DEMO_KEEP,NO_COLOR,COUNT,SEED "$ROOT/scripts/$(basename "$0")" "$@"
}

# Who builds: the user behind sudo where there is one and the tree is theirs to write, else whoever runs this.
builder() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] &&
        runuser -u "$SUDO_USER" -- test -w "$ROOT"; then
        echo "$SUDO_USER"
    else
        id -un
    fi
}

# Runs a command as the builder, with the builder's home and with rustup's cargo in PATH.
as_builder() {
    local user home
    user=$(builder)
    home=$(getent passwd "$user" | cut -d: -f6)
    if [ "$user" = "$(id -un)" ]; then
        env PATH="${CARGO_HOME:-${HOME:-$home}/.cargo}/bin:$PATH" "$@"
    else
        runuser -u "$user" -- env HOME="$home" PATH="$home/.cargo/bin:$PATH" "$@"
    fi
}

# Says what is missing when Rust is absent or too old, and gives the builder back what an earlier root build took.
check_rust() {
    local user wanted found
    user=$(builder)
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    as_builder sh -c 'command -v cargo' >/dev/null ||
        die "no cargo for user $user: install Rust $wanted or newer from https://rustup.rs as that user, then run this again"
    found=$(as_builder rustc --version | cut -d' ' -f2) || die "rustc of user $user does not run"
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -1)" = "$wanted" ] ||
        die "Rust $found of user $user is too old, $wanted or newer is needed: rustup update stable"
    if [ "$user" != "$(id -un)" ] && [ -d target ] && [ "$(stat -c %U target)" != "$user" ]; then
        say "target/ goes back to $user"
        chown -R "$user:" target
    fi
}

cargo_() { as_builder cargo "$@"; }

# Builds a test target as the builder and prints the path of its program, for who runs it as root.
test_program() {
    cargo_ test --no-run --test "$1" --message-format=json-render-diagnostics |
        jq -r 'select(.executable != null and .profile.test) | .executable'
}

# The routectl that is built here, else the one that is installed.
routectl_here() {
    [ ! -x target/debug/routectl ] || { echo target/debug/routectl; return; }
    command -v routectl || die "no routectl: scripts/build, or sudo make install"
}
