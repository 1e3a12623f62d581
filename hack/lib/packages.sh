# Debian packages that a script needs. Sourced, not run.
#
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
