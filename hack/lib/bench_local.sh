# `slipway run` beside podman by hand. Sourced by hack/bench, which provides rounds and scratch and wants load, with and scratch/table.
#
# The build has three steps of busybox as 1001:1000 that do nothing; no source, no image to push. "By hand" is the shell script that
# somebody would write who knows the containers of `slipway run`: the same images, users, security options, volumes and mounts, in the
# same order and as much at once as can be, through the podman command and the same engine:
#
#   two volumes, one of them in memory; a sandbox that has both mounted and the host's network; the directories and files of the steps
#   copied into it; `prepare` run to its end; all three steps started at once; waited for; their logs read; everything removed.

measure_local() {
    local environment round
    environment=$(hack/engine env)
    eval "$environment"
    hack/engine images
    cargo build --quiet --release --locked --bin slipway
    slipway=${CARGO_TARGET_DIR:-$PWD/target}/release/slipway
    step_image=slipway.dev/step:$("$slipway" --version | cut -d ' ' -f 2)
    with="podman $(podman version --format '{{.Client.Version}}')"
    local_build >"$scratch/build.yaml"

    timed_by_slipway >/dev/null
    timed_by_hand >/dev/null
    load=$(cut -d ' ' -f 1-3 /proc/loadavg)
    for ((round = 0; round < rounds; round++)); do
        # The first of two may find things warmer or colder.
        if ((round % 2)); then
            timed_by_slipway >>"$scratch/slipway"
            timed_by_hand >>"$scratch/hand"
        else
            timed_by_hand >>"$scratch/hand"
            timed_by_slipway >>"$scratch/slipway"
        fi
    done
    local_table >"$scratch/table"
}

local_build() {
    local name
    cat <<'END'
apiVersion: shipwright.io/v1beta1
kind: BuildStrategy
metadata: {name: three}
spec:
  securityContext: {runAsUser: 1001, runAsGroup: 1000}
  steps:
END
    for name in one two three; do
        echo "  - {name: $name, image: 'docker.io/library/busybox:1.37', command: [/bin/true], securityContext: {allowPrivilegeEscalation: false," \
            'capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}}'
    done
    cat <<'END'
---
apiVersion: shipwright.io/v1beta1
kind: Build
metadata: {name: three}
spec:
  strategy: {name: three, kind: BuildStrategy}
  output: {image: registry.slipway.test:5000/three:latest}
---
apiVersion: shipwright.io/v1beta1
kind: BuildRun
metadata: {name: three}
spec: {build: {name: three}}
END
}

# Milliseconds.
timed() { # command...
    local start=${EPOCHREALTIME/[.,]/} log=$scratch/$1.log
    # In a condition set -e would have no effect within.
    "$@" >"$log" 2>&1 &
    wait $! || {
        cat "$log" >&2
        echo "hack/bench: $1 failed, see above" >&2
        exit 1
    }
    echo $(((${EPOCHREALTIME/[.,]/} - start) / 1000))
}

timed_by_slipway() {
    timed by_slipway
}

timed_by_hand() {
    timed by_hand
}

by_slipway() {
    "$slipway" run -f "$scratch/build.yaml" --engine "$SLIPWAY_ENGINE" --network host
}

by_hand() (
    set -e
    jobs=()
    name=slipway-bench-$$
    engine=(podman --url "$SLIPWAY_ENGINE")
    hardened=(--network "container:$name" --user 1001:1000 --cap-drop ALL --security-opt no-new-privileges --read-only --read-only-tmpfs=false)
    results=(--result shp-image-digest --result shp-image-size --result shp-image-vulnerabilities --result shp-error-message --result shp-error-reason)

    "${engine[@]}" volume create "$name-disk"
    "${engine[@]}" volume create --opt type=tmpfs --opt device=tmpfs --opt o=mode=0755 "$name-memory"
    "${engine[@]}" run --detach --name "$name" --network host --user 0:0 --cap-drop ALL --security-opt no-new-privileges --read-only \
        --read-only-tmpfs=false --volume "$name-disk:/volumes/disk" --volume "$name-memory:/volumes/memory" \
        --entrypoint slipway-step "$step_image" hold
    disk=$("${engine[@]}" volume inspect --format '{{.Mountpoint}}' "$name-disk")
    memory=$("${engine[@]}" volume inspect --format '{{.Mountpoint}}' "$name-memory")
    local_files | "${engine[@]}" cp - "$name:/volumes"

    "${engine[@]}" run --name "$name-prepare" "${hardened[@]}" --volume "$disk/bin:/shp/bin" \
        --volume "$memory/own/prepare/termination-log:/dev/termination-log" --entrypoint slipway-step "$step_image" prepare --to /shp/bin
    for number in 0 1 2; do
        after=()
        before=()
        if [ $number -gt 0 ]; then
            after=(--after "/shp/run/$((number - 1))")
            before=(--volume "$disk/run-$((number - 1)):/shp/run/$((number - 1)):ro")
        fi
        "${engine[@]}" run --detach --name "$name-$number" "${hardened[@]}" "${before[@]}" \
            --volume "$disk/bin:/shp/bin:ro" --volume "$disk/run-$number:/shp/run/$number" \
            --volume "$disk/workspace:/workspace" --volume "$disk/source:/workspace/source" --volume "$disk/home:/tekton/home" \
            --volume "$disk/results:/tekton/results" --volume "$memory/creds-$number:/tekton/creds" \
            --volume "$memory/token:/var/run/secrets/kubernetes.io/serviceaccount:ro" \
            --volume "$memory/own/$number/termination-log:/dev/termination-log" \
            --entrypoint /shp/bin/slipway-step docker.io/library/busybox:1.37 \
            gate --run-dir "/shp/run/$number" "${after[@]}" --budget 1755 "${results[@]}" -- /bin/true &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job"
    done
    codes=$("${engine[@]}" wait "$name-0" "$name-1" "$name-2")
    for number in 0 1 2; do
        "${engine[@]}" logs "$name-$number"
    done
    "${engine[@]}" rm --force --time 0 "$name-0" "$name-1" "$name-2" "$name-prepare" "$name"
    "${engine[@]}" volume rm "$name-disk" "$name-memory"
    [ "$codes" = $'0\n0\n0' ]
)

# What the volumes begin with, as an archive.
local_files() {
    local root=$scratch/volumes name
    if [ ! -d "$root" ]; then
        mkdir -p "$root"/disk/{bin,run-0,run-1,run-2,workspace,source,home,results} "$root"/memory/{creds-0,creds-1,creds-2,token}
        chmod 0777 "$root"/disk/* "$root"/memory/*
        for name in prepare 0 1 2; do
            mkdir -p "$root/memory/own/$name"
            : >"$root/memory/own/$name/termination-log"
            chmod 0666 "$root/memory/own/$name/termination-log"
        done
    fi
    tar --create --directory "$root" --owner 0 --group 0 disk memory
}

local_table() {
    local slipway hand
    slipway=$(median "$scratch/slipway")
    hand=$(median "$scratch/hand")
    echo "| three steps, median of $rounds | podman by hand | \`slipway run\` | |"
    echo '| --- | ---: | ---: | ---: |'
    awk -v hand="$hand" -v slipway="$slipway" 'BEGIN {
        printf "| from nothing to all removed | %.2f s | %.2f s | × %.2f |\n", hand / 1000, slipway / 1000, slipway / hand }'
    printf '| fastest and slowest | %s | %s | |\n' "$(extremes "$scratch/hand")" "$(extremes "$scratch/slipway")"
}

median() { # file
    sort --numeric-sort "$1" | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'
}

extremes() { # file
    sort --numeric-sort "$1" | awk 'NR == 1 { first = $1 } { last = $1 } END { printf "%.2f–%.2f s\n", first / 1000, last / 1000 }'
}
