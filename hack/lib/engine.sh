# The engines of the tests and what they talk to: three podman services, registries and git servers. Sourced after packages.sh,
# processes.sh, services.sh, images.sh and podman.sh, not run.
#
#   root      root's, on a unix socket
#   rootless  an ordinary user's, on a unix socket
#   remote    an ordinary user's, on a TCP port; it cannot see the files that its clients have in /tmp, /var/tmp, /home and /root
#
# Invariant: everything lies below engine_directory, on the bridge engine_bridge or belongs to the user engine_user; engine_down removes
# all three. Images are built once, see images.sh.
# Invariant: each engine lives in process and mount namespaces of its own, so that with its first process every container and mount ends,
# however it ended.
# Invariant: only root's engine can act as root, and only root can reach its socket.

engine_directory=/var/lib/slipway-engine
engine_names=(root rootless remote)
engine_user=slipway-test
engine_user_id=64023
engine_bridge=slipway2
engine_network=10.244.9
engine_user_network=10.244.10
engine_remote_port=23750

# Fixed, because such an address exists once on a machine.
# shellcheck disable=SC2034 # read by services.sh
services_address=$engine_network.1
# shellcheck disable=SC2034
services_directory=$engine_directory/services

# --- verbs ------------------------------------------------------------------------------------------------------------------------

engine_up() {
    local name
    if engine_is_up; then
        services_start
        return
    fi
    need_packages "${podman_packages[@]}" containernetworking-plugins iproute2 openssl passwd procps util-linux
    engine_down
    mkdir -p "$engine_directory"/{logs,pids}
    engine_network_up
    engine_user_up
    services_start
    for name in "${engine_names[@]}"; do
        engine_configure "$name"
        engine_run "$name"
    done
    for name in "${engine_names[@]}"; do
        engine_await "$name"
    done
    touch "$engine_directory/up"
    echo "the engines are up; to use them: eval \"\$(hack/engine env)\"" >&2
}

engine_down() {
    local name
    for name in "${engine_names[@]}"; do
        engine_end "$name"
    done
    services_stop
    engine_cgroups_down
    engine_user_down
    if [ -d "/sys/class/net/$engine_bridge" ]; then
        ip link delete "$engine_bridge"
    fi
    rm -rf "$engine_directory"
    # Where its results are kept cannot be configured.
    if [ -d /var/lib/cni ]; then
        rmdir --ignore-fail-on-non-empty /var/lib/cni
    fi
}

engine_images() {
    engine_require_up
    images_for engine_import
}

engine_env() {
    engine_require_up
    printf 'export %s=%q\n' \
        SLIPWAY_ENGINE "$(engine_url root)" \
        SLIPWAY_ROOTLESS_ENGINE "$(engine_url rootless)" \
        SLIPWAY_ROOTLESS_USER "$engine_user" \
        SLIPWAY_ROOTLESS_HOME "$engine_directory/rootless/home" \
        SLIPWAY_ROOTLESS_RUNTIME_DIR "$engine_directory/rootless/run" \
        SLIPWAY_REMOTE_ENGINE "$(engine_url remote)"
    services_env SLIPWAY_LOCAL_
}

# --- small things -----------------------------------------------------------------------------------------------------------------

engine_fail() {
    echo "engine: $*" >&2
    exit 1
}

engine_as_root() {
    [ "$EUID" -eq 0 ] || engine_fail "root's engine and the user of the other ones need root: run this again with sudo"
}

engine_lock() { # arguments of this script
    [ -z "${SLIPWAY_ENGINE_LOCKED:-}" ] || return 0
    if ! flock --nonblock /run/slipway-engine.lock true; then
        echo 'engine: waiting for another hack/engine' >&2
    fi
    SLIPWAY_ENGINE_LOCKED=1 exec flock --close /run/slipway-engine.lock "$0" "$@"
}

engine_url() { # name
    if [ "$1" = remote ]; then
        echo "tcp://127.0.0.1:$engine_remote_port"
    else
        # Where clients of an ordinary user look for it, below XDG_RUNTIME_DIR.
        echo "unix://$engine_directory/$1/run/podman/podman.sock"
    fi
}

engine_require_up() {
    [ -e "$engine_directory/up" ] || engine_fail 'no engine is up; start them with: hack/engine up'
}

engine_is_up() {
    local name
    [ -e "$engine_directory/up" ] || return 1
    for name in "${engine_names[@]}"; do
        if ! process_runs "$engine_directory/pids/$name"; then
            echo "engine: $name is not running, so the engines are started afresh" >&2
            return 1
        fi
    done
}

engine_import() { # reference content archive
    local name loaded
    for name in "${engine_names[@]}"; do
        loaded=$engine_directory/$name/loaded/${1//\//_}
        if [ "$(cat "$loaded" 2>/dev/null)" != "$2" ]; then
            engine_load "$(engine_url "$name")" "$3"
            mkdir -p "${loaded%/*}"
            echo "$2" >"$loaded"
        fi
    done
}

# --- what the machine is lent -----------------------------------------------------------------------------------------------------

# The servers' address and the network of containers that ask for none; nothing is forwarded beyond this machine.
engine_network_up() {
    if [ -n "$(ip -oneline address show to "$engine_network.0/24")" ]; then
        engine_fail "the network $engine_network.0/24 is in use on this machine: $(ip -oneline address show to "$engine_network.0/24")"
    fi
    ip link add "$engine_bridge" address 02:53:4c:57:00:02 type bridge
    ip address add "$services_address/24" dev "$engine_bridge"
    ip link set "$engine_bridge" up
}

engine_user_up() {
    local first log=$engine_directory/logs/useradd.log
    touch /etc/subuid /etc/subgid
    # After the ranges of all others.
    first=$(awk -F: 'BEGIN { first = 100000 } $2 + $3 > first { first = $2 + $3 } END { print first }' /etc/subuid /etc/subgid)
    useradd --uid $engine_user_id --user-group --no-log-init --no-create-home --home-dir "$engine_directory/rootless/home" \
        --shell /bin/sh $engine_user >"$log" 2>&1 &&
        usermod --add-subuids "$first-$((first + 65535))" --add-subgids "$first-$((first + 65535))" $engine_user >>"$log" 2>&1 ||
        engine_fail "the user $engine_user could not be made: $(cat "$log")"
}

engine_user_down() {
    local process deadline=$((SECONDS + 20)) output
    [ "$(id --user $engine_user 2>/dev/null)" = $engine_user_id ] || return 0
    # The user is ours, and so is all that runs as that user.
    while process=$(ps -o pid= -u $engine_user_id) && [ $SECONDS -lt $deadline ]; do
        # shellcheck disable=SC2086 # one word each
        kill -KILL $process 2>/dev/null || true
        sleep 0.05
    done
    output=$(userdel $engine_user 2>&1) || engine_fail "the user $engine_user could not be removed: $output"
}

# Containers that were killed leave their directories here. Other engines of root use the same parent.
engine_cgroups_down() {
    local container hierarchy
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
        [ -d "$hierarchy/libpod_parent" ] || continue
        for container in "$engine_directory"/root/storage/overlay-containers/*/; do
            container=$hierarchy/libpod_parent/libpod-$(basename "$container")
            if [ -d "$container" ]; then
                find "$container" -depth -type d -exec rmdir {} +
            fi
        done
        rmdir --ignore-fail-on-non-empty "$hierarchy/libpod_parent"
    done
}

# --- engines ----------------------------------------------------------------------------------------------------------------------

engine_configure() { # name
    local directory=$engine_directory/$1 owner=$engine_user server gateway='' network=$engine_network
    podman_configure "$directory"
    cp /etc/hosts "$directory/hosts"
    for server in registry registry-tls git; do
        echo "$services_address $server.slipway.test" >>"$directory/hosts"
    done
    cat >>"$directory/registries.conf" <<END_OF_FILE
[[registry]]
location = "registry.slipway.test:5000"
insecure = true
[[registry]]
location = "$services_address:5000"
insecure = true
END_OF_FILE
    # Without "isGateway" the plugin leaves the machine's forwarding alone; root's bridge has its address already. An ordinary user's
    # engine has a bridge in a network namespace of its own, from which the way to the machine is another one.
    if [ "$1" != root ]; then
        gateway='"isGateway": true, "ipMasq": true,'
        network=$engine_user_network
    fi
    cat >"$directory/cni/87-podman.conflist" <<END_OF_FILE
{
  "cniVersion": "0.4.0",
  "name": "podman",
  "plugins": [{
    "type": "bridge",
    "bridge": "$engine_bridge",
    "hairpinMode": true, $gateway
    "ipam": {
      "type": "host-local",
      "dataDir": "$directory/cni",
      "ranges": [[{"subnet": "$network.0/24", "gateway": "$network.1"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
END_OF_FILE
    cp "$services_authority_directory/ca.crt" "$directory/ca.crt"
    engine_enter >"$directory/enter"
    mkdir -p "$directory/run/podman"
    if [ "$1" = root ]; then
        owner=root
        chmod 0700 "$directory"
    fi
    chown -R "$owner:$owner" "$directory"
}

# The first process of an engine's namespaces: it makes private what podman would leave on the machine, starts the engine and waits.
engine_enter() {
    cat <<'END_OF_FILE'
set -eu
name=$1
directory=$2
shift 2
resolver=$(cat /etc/resolv.conf)
mount --make-rshared /
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=0755 tmpfs /var/lib/cni
mount -t tmpfs -o mode=0755 tmpfs /run
# On many machines it is a link to below /run.
if ! [ -e /etc/resolv.conf ]; then
    mkdir -p "$(dirname "$(readlink --canonicalize-missing /etc/resolv.conf)")"
    echo "$resolver" >/etc/resolv.conf
fi
# Also what its containers start from.
mount --bind "$directory/hosts" /etc/hosts
if [ "$name" != root ] && [ -e /dev/net/tun ]; then
    # Everybody may have a network device of its own in a namespace of its own, but not on every machine's /dev.
    rm -f "$directory/tun"
    mknod -m 0666 "$directory/tun" c 10 200
    mount --bind "$directory/tun" /dev/net/tun
fi
if [ "$name" = remote ]; then
    for hidden in /tmp /var/tmp /home /root; do
        mount -t tmpfs -o mode=1777 tmpfs $hidden
    done
fi
"$@" &
wait
END_OF_FILE
}

engine_run() { # name
    local name=$1 directory=$engine_directory/$1 pid
    local -a as_user=() service
    if engine_answers "$(engine_url "$name")"; then
        engine_fail "$(engine_url "$name") is taken by another program, which must be stopped"
    fi
    if [ "$name" != root ]; then
        as_user=(setpriv --reuid "$engine_user" --regid "$engine_user" --init-groups)
    fi
    mapfile -t service < <(podman_words "$directory")
    (
        cd /
        exec env --ignore-environment PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE="$directory/ca.crt" \
            setsid unshare --mount --pid --fork --kill-child --mount-proc --propagation slave sh "$directory/enter" "$name" "$directory" \
            "${as_user[@]}" "${service[@]}" system service --time=0 "$(engine_url "$name")"
    ) >"$engine_directory/logs/$name.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid $(process_started_at "$pid")" >"$engine_directory/pids/$name"
}

engine_await() { # name
    local deadline=$((SECONDS + 60))
    until engine_answers "$(engine_url "$1")"; do
        if ! process_runs "$engine_directory/pids/$1" || [ $SECONDS -ge $deadline ]; then
            tail -n 20 "$engine_directory/logs/$1.log" >&2
            engine_fail "the engine $1 does not answer; the end of its log is above, the whole in $engine_directory/logs/$1.log"
        fi
        sleep 0.05
    done
}

engine_end() { # name
    local pid
    while process_runs "$engine_directory/pids/$1"; do
        read -r pid _ <"$engine_directory/pids/$1"
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.05
    done
}
