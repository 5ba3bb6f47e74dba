#!/bin/sh
# Installs what the build and the tests need and is not there yet: Debian packages, Rust components, cargo-deny.
# Runs again without harm, asks nothing, and touches the network only when something is missing.
#   install-deps.sh [build|all|peers]   build: what `make build` and `make demo` need; all (default): the checks too;
#                                       peers: what `make bench` measures beside us
set -eu
what=${1:-all}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok'; }
missing() { for p in "$@"; do installed "$p" || printf '%s ' "$p"; done; }
offered() { apt-cache show "$1" >/dev/null 2>&1; }

command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or later first (https://rustup.rs)" >&2; exit 1; }
command -v dpkg-query >/dev/null || {
    echo "this is no Debian: install DPDK 22.11 or later with its headers, pkg-config, a C compiler, libclang, iproute2," \
         "iperf3, tcpdump, ping, ethtool, strace, curl, wrk, nc, nginx, haproxy, openssl, traceroute, socat, dig, dnsmasq, vsftpd, valgrind, lua5.4 and codespell by hand" >&2
    exit 0
}

# The LLVM major of rustc, so that the linker inlines DPDK's C into Rust; without it the build is plain, and slower.
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
need=$(missing libdpdk-dev pkg-config iproute2 iputils-ping iperf3 tcpdump ethtool strace curl nftables ca-certificates \
               netcat-openbsd nginx-light haproxy openssl)
lto=$(missing "clang-$llvm" "lld-$llvm" "llvm-$llvm" "libclang-$llvm-dev")
if [ "$what" = peers ]; then
    peers=$(missing dpdk-dev openvswitch-switch-dpdk)
    [ -z "$peers" ] || as_root apt-get update -qq
    for p in $peers; do
        if offered "$p"; then need="$need$p "; else echo "no package $p here: the bench does without it"; fi
    done
elif [ "$what" != build ]; then
    need="$need$(missing codespell python3-venv prometheus traceroute socat wrk bind9-dnsutils dnsmasq-base vsftpd valgrind lua5.4)"
fi

if [ -n "$need$lto" ]; then
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq
    if [ -n "$lto" ] && ! offered "clang-$llvm"; then
        echo "no clang-$llvm here: the build will be plain, without inlining of DPDK's C functions"
        lto=$(missing clang libclang-dev)
    fi
    # Debian starts servers when it installs them. Ours run in namespaces of the tests, these would take ports of the machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null && as_root chmod +x $policy
        trap 'as_root rm -f $policy' EXIT
    fi
    # shellcheck disable=SC2086 # lists of words
    [ -z "$need$lto" ] || as_root apt-get install -qq -y --no-install-recommends $need $lto
    # The service that comes with the package would begin at the next start of the machine; the bench starts its own.
    case " $need" in *" openvswitch-switch-dpdk "*)
        ! command -v systemctl >/dev/null || as_root systemctl -q disable openvswitch-switch || true ;;
    esac
fi

[ "$what" = all ] || exit 0
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --quiet
