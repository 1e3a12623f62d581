# An engine of our own: podman with its configuration, storage and socket in one directory, beside whatever engine the machine has.
# Sourced after packages.sh, not run.
#
# podman_configure DIRECTORY writes the configuration; podman_words DIRECTORY prints how podman is called with it, a word a line.
# engine_request ENGINE METHOD PATH [CURL-ARGUMENT…] asks any engine (unix://… or tcp://…), engine_has and engine_load are about its images.
# engine_find prints the engine that the user has; engine_pack makes an image that every engine loads.
#
# Invariant: nothing of the machine's own podman is read or written: not its storage, locks, networks, registries or policy.

podman_packages=(ca-certificates curl podman runc slirp4netns uidmap)

podman_configure() { # directory
    local directory=$1
    mkdir -p "$directory"/{cni,home/.config/containers,run,storage}
    # Debian's crun refuses machines with both generations of cgroups; limits above the machine's own cannot be set.
    cat >"$directory/containers.conf" <<END_OF_FILE
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[network]
network_config_dir = "$directory/cni"
END_OF_FILE
    cat >"$directory/storage.conf" <<END_OF_FILE
[storage]
driver = "$(podman_storage_driver "$directory")"
graphroot = "$directory/storage"
rootless_storage_path = "$directory/storage"
runroot = "$directory/run/containers"
END_OF_FILE
    echo 'unqualified-search-registries = ["docker.io"]' >"$directory/registries.conf"
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$directory/home/.config/containers/policy.json"
}

podman_words() { # directory
    printf '%s\n' env HOME="$1/home" XDG_RUNTIME_DIR="$1/run" XDG_CONFIG_HOME="$1/home/.config" \
        CONTAINERS_CONF="$1/containers.conf" CONTAINERS_REGISTRIES_CONF="$1/registries.conf" CONTAINERS_STORAGE_CONF="$1/storage.conf" \
        podman --tmpdir "$1/run/libpod"
}

# Left to itself podman gives an ordinary user the one that copies every image for every container.
podman_storage_driver() { # directory
    local probe driver=vfs
    local -a namespaces=(--mount)
    if [ "$EUID" -ne 0 ]; then
        namespaces+=(--user --map-root-user)
    fi
    probe=$(mktemp --directory "$1/probe.XXXXXX") && mkdir "$probe"/{lower,upper,work,merged} || return
    if unshare "${namespaces[@]}" mount -t overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work,userxattr" \
        overlay "$probe/merged" 2>"$1/probe.log"; then
        driver=overlay
    fi
    rm -rf "$probe"
    echo $driver
}

# --- any engine -------------------------------------------------------------------------------------------------------------------

engine_request() { # engine method path curl-argument...
    local engine=$1 method=$2 path=$3
    local -a address=("http://${engine#tcp://}/v1.40$path")
    shift 3
    if [[ $engine == unix://* ]]; then
        address=(--unix-socket "${engine#unix://}" "http://localhost/v1.40$path")
    fi
    curl --silent --show-error --noproxy '*' --fail-with-body --request "$method" "${address[@]}" "$@"
}

engine_answers() { # engine
    engine_request "$1" GET /_ping --max-time 10 >/dev/null 2>&1
}

# DOCKER_HOST and nothing else where it is set.
engine_find() {
    local candidate
    local -a candidates=("${DOCKER_HOST:-}")
    if [ -z "${DOCKER_HOST:-}" ]; then
        candidates=(unix:///var/run/docker.sock "unix://$HOME/.docker/run/docker.sock" "unix://${XDG_RUNTIME_DIR:-/run/user/$UID}/docker.sock"
            "unix://${XDG_RUNTIME_DIR:-/run/user/$UID}/podman/podman.sock" unix:///run/podman/podman.sock)
    fi
    for candidate in "${candidates[@]}"; do
        if engine_answers "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

engine_has() { # engine reference
    engine_request "$1" GET "/images/$2/json" >/dev/null 2>&1
}

engine_load() { # engine archive
    local answer
    # A failure may come after the engine has answered that all is well.
    answer=$(engine_request "$1" POST /images/load --upload-file "$2" --header 'Content-Type: application/x-tar' --header 'Expect:') &&
        [[ $answer != *'"error'* ]] || {
        echo "engine: $2 could not be loaded into $1: $answer" >&2
        return 1
    }
}

# Packs a directory as an image of one layer, DIRECTORY.archive.tar.
engine_pack() { # directory reference configuration
    local archive=$1.archive architecture
    case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
    esac
    mkdir "$archive"
    tar --create --file "$archive/layer.tar" --directory "$1" --owner 0 --group 0 --numeric-owner .
    printf '{"architecture": "%s", "os": "linux", "config": {%s}, "rootfs": {"type": "layers", "diff_ids": ["sha256:%s"]}}' \
        "$architecture" "$3" "$(sha256sum "$archive/layer.tar" | cut -d ' ' -f 1)" >"$archive/config.json"
    printf '[{"Config": "config.json", "RepoTags": ["%s"], "Layers": ["layer.tar"]}]' "$2" >"$archive/manifest.json"
    tar --create --file "$archive.tar" --directory "$archive" manifest.json config.json layer.tar
}
