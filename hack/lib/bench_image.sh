# Pushes one large layer to a registry on this machine, in turns with `skopeo copy`. Sourced, not run.
#
# bench_image ROUNDS prints a table. Each push goes to a registry of its own, because skopeo remembers where layers are and would
# have the second one mounted. The layer is random and gzip-compressed already, so that neither side has anything to compress.

bench_image() { # rounds
    local dir registry step name round what
    need_packages gzip skopeo time
    registry=$(unpacked_program docker-registry usr/bin/docker-registry)
    step=$(hack/step)
    dir=$(mktemp -d)
    registry_pid=
    # shellcheck disable=SC2064 # the directory of now
    trap "bench_image_end '$dir'" EXIT
    bench_image_layout "$dir/layout"
    for round in $(seq "$1"); do
        # Who comes first meets another page cache and disk, so they take turns.
        local order=(skopeo slipway)
        [ $((round % 2)) -eq 1 ] || order=(slipway skopeo)
        for name in "${order[@]}"; do
            bench_image_push "$name" "$dir" "$registry" "$step"
        done
    done
    for what in seconds kib; do
        for name in skopeo slipway; do
            printf -v "${name}_$what" '%s' "$(bench_image_median "$dir/$name" "$what")"
        done
    done
    # shellcheck disable=SC2154 # set by name above
    awk -v rounds="$1" -v ss="$skopeo_seconds" -v os="$slipway_seconds" -v sk="$skopeo_kib" -v ok="$slipway_kib" 'BEGIN {
        printf "| 1 GiB layer, median of %d | `skopeo copy` | image-processing | |\n| --- | ---: | ---: | ---: |\n", rounds
        printf "| time | %.2f s | %.2f s | %.2f× |\n", ss, os, os / ss
        printf "| peak memory | %.0f MiB | %.0f MiB | %.2f× |\n", sk / 1024, ok / 1024, ok / sk
    }'
}

# One line for each push: seconds and peak memory in KiB, as the kernel counted them.
bench_image_push() { # name dir registry step
    local name=$1 dir=$2 port line push
    rm -rf "$dir/data"
    printf 'version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s/data}\nhttp: {addr: "127.0.0.1:0", secret: bench}\n' "$dir" >"$dir/config.yml"
    exec {log_of_registry}< <(OTEL_TRACES_EXPORTER=none exec "$3" serve "$dir/config.yml" 2>&1 >/dev/null)
    registry_pid=$!
    port=
    while [ -z "$port" ] && read -r line <&"$log_of_registry"; do
        printf '%s\n' "$line" >>"$dir/registry.log"
        [[ $line =~ 'listening on 127.0.0.1:'([0-9]+) ]] && port=${BASH_REMATCH[1]}
    done
    [ -n "$port" ] || bench_image_fail "the registry ended" "$dir/registry.log"
    sync
    if [ "$name" = skopeo ]; then
        push=(skopeo copy --quiet --dest-tls-verify=false "oci:$dir/layout" "docker://127.0.0.1:$port/bench:1")
    else
        push=("$4" image-processing --insecure --push "$dir/layout" --image "127.0.0.1:$port/bench:1")
    fi
    /usr/bin/time --format '%e %M' --append --output "$dir/$name" "${push[@]}" >"$dir/push.log" 2>&1 ||
        bench_image_fail "$name failed" "$dir/push.log"
    [ "$(find "$dir/data" -name data -size +1000M | wc -l)" -eq 1 ] || bench_image_fail "$name did not push the layer" "$dir/push.log"
    bench_image_end_registry
}

bench_image_end() { # dir
    bench_image_end_registry
    rm -rf "$1"
}

bench_image_end_registry() {
    [ -n "$registry_pid" ] || return 0
    kill "$registry_pid" 2>/dev/null || true
    # Its end is the end of its log.
    cat <&"$log_of_registry" >/dev/null
    exec {log_of_registry}<&-
    registry_pid=
}

bench_image_fail() { # message log
    cat "$2" >&2
    echo "hack/bench: $1, see above" >&2
    exit 1
}

bench_image_median() { # file seconds|kib
    local column=1
    [ "$2" = seconds ] || column=2
    awk -v column="$column" '{print $column}' "$1" | sort -n | awk '{all[NR] = $1} END {print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2}'
}

# An OCI layout with one image of one layer with one file.
bench_image_layout() { # dir
    local blobs=$1/blobs/sha256 diff_id layer config manifest
    mkdir -p "$blobs"
    head -c 1G /dev/urandom >"$1/data"
    tar --create --file "$1/layer" --directory "$1" data
    rm "$1/data"
    diff_id=$(sha256sum <"$1/layer" | cut -d ' ' -f 1)
    gzip -1 --no-name "$1/layer"
    layer=$(bench_image_blob "$1" layer.gz application/vnd.oci.image.layer.v1.tar+gzip)
    printf '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$diff_id" >"$1/config"
    config=$(bench_image_blob "$1" config application/vnd.oci.image.config.v1+json)
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' "$config" "$layer" >"$1/manifest"
    manifest=$(bench_image_blob "$1" manifest application/vnd.oci.image.manifest.v1+json)
    printf '{"schemaVersion":2,"manifests":[%s]}' "$manifest" >"$1/index.json"
    printf '{"imageLayoutVersion":"1.0.0"}' >"$1/oci-layout"
}

# The descriptor of a file, which becomes a blob.
bench_image_blob() { # dir file type
    local digest size
    digest=$(sha256sum <"$1/$2" | cut -d ' ' -f 1)
    size=$(stat --format=%s "$1/$2")
    mv "$1/$2" "$1/blobs/sha256/$digest"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s}' "$3" "$digest" "$size"
}
