# shellcheck shell=bash
# Sourced by dev/up and dev/test after dev/progress.sh: what the system must have, in one place, and how it gets there.

swift_major=6 swift_minor=3

# Debian's and Ubuntu's names, good on Debian 12 and Ubuntu 22.04 and 24.04.
# GRDB links the system's SQLite; the gateway its PCRE2, its zlib, and libcrypt for the hashes of passwords.
build_packages='libsqlite3-dev libpcre2-dev zlib1g-dev libcrypt-dev'
# sqlite3: a store seen from outside; perl: dev/tidy; the servers that the backends are tested on; pika: a client of
# others; pip: Valkey, which Debian has not; openssl: certificates; bind9-dnsutils: dig, another's DNS client;
# nghttp2-client: h2load and nghttp, clients of HTTP/2
# shellcheck disable=SC2034 # dev/test reads it
test_packages="$build_packages sqlite3 curl perl redis-server rabbitmq-server python3-pika python3-pip openssl"
test_packages+=' bind9-dnsutils nghttp2-client'
# What swift.org's own list asks for beside a toolchain that was only unpacked; the toolchain's images have them.
toolchain_packages='g++ libcurl4-openssl-dev libncurses-dev libsqlite3-dev libxml2-dev'

# The same on macOS, where SQLite, curl and perl are part of the system: package=formula.
brew_formulas='redis-server=redis bind9-dnsutils=bind libpcre2-dev=pcre2 nghttp2-client=nghttp2'

# A toolchain that was unpacked on a bare system can start neither itself (shared libraries) nor its C++ compiler
# (headers). Asked for by trying, not by name: where it works, nothing is installed.
toolchain_works() {
    local compiler
    swift build --version >/dev/null 2>&1 || return 1
    compiler=$(dirname "$(readlink -f "$(command -v swift)")")/clang++
    [ ! -x "$compiler" ] || printf '#include <vector>\n' | "$compiler" -fsyntax-only -x c++ - >/dev/null 2>&1
}

require_swift() {
    local wanted=$swift_major.$swift_minor how found major minor
    how="Install it as https://www.swift.org/install says, for example: swiftly install $wanted"
    command -v swift >/dev/null || die "There is no Swift on the PATH; Parley needs $wanted or newer." "$how"
    # shellcheck disable=SC2086 # a list of names
    toolchain_works || require_packages $toolchain_packages
    found=$(swift --version 2>&1 | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
    [ -n "$found" ] || die "$(command -v swift) does not start:" "$(swift --version 2>&1 | head -n 3)" "$how"
    major=${found%%.*} minor=${found#*.}
    [ "$major" -gt $swift_major ] || { [ "$major" -eq $swift_major ] && [ "$minor" -ge $swift_minor ]; } ||
        die "$(command -v swift) is Swift $found; Parley needs $wanted or newer." "$how"
}

missing_of() { # Debian packages…
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' || printf '%s ' "$package"
    done
}

install_with_apt() { # Debian packages…
    local as_root=''
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "These system packages are missing: $*" \
            "Install them as root: apt-get update && apt-get install -y $*"
        say "Installing these packages needs root: $*"
        sudo -v # asks for the password now, not below a progress line
        as_root='sudo'
    fi
    # shellcheck disable=SC2016 # the inner shell expands "$@"
    with_progress "installing $*" .build/logs/packages.log $as_root env DEBIAN_FRONTEND=noninteractive bash -c '
        set -e
        apt-get update
        apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"' install "$@"
}

# require_packages NAME…: installs what is missing; without a missing one it costs a few milliseconds and no network.
require_packages() {
    local missing=() package formula
    if [ "$(uname -s)" = Darwin ]; then
        for package in "$@"; do
            for formula in $brew_formulas; do
                [ "${formula%%=*}" = "$package" ] || continue
                brew list --formula "${formula#*=}" >/dev/null 2>&1 || missing+=("${formula#*=}")
            done
        done
        [ ${#missing[@]} -eq 0 ] || die "Please install what is missing: brew install ${missing[*]}"
        return 0
    fi
    command -v dpkg-query >/dev/null || {
        say "This is not Debian or Ubuntu, so nothing is installed for you. Needed, by Debian's names: $*"
        return 0
    }
    # shellcheck disable=SC2207 # names without spaces
    missing=($(missing_of "$@"))
    [ ${#missing[@]} -eq 0 ] || install_with_apt "${missing[@]}"
}
