# The programs of the cluster, built from Go modules into the cache, and the image of the pods' first container. Sourced by cluster.sh.
#
# Invariant: a program lies in a directory named by its version and by a hash of all that it is made from, and only when it is complete.

cluster_build() {
    local tool directory program failed=
    local -a builds=()
    export GOFLAGS=-buildvcs=false GOWORK=off
    mkdir -p "$cluster_cache/bin" "$cluster_state/bin"
    for tool in kube containerd runc; do
        directory=$(cluster_tool_directory $tool)
        if [ ! -d "$directory" ]; then
            cluster_find_go
            if [ $tool = runc ]; then
                need_packages gcc libc6-dev libseccomp-dev pkg-config
            fi
            echo "building $(basename "$directory"), log in $cluster_cache/bin/$tool.log" >&2
            cluster_build_one $tool "$directory" &
            builds+=($!)
        fi
    done
    for tool in "${builds[@]}"; do
        wait "$tool" || failed=yes
    done
    [ -z "$failed" ] || cluster_fail 'not everything could be built'
    for tool in kube containerd runc; do
        for program in "$(cluster_tool_directory $tool)"/*; do
            ln -sfn "$program" "$cluster_state/bin/"
        done
    done
}

cluster_find_go() {
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || cluster_fail 'Go 1.25 or later is needed to build the cluster; install it and put go on the PATH'
}

# Where a tool lies once it is built: its name, version and a hash of all that it is made from.
cluster_tool_directory() { # tool
    local source module version
    case $1 in
    kube) source=$cluster_tools module=k8s.io/kubernetes ;;
    containerd) source=$cluster_tools/containerd module=github.com/containerd/containerd/v2 ;;
    runc) source=$cluster_tools/runc module=github.com/opencontainers/runc ;;
    esac
    version=$(cluster_module_version "$source" $module)
    printf '%s/bin/%s-%s-%s\n' "$cluster_cache" "$1" "$version" \
        "$({ declare -f "cluster_build_$1" && find "$source" -path "$source/*/go.*" -prune -o \( -name 'go.*' -o -name '*.go' \) -exec sha256sum {} + | sort; } |
            sed "s#$source##" | sha256sum | cut -c1-12)"
}

cluster_module_version() { # directory module
    awk -v module="$2" '$1 == module && $2 ~ /^v/ { print $2; exit } $2 == module && $3 ~ /^v/ { print $3; exit }' "$1/go.mod"
}

cluster_build_one() { # tool directory
    local log=$cluster_cache/bin/$1.log
    rm -rf "$2.new"
    mkdir "$2.new"
    if ! "cluster_build_$1" "$2.new" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        return 1
    fi
    mv "$2.new" "$2"
}

cluster_build_kube() { # target
    local version name package flags='-s -w'
    version=$(cluster_module_version "$cluster_tools" k8s.io/kubernetes)
    # What the components say of themselves, and what clients call themselves.
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
        flags+=" -X $package.gitCommit=unknown -X $package.gitTreeState=clean"
    done
    cd "$cluster_tools" || return
    CGO_ENABLED=0 go build -trimpath -ldflags "$flags" -o "$1/kube" . || return
    CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$1/pause" ./pause || return
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl remove-pods keep-node; do
        ln -s kube "$1/$name" || return
    done
}

cluster_build_containerd() { # target
    cd "$cluster_tools/containerd" || return
    CGO_ENABLED=0 go build -trimpath -tags no_btrfs,no_zfs,no_devmapper -ldflags '-s -w' -o "$1/" tool
}

cluster_build_runc() { # target
    cd "$cluster_tools/runc" || return
    CGO_ENABLED=1 go build -trimpath -tags seccomp -ldflags '-s -w' -o "$1/" tool
}

# The image that every pod's first container runs, made by hand because it must be there before the cluster is.
cluster_pause_image() {
    local work=$cluster_run/pause layer config
    mkdir -p "$work"
    tar --create --file "$work/layer.tar" --directory "$(dirname "$(readlink --canonicalize "$cluster_state/bin/pause")")" \
        --owner 0 --group 0 --mtime @0 --mode 0755 pause
    layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"],"User":"65535:65535"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(dpkg --print-architecture)" "$layer" >"$work/config.json"
    config=$(sha256sum "$work/config.json" | cut -d' ' -f1)
    mv "$work/config.json" "$work/$config.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$cluster_pause" >"$work/manifest.json"
    tar --create --file "$cluster_run/pause.tar" --directory "$work" manifest.json "$config.json" layer.tar
    "$cluster_state/bin/ctr" --address "$cluster_socket" --namespace k8s.io images import "$cluster_run/pause.tar" >"$cluster_state/logs/pause.log" 2>&1 ||
        cluster_fail "the pause image could not be imported: $(tail -n 3 "$cluster_state/logs/pause.log")"
    rm -rf "$work" "$cluster_run/pause.tar"
}
