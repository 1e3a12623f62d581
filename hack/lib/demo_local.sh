# One build from end to end on this machine's container engine. Sourced by hack/demo, which provides say, fail, agree, own and scratch.
#
# Invariant: what is started ends with the demo, and all its files lie below scratch. In an engine that was there before, only the
# image of the supporting steps is left, and what `slipway run` pulled.

demo_local() {
    demo_engine
    demo_build
    demo_registry
    if [ -n "$own" ]; then
        demo_engine_start
    fi
    demo_images
    demo_run
    demo_show
}

# --- the engine -------------------------------------------------------------------------------------------------------------------

demo_engine() {
    if [ -z "$own" ]; then
        need_packages ca-certificates curl
        if engine=$(engine_find); then
            agree "loads the image of the supporting steps into the engine $engine unless it is there, and runs a build with it"
            return
        fi
        [ -z "${DOCKER_HOST:-}" ] || fail "no engine answers at DOCKER_HOST, which is $DOCKER_HOST; start it, or unset the variable"
    fi
    own=yes
    engine=unix://$scratch/engine/podman.sock
    agree 'installs podman if it is missing and runs a build with it'
}

demo_engine_start() {
    local directory=$scratch/engine
    local -a service
    if [ "$EUID" -ne 0 ] && ! { grep -E "^($USER|$UID):" /etc/subuid && grep -E "^($USER|$UID):" /etc/subgid; } >/dev/null 2>&1; then
        fail "podman needs subordinate ids for $USER; give it some: sudo usermod --add-subuids 200000-265535 --add-subgids 200000-265535 $USER"
    fi
    podman_configure "$directory"
    mapfile -t service < <(podman_words "$directory")
    if [ "$EUID" -eq 0 ]; then
        # With its first process all its containers and mounts end.
        service=(unshare --mount --pid --fork --kill-child --mount-proc sh -c '"$@" & wait' sh "${service[@]}")
    fi
    demo_start engine "${service[@]}" system service --time=0 "$engine"
    demo_await engine engine_answers "$engine"
}

demo_engine_end() {
    local -a podman
    local pause=$scratch/engine/run/libpod/pause.pid process
    demo_end engine
    if [ "$EUID" -ne 0 ] && [ -d "$scratch/engine" ]; then
        # Layers may belong to subordinate ids, and are mounted in a namespace of podman's.
        mapfile -t podman < <(podman_words "$scratch/engine")
        "${podman[@]}" unshare sh -c 'umount "$0/overlay" 2>/dev/null; rm -rf "$0"' "$scratch/engine/storage" || true
        # It outlives every podman of this user's, to hold their namespaces.
        if process=$(cat "$pause" 2>/dev/null) && [[ $(readlink "/proc/$process/exe") == */podman ]]; then
            kill -KILL "$process"
        fi
    fi
}

# --- images -----------------------------------------------------------------------------------------------------------------------

demo_build() {
    say 'slipway'
    need_packages binutils ca-certificates curl gcc libc6-dev skopeo
    if [ -n "$own" ]; then
        need_packages "${podman_packages[@]}"
    fi
    cargo build --locked --bin slipway
    slipway=${CARGO_TARGET_DIR:-$PWD/target}/debug/slipway
}

# An engine of our own may have no way to where busybox is published, so it gets Debian's.
demo_images() {
    local root=$scratch/busybox busybox applet
    say 'the image of the supporting steps'
    hack/step load "$engine"
    if [ -n "$own" ]; then
        busybox=$(unpacked_package busybox-static)/bin/busybox
        mkdir -p "$root"/{bin,etc,root,tmp}
        chmod 1777 "$root/tmp"
        install -m 0755 "$busybox" "$root/bin/busybox"
        for applet in $("$busybox" --list); do
            [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
        done
        echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
        echo 'root:x:0:' >"$root/etc/group"
        engine_pack "$root" docker.io/library/busybox:1.37 '"Cmd": ["sh"], "Env": ["PATH=/bin"]'
        engine_load "$engine" "$root.archive.tar"
    fi
}

# --- the registry -----------------------------------------------------------------------------------------------------------------

demo_registry() {
    local program
    program=$(unpacked_program docker-registry usr/bin/docker-registry)
    # Port 0 is one that is free; the log says which.
    printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:0"}\n' "$scratch/registry" >"$scratch/registry.yml"
    demo_start registry env OTEL_TRACES_EXPORTER=none "$program" serve "$scratch/registry.yml"
    demo_await registry grep -q 'listening on 127' "$scratch/registry.log"
    image=$(grep -o 'listening on [0-9.:]*' "$scratch/registry.log" | cut -d ' ' -f 3)/hello:latest
}

# --- the build --------------------------------------------------------------------------------------------------------------------

demo_run() {
    say 'slipway run'
    mkdir "$scratch/hello"
    cp samples/hello/*.yaml "$scratch/hello/"
    # The sample, but for where its image goes: a registry without TLS.
    sed -i "s#^\( *\)image: registry.example.com/.*#\1image: $image\n\1insecure: true#" "$scratch/hello/build.yaml"
    pushed=$("$slipway" run -f "$scratch/hello" --engine "$engine" --network host)
    echo "$pushed"
}

demo_show() {
    local found
    say 'what skopeo finds in the registry'
    found=$(skopeo inspect --no-creds --tls-verify=false --raw "docker://$image" | sha256sum | cut -d ' ' -f 1)
    skopeo inspect --no-creds --tls-verify=false "docker://$image"
    [ "$pushed" = "${image%:latest}@sha256:$found" ] || fail "slipway run told of $pushed, but the registry has sha256:$found as $image"
    echo "the registry has what slipway run told of: $pushed"
}

# --- processes --------------------------------------------------------------------------------------------------------------------

demo_start() { # name command...
    local name=$1
    shift
    setsid "$@" >"$scratch/$name.log" 2>&1 </dev/null &
    echo "$! $(process_started_at $!)" >"$scratch/$name.process"
    # Its end is no news.
    disown
}

demo_await() { # name command...
    local name=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        if ! process_runs "$scratch/$name.process" || [ $SECONDS -ge $deadline ]; then
            tail -n 20 "$scratch/$name.log" >&2
            fail "the $name does not start, see above"
        fi
        sleep 0.05
    done
}

demo_end() { # name
    local pid
    while process_runs "$scratch/$1.process"; do
        read -r pid _ <"$scratch/$1.process"
        # With its children, which are in its process group.
        kill -KILL -- "-$pid" 2>/dev/null || true
        sleep 0.05
    done
}

demo_local_end() {
    demo_engine_end
    demo_end registry
}
