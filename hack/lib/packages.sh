# Debian packages that a script needs. Sourced, not run.
#
# unpacked_program PACKAGE PATH prints where a server's program is. Packages of servers are unpacked, not installed: installed,
# they would start them for everybody. unpacked_package PACKAGE does the same for any files.
# need_packages PACKAGE… installs what is missing. On a terminal it asks first; elsewhere it installs only with SLIPWAY_YES=1 (or a script's --yes).

need_packages() {
    local -a missing
    mapfile -t missing < <(packages_missing "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        packages_fail "install these Debian packages, or what holds the same programs: ${missing[*]}"
        return
    fi
    packages_agreed "${missing[@]}" || return
    packages_install "${missing[@]}"
}

packages_fail() {
    echo "packages: $*" >&2
    return 1
}

packages_missing() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

packages_agreed() {
    local answer
    [ "${SLIPWAY_YES:-}" != 1 ] || return 0
    if ! [ -t 0 ] || ! [ -t 2 ]; then
        packages_fail "missing: $*; allow their installation with --yes or SLIPWAY_YES=1, or install them yourself"
        return
    fi
    read -r -p "Install the Debian packages $*? [Y/n] " answer </dev/tty
    case $answer in
    '' | [yY]*) ;;
    *) packages_fail "missing: $*" ;;
    esac
}

packages_install() {
    local -a as_root=()
    local log
    if [ "$EUID" -ne 0 ]; then
        as_root=(sudo)
    fi
    log=$(mktemp)
    echo "installing $*" >&2
    # The package lists of a fresh machine are missing or old, so a failure is followed by one try with new ones.
    if packages_apt install "$@" >"$log" 2>&1 || { packages_apt update >"$log" 2>&1 && packages_apt install "$@" >>"$log" 2>&1; }; then
        rm -f "$log"
    else
        tail -n 15 "$log" >&2
        rm -f "$log"
        packages_fail "could not be installed: $*"
    fi
}

# Uses as_root of its caller.
packages_apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get --quiet --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@" </dev/null
}

# The installed program, else one unpacked into the cache with the packages that it misses.
unpacked_program() { # package path
    local root libraries
    if [ -x "/$2" ]; then
        echo "/$2"
        return
    fi
    root=$(unpacked_package "$1") || return
    if [ ! -x "$root/start" ]; then
        libraries=$(uname -m)-linux-gnu
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$root/usr/lib/$libraries:$root/lib/$libraries" "$root/$2" >"$root/start.new"
        chmod 0755 "$root/start.new"
        mv "$root/start.new" "$root/start"
    fi
    echo "$root/start"
}

# Prints the directory that holds the files of a package and of those that it misses.
unpacked_package() { # package
    local -a as_root=()
    local release cache root archive
    release=$(. /etc/os-release && echo "$ID-$VERSION_ID")
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/slipway/unpacked
    root=$cache/$1-$release
    if [ ! -d "$root" ]; then
        command -v apt-get >/dev/null || packages_fail "install the Debian package $1, or what holds the same program" || return
        if [ "$EUID" -ne 0 ]; then
            as_root=(sudo)
        fi
        rm -rf "$root.new"
        mkdir -p "$root.new/archives"
        (
            cd "$root.new/archives" || exit
            unpacked_download "$1" || { packages_apt update && unpacked_download "$1"; } || exit
            for archive in *.deb; do
                dpkg-deb --extract "$archive" .. || exit
            done
        ) >"$cache/$1.log" 2>&1 || packages_fail "$1 cannot be had, see $cache/$1.log" || return
        rm -rf "$root.new/archives"
        mv "$root.new" "$root"
    fi
    echo "$root"
}

unpacked_download() { # package
    local simulation
    local -a packages
    simulation=$(LC_ALL=C apt-get --simulate install --no-install-recommends "$1") || return
    mapfile -t packages < <(awk '/^Inst /{print $2}' <<<"$simulation")
    apt-get --quiet -o APT::Sandbox::User=root download "${packages[@]:-$1}"
}
