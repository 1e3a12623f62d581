# The parts of the cluster: how each is built, configured, started, awaited and removed. Sourced after packages.sh, not run.
#
# Invariant: only processes of ours are ever signalled: a recorded process id counts only together with its start time; what a crash left is
# known by the cgroup of the pods, or by being our containerd's shim.
# Invariant: servers listen on loopback or on the pod bridge, and pods reach nothing beyond this machine.
# Invariant: what is deleted lies below the state directory, and only when nothing is mounted there any more.
#
# Objects live as long as the cluster is up: every start from "down" is an empty cluster, so a crash leaves nothing that could be half there.

cluster_cache=${XDG_CACHE_HOME:-$HOME/.cache}/slipway
cluster_state=${XDG_STATE_HOME:-$HOME/.local/state}/slipway/cluster
cluster_run=/run/slipway
cluster_socket=$cluster_run/containerd.sock
cluster_tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../tools/kube" && pwd)
cluster_bridge=slipway0
cluster_chain=SLIPWAY
cluster_address=10.244.0.1
cluster_pods=10.244.0.0/24
cluster_services=10.96.0.0/16
cluster_service_address=10.96.0.1
cluster_api=https://$cluster_address:6443
cluster_node=slipway
cluster_cgroup=/slipway
cluster_pause=slipway.test/pause:1
cluster_components=(dns etcd containerd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet)
cluster_ordinary_users=(dev viewer builder)

# --- verbs -----------------------------------------------------------------------------------------------------------------------

cluster_up() {
    if cluster_is_up; then
        services_start
        return
    fi
    need_packages conntrack containernetworking-plugins dnsmasq-base iproute2 iptables kmod libseccomp2 openssl procps util-linux
    cluster_build
    cluster_down
    cluster_secrets
    cluster_configure
    cluster_network_up
    cluster_launch containerd
    cluster_launch dns
    cluster_boot
    echo "the cluster is up; to use it: eval \"\$(hack/cluster env)\"" >&2
}

cluster_down() {
    local component
    for component in kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd dns; do
        cluster_end "$component"
    done
    services_stop
    if cluster_running containerd; then
        cluster_remove_pods
    fi
    cluster_end containerd
    cluster_end_pods_left_by_a_crash
    cluster_network_down
    cluster_unmount "$cluster_state/kubelet" "$cluster_state/containerd" "$cluster_run"
    rm -rf "$cluster_state"/{etcd,kubelet,cni,pod-logs} "$cluster_run"
    cluster_clean_fixed_paths
}

cluster_reset() {
    local component
    if ! cluster_is_up; then
        cluster_up
        return
    fi
    for component in kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd; do
        cluster_end "$component"
    done
    cluster_remove_pods
    cluster_unmount "$cluster_state/kubelet"
    rm -rf "$cluster_state"/{etcd,kubelet,pod-logs} "$cluster_state/logs/audit.log"
    cluster_configure
    cluster_boot
}

cluster_images() {
    cluster_require_up
    export PATH=$cluster_state/bin:$PATH CONTAINERD_ADDRESS=$cluster_socket
    images_load
}

cluster_start() { # component
    cluster_known "$1"
    if [ ! -d "$cluster_run" ]; then
        cluster_fail 'no cluster is up; start it with: hack/cluster up'
    fi
    if ! cluster_running "$1"; then
        cluster_launch "$1"
    fi
    cluster_await_component "$1"
}

cluster_stop() { # component
    cluster_known "$1"
    cluster_end "$1"
}

cluster_env() {
    local user
    cluster_require_up
    printf 'export %s=%q\n' \
        KUBECONFIG "$cluster_state/kubeconfig-admin" \
        CONTAINERD_ADDRESS "$cluster_socket" \
        CONTAINERD_NAMESPACE k8s.io \
        SLIPWAY_STATE "$cluster_state" \
        SLIPWAY_CACHE "$cluster_cache" \
        SLIPWAY_BRIDGE_ADDRESS "$cluster_address" \
        SLIPWAY_API "$cluster_api" \
        SLIPWAY_API_CA "$cluster_state/tls/ca.crt" \
        SLIPWAY_NODE "$cluster_node" \
        SLIPWAY_AUDIT_LOG "$cluster_state/logs/audit.log" \
        SLIPWAY_LOGS "$cluster_state/logs" \
        SLIPWAY_PIDS "$cluster_state/pids" \
        SLIPWAY_SECCOMP_PROFILES "$cluster_state/kubelet/seccomp"
    for user in admin "${cluster_ordinary_users[@]}"; do
        printf 'export SLIPWAY_KUBECONFIG_%s=%q\n' "${user^^}" "$cluster_state/kubeconfig-$user"
    done
    printf 'export PATH=%q:"$PATH"\n' "$cluster_state/bin"
    services_env
}

# --- small things ----------------------------------------------------------------------------------------------------------------

cluster_fail() {
    echo "cluster: $*" >&2
    exit 1
}

cluster_as_root() {
    [ "$EUID" -eq 0 ] || cluster_fail "a kubelet needs root: run this again with sudo"
}

# One at a time. The lock's descriptor is closed in what runs, or the servers would hold it for ever.
cluster_lock() { # arguments of this script
    [ -z "${SLIPWAY_CLUSTER_LOCKED:-}" ] || return 0
    mkdir -p "$cluster_state"
    if ! flock --nonblock "$cluster_state/lock" true; then
        echo 'cluster: waiting for another hack/cluster' >&2
    fi
    SLIPWAY_CLUSTER_LOCKED=1 exec flock --close "$cluster_state/lock" "$0" "$@"
}

cluster_known() { # component
    [[ " ${cluster_components[*]} " == *" $1 "* ]] || cluster_fail "no component $1; there are: ${cluster_components[*]}"
}

cluster_is_up() {
    local component
    for component in "${cluster_components[@]}"; do
        cluster_running "$component" || return 1
    done
}

cluster_require_up() {
    local component
    for component in "${cluster_components[@]}"; do
        if [ ! -s "$cluster_state/pids/$component" ]; then
            cluster_fail 'no cluster is up; start it with: hack/cluster up'
        fi
    done
}

cluster_kubectl() {
    "$cluster_state/bin/kubectl" --kubeconfig "$cluster_state/kubeconfig-admin" --request-timeout 5s "$@"
}

cluster_remove_pods() {
    "$cluster_state/bin/remove-pods" "$cluster_socket" >>"$cluster_state/logs/remove-pods.log" 2>&1 ||
        cluster_fail "pods could not be removed: $(tail -n 3 "$cluster_state/logs/remove-pods.log")"
}

# --- programs --------------------------------------------------------------------------------------------------------------------

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
    command -v go >/dev/null || cluster_fail 'Go 1.24 or later is needed to build the cluster; install it and put go on the PATH'
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
        "$({ declare -f "cluster_build_$1" && find "$source" -maxdepth 2 -path "$source/*/go.*" -prune -o -type f -exec sha256sum {} + | sort; } |
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
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl remove-pods; do
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
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" $cluster_pause >"$work/manifest.json"
    tar --create --file "$cluster_run/pause.tar" --directory "$work" manifest.json "$config.json" layer.tar
    "$cluster_state/bin/ctr" --address $cluster_socket --namespace k8s.io images import "$cluster_run/pause.tar" >"$cluster_state/logs/pause.log" 2>&1 ||
        cluster_fail "the pause image could not be imported: $(tail -n 3 "$cluster_state/logs/pause.log")"
    rm -rf "$work" "$cluster_run/pause.tar"
}

# --- certificates and users --------------------------------------------------------------------------------------------------------

cluster_secrets() {
    local tls=$cluster_state/tls user
    (
        umask 077
        mkdir -p "$tls"
        if [ ! -s "$tls/ca.crt" ] || ! openssl x509 -in "$tls/ca.crt" -noout -checkend 604800 >/dev/null; then
            cluster_certificates
        fi
        if [ ! -s "$cluster_state/tokens.csv" ]; then
            cluster_tokens >"$cluster_state/tokens.csv.new"
            mv "$cluster_state/tokens.csv.new" "$cluster_state/tokens.csv"
        fi
        while IFS=, read -r token user _; do
            cluster_kubeconfig "$token" "$user" >"$cluster_state/kubeconfig-${user##*:}"
        done <"$cluster_state/tokens.csv"
    ) || cluster_fail 'certificates or users could not be made'
}

cluster_certificates() {
    local tls=$cluster_state/tls
    {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj '/CN=Slipway test cluster' \
            -addext 'basicConstraints=critical,CA:true' -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout "$tls/ca.key" -out "$tls/new.crt" &&
            cluster_certificate apiserver /CN=kube-apiserver serverAuth \
                "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:$cluster_address,IP:$cluster_service_address" &&
            cluster_certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth DNS:kube-apiserver &&
            openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$tls/service-accounts.key" &&
            # Last, because its presence means that all of them are there.
            mv "$tls/new.crt" "$tls/ca.crt"
    } 2>"$tls/log" || cluster_fail "no certificates, see $tls/log"
}

cluster_certificate() { # name subject usage alternative-names
    local tls=$cluster_state/tls
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$tls/$1.key" -out "$tls/$1.csr" &&
        openssl x509 -req -in "$tls/$1.csr" -CA "$tls/new.crt" -CAkey "$tls/ca.key" -CAcreateserial -days 365 -out "$tls/$1.crt" \
            -extfile <(printf 'basicConstraints=CA:false\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4")
}

# Ordinary users may do nothing until somebody binds a role to them.
cluster_tokens() {
    local user
    cluster_token admin system:masters
    cluster_token system:kube-controller-manager
    cluster_token system:kube-scheduler
    cluster_token system:kube-proxy
    cluster_token system:node:$cluster_node system:nodes
    for user in "${cluster_ordinary_users[@]}"; do
        cluster_token "$user"
    done
}

cluster_token() { # user group
    printf '%s,%s,%s,"%s"\n' "$(openssl rand -hex 24)" "$1" "$1" "${2:-}"
}

cluster_kubeconfig() { # token user
    cat <<END
apiVersion: v1
kind: Config
current-context: slipway
clusters:
- name: slipway
  cluster:
    server: $cluster_api
    certificate-authority-data: $(openssl base64 -A <"$cluster_state/tls/ca.crt")
users:
- name: $2
  user:
    token: $1
contexts:
- name: slipway
  context:
    cluster: slipway
    user: $2
END
}

# --- configuration -----------------------------------------------------------------------------------------------------------------

cluster_configure() {
    local config=$cluster_state/config
    mkdir -p "$config/cni" "$cluster_state"/{containerd,etcd,kubelet,logs,pids,pod-logs} "$cluster_run"
    chmod 0700 "$cluster_state/etcd"
    cluster_registry registry.slipway.test:5000 "http://$cluster_address:5000"
    cluster_registry registry-tls.slipway.test:5443 "https://$cluster_address:5443"
    printf 'nameserver %s\n' $cluster_address >"$config/resolv.conf"

    # Everything that is not named here does not exist, at once: nothing may depend on what lies beyond this machine.
    cat >"$config/dnsmasq.conf" <<END
listen-address=$cluster_address
bind-interfaces
user=root
group=root
pid-file=
no-resolv
no-hosts
no-poll
local=/#/
host-record=git.slipway.test,$cluster_address
host-record=registry.slipway.test,$cluster_address
host-record=registry-tls.slipway.test,$cluster_address
host-record=kubernetes.default.svc.cluster.local,$cluster_service_address
END

    cat >"$config/cni/slipway.conflist" <<END
{
  "cniVersion": "1.0.0",
  "name": "slipway",
  "plugins": [{
    "type": "bridge",
    "bridge": "$cluster_bridge",
    "isGateway": true,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "$cluster_state/cni",
      "ranges": [[{"subnet": "$cluster_pods", "gateway": "$cluster_address"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
END

    # Network namespaces lie in our own directory, because podman mounts /run/netns over itself and then nobody can remove what was in it.
    # Without CAP_SYS_RESOURCE no process may make itself less likely to be killed, which is what restrict_oom_score_adj is about.
    cat >"$config/containerd.toml" <<END
version = 3
root = "$cluster_state/containerd"
state = "$cluster_run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
  address = "$cluster_socket"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$cluster_pause"

[plugins."io.containerd.cri.v1.images".registry]
  config_path = "$config/registries"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "$config/cni"
  use_internal_loopback = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "$cluster_state/bin/runc"
  Root = "$cluster_run/runc"
  SystemdCgroup = false
END

    # Who wrote what is counted from this log; reads are kept for everybody but the cluster's own parts.
    cat >"$config/audit.yaml" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  nonResourceURLs: ["/*"]
- level: None
  verbs: [get, list, watch]
  userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
- level: None
  verbs: [get, list, watch]
  users: [system:apiserver, system:kube-controller-manager, system:kube-scheduler, system:kube-proxy]
- level: None
  resources: [{group: coordination.k8s.io, resources: [leases]}]
  userGroups: [system:nodes]
- level: Metadata
END

    cat >"$config/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $cluster_pods
hostnameOverride: $cluster_node
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
nodePortAddresses: [$cluster_pods]
oomScoreAdj: 0
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {localhostNodePorts: false, minSyncPeriod: 100ms}
clientConnection: {kubeconfig: $cluster_state/kubeconfig-kube-proxy}
END

    # Short leases and a short grace period, so that the loss of a node can be shown in seconds.
    cat >"$config/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $cluster_address
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $cluster_state/tls/ca.crt}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: $cluster_cgroup
clusterDNS: [$cluster_address]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$cluster_socket
evictionHard: {memory.available: 1%, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
maxPods: 200
nodeLeaseDurationSeconds: 20
oomScoreAdj: 0
podLogsDir: $cluster_state/pod-logs
readOnlyPort: 0
registryPullQPS: 0
resolvConf: $config/resolv.conf
serializeImagePulls: false
volumePluginDir: $cluster_state/kubelet/volume-plugins
END
}

cluster_registry() { # name url
    local directory=$cluster_state/config/registries/$1
    mkdir -p "$directory"
    cat >"$directory/hosts.toml" <<END
server = "$2"
[host."$2"]
  capabilities = ["pull", "resolve"]
  ca = "$cluster_state/services/authority/ca.crt"
END
}

# --- network -----------------------------------------------------------------------------------------------------------------------

cluster_network_up() {
    if [ -n "$(ip -oneline address show to "$cluster_pods")" ]; then
        cluster_fail "the network $cluster_pods of the pods is in use on this machine: $(ip -oneline address show to "$cluster_pods")"
    fi
    cluster_kernel_modules
    cat /proc/sys/net/ipv4/ip_forward >"$cluster_state/ip_forward"
    echo 1 >/proc/sys/net/ipv4/ip_forward

    # A fixed address: without one the bridge would take that of its newest pod.
    ip link add "$cluster_bridge" address 02:53:4c:57:00:01 type bridge
    ip address add "$cluster_address/24" dev "$cluster_bridge"
    ip link set "$cluster_bridge" up
    ip route add "$cluster_services" dev "$cluster_bridge"

    iptables --wait --new-chain $cluster_chain
    iptables --wait --append $cluster_chain --out-interface "$cluster_bridge" --jump ACCEPT
    iptables --wait --append $cluster_chain --in-interface "$cluster_bridge" --jump REJECT --reject-with icmp-net-unreachable
    iptables --wait --insert FORWARD --jump $cluster_chain
    iptables --wait --insert INPUT --in-interface "$cluster_bridge" --jump ACCEPT
}

cluster_kernel_modules() {
    [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || modprobe br_netfilter ||
        cluster_fail 'the kernel has no br_netfilter, which Services need'
    grep -q 'overlay$' /proc/filesystems || modprobe overlay || cluster_fail 'the kernel has no overlayfs, which containers need'
    [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables)" = 1 ] ||
        cluster_fail 'bridged packets skip the netfilter rules; allow them with: sysctl net.bridge.bridge-nf-call-iptables=1'
}

cluster_network_down() {
    local tables
    command -v iptables >/dev/null && command -v ip >/dev/null || return 0
    if iptables --wait --list-rules $cluster_chain >/dev/null 2>&1; then
        "$cluster_state/bin/kube-proxy" --cleanup >"$cluster_state/logs/kube-proxy-cleanup.log" 2>&1 ||
            echo "cluster: rules of kube-proxy may be left, see $cluster_state/logs/kube-proxy-cleanup.log" >&2
        # A chain that kube-proxy makes but takes for the kubelet's.
        for tables in iptables ip6tables; do
            cluster_rule_delete INPUT --jump KUBE-FIREWALL
            cluster_rule_delete OUTPUT --jump KUBE-FIREWALL
            cluster_chain_delete KUBE-FIREWALL
        done
        tables=iptables
        cluster_rule_delete INPUT --in-interface "$cluster_bridge" --jump ACCEPT
        cluster_rule_delete FORWARD --jump $cluster_chain
        cluster_chain_delete $cluster_chain
    fi
    if [ -d "/sys/class/net/$cluster_bridge" ]; then
        ip link delete "$cluster_bridge"
    fi
    if [ -s "$cluster_state/ip_forward" ]; then
        cat "$cluster_state/ip_forward" >/proc/sys/net/ipv4/ip_forward
        rm "$cluster_state/ip_forward"
    fi
}

# The next two use tables of their caller: iptables or ip6tables.
cluster_rule_delete() { # rule
    while $tables --wait --check "$@" 2>/dev/null; do
        $tables --wait --delete "$@"
    done
}

cluster_chain_delete() { # chain
    if $tables --wait --list-rules "$1" >/dev/null 2>&1; then
        $tables --wait --flush "$1"
        $tables --wait --delete-chain "$1"
    fi
}

# --- components --------------------------------------------------------------------------------------------------------------------

# From a running containerd to a cluster that answers in every way that tests use.
cluster_boot() {
    local component
    cluster_launch etcd
    cluster_launch kube-apiserver
    cluster_await_component containerd
    cluster_remove_pods
    cluster_pause_image
    cluster_cgroup_make
    cluster_await_component kube-apiserver
    for component in kube-controller-manager kube-scheduler kube-proxy kubelet; do
        cluster_launch "$component"
    done
    services_start
    for component in "${cluster_components[@]}"; do
        cluster_await_component "$component"
    done
}

cluster_launch() { # component
    local bin=$cluster_state/bin config=$cluster_state/config tls=$cluster_state/tls
    case $1 in
    dns)
        cluster_run dns dnsmasq --keep-in-foreground --conf-file="$config/dnsmasq.conf" --log-facility=-
        ;;
    etcd)
        cluster_run etcd "$bin/etcd" --data-dir "$cluster_state/etcd" --unsafe-no-fsync --log-level warn \
            --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
            --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
            --initial-cluster default=http://127.0.0.1:2380
        ;;
    containerd)
        cluster_run containerd "$bin/containerd" --config "$config/containerd.toml"
        ;;
    kube-apiserver)
        cluster_run kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
            --bind-address $cluster_address --advertise-address $cluster_address --secure-port 6443 \
            --tls-cert-file "$tls/apiserver.crt" --tls-private-key-file "$tls/apiserver.key" \
            --client-ca-file "$tls/ca.crt" --token-auth-file "$cluster_state/tokens.csv" --authorization-mode Node,RBAC \
            --kubelet-client-certificate "$tls/kubelet-client.crt" --kubelet-client-key "$tls/kubelet-client.key" \
            --kubelet-preferred-address-types InternalIP,Hostname \
            --service-account-issuer https://kubernetes.default.svc.cluster.local \
            --service-account-key-file "$tls/service-accounts.key" --service-account-signing-key-file "$tls/service-accounts.key" \
            --service-cluster-ip-range $cluster_services --allow-privileged=true --enable-aggregator-routing=true \
            --default-not-ready-toleration-seconds 5 --default-unreachable-toleration-seconds 5 \
            --audit-policy-file "$config/audit.yaml" --audit-log-path "$cluster_state/logs/audit.log" --audit-log-maxsize 10000
        ;;
    kube-controller-manager)
        cluster_run kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$cluster_state/kubeconfig-kube-controller-manager" \
            --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials \
            --service-account-private-key-file "$tls/service-accounts.key" --root-ca-file "$tls/ca.crt" \
            --node-monitor-period 2s --node-monitor-grace-period 20s --kube-api-qps 200 --kube-api-burst 400
        ;;
    kube-scheduler)
        cluster_run kube-scheduler "$bin/kube-scheduler" --kubeconfig "$cluster_state/kubeconfig-kube-scheduler" \
            --bind-address 127.0.0.1 --leader-elect=false
        ;;
    kube-proxy)
        cluster_run kube-proxy "$bin/kube-proxy" --config "$config/kube-proxy.yaml"
        ;;
    kubelet)
        cluster_run kubelet "$bin/kubelet" --config "$config/kubelet.yaml" --kubeconfig "$cluster_state/kubeconfig-$cluster_node" \
            --hostname-override $cluster_node --node-ip $cluster_address \
            --root-dir "$cluster_state/kubelet" --cert-dir "$cluster_state/kubelet/pki"
        ;;
    esac
}

cluster_await_component() { # component
    case $1 in
    dns) cluster_await dns cluster_port_open $cluster_address 53 ;;
    etcd) cluster_await etcd cluster_port_open 127.0.0.1 2379 ;;
    containerd) cluster_await containerd "$cluster_state/bin/ctr" --address $cluster_socket --connect-timeout 1s version ;;
    kube-apiserver) cluster_await kube-apiserver cluster_kubectl get --raw /readyz ;;
    kube-controller-manager) cluster_await kube-controller-manager cluster_kubectl --namespace default get serviceaccount/default configmap/kube-root-ca.crt ;;
    kube-scheduler) cluster_await kube-scheduler cluster_port_open 127.0.0.1 10259 ;;
    kube-proxy) cluster_await kube-proxy cluster_kubectl --server https://$cluster_service_address get --raw /readyz ;;
    kubelet) cluster_await kubelet cluster_node_ready ;;
    esac
}

cluster_node_ready() {
    [ "$(cluster_kubectl get node $cluster_node --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}{.spec.taints[*].effect}')" = True ]
}

cluster_port_open() { # address port
    (exec 3<>"/dev/tcp/$1/$2")
}

# --- processes ---------------------------------------------------------------------------------------------------------------------

cluster_run() { # component command...
    local component=$1 pid
    shift
    env --ignore-environment HOME="$HOME" PATH="$cluster_state/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        setsid "$@" >>"$cluster_state/logs/$component.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid $(cluster_started_at $pid)" >"$cluster_state/pids/$component"
}

cluster_started_at() { # pid
    [ -r "/proc/$1/stat" ] && sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20
}

# A process id alone may be somebody else's by now; with its start time it is ours.
cluster_running() { # component
    local pid started now
    [ -s "$cluster_state/pids/$1" ] || return 1
    read -r pid started <"$cluster_state/pids/$1"
    now=$(cluster_started_at "$pid") && [ "$now" = "$started" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null
}

cluster_await() { # component command...
    local component=$1 deadline=$((SECONDS + 180))
    shift
    until "$@" >/dev/null 2>&1; do
        cluster_running "$component" || cluster_explain "$component" 'ended'
        [ $SECONDS -lt $deadline ] || cluster_explain "$component" 'is not ready after three minutes'
        sleep 0.1
    done
}

cluster_explain() { # component what
    tail -n 20 "$cluster_state/logs/$1.log" >&2
    cluster_fail "$1 $2; the end of its log is above, the whole in $cluster_state/logs/$1.log"
}

# Only containerd has something to lose: it is asked to end. The others are ended as a crash would, which is quick and what tests want to see.
cluster_end() { # component
    local pid signal=KILL deadline=$((SECONDS + 20))
    if [ "$1" = containerd ]; then
        signal=TERM
    fi
    while cluster_running "$1"; do
        read -r pid _ <"$cluster_state/pids/$1"
        if [ $SECONDS -ge $deadline ]; then
            signal=KILL
        fi
        kill -$signal "$pid" 2>/dev/null || true
        sleep 0.05
    done
    rm -f "$cluster_state/pids/$1"
}

# --- what pods leave ---------------------------------------------------------------------------------------------------------------

cluster_cgroups() {
    find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "$(basename $cluster_cgroup)"
}

cluster_cgroup_make() {
    local hierarchy file
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        mkdir -p "/sys/fs/cgroup$cluster_cgroup"
        return
    fi
    for hierarchy in /sys/fs/cgroup/*/; do
        if [ -e "$hierarchy/tasks" ]; then
            mkdir -p "$hierarchy$cluster_cgroup"
        fi
    done
    # Old cgroups start with no processor and no memory node allowed.
    for file in cpuset.cpus cpuset.mems; do
        cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset$cluster_cgroup/$file"
    done
}

# After a crash nobody is left who would end the containers, nor their shims, which outlive containerd.
cluster_end_pods_left_by_a_crash() {
    local cgroup process deadline=$((SECONDS + 30))
    for process in /proc/[0-9]*; do
        if [[ $(readlink "$process/exe") == "$cluster_cache"/bin/containerd-*/containerd-shim-runc-v2 ]] &&
            tr '\0' ' ' <"$process/cmdline" | grep -q -F -- "-address $cluster_socket "; then
            kill -KILL "${process#/proc/}"
        fi
    done 2>/dev/null || true
    for cgroup in $(cluster_cgroups); do
        while [ -d "$cgroup" ] && ! find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; do
            [ $SECONDS -lt $deadline ] || cluster_fail "processes of pods do not end, see $cgroup"
            find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
            sleep 0.05
        done
    done
}

# Where these lie cannot be configured.
cluster_clean_fixed_paths() {
    local directory
    if [ -d /var/log/containers ]; then
        find /var/log/containers -lname "$cluster_state/*" -delete
    fi
    rm -f /var/lib/kubelet/device-plugins/kubelet.sock
    for directory in /var/log/containers /var/lib/kubelet/device-plugins /var/lib/kubelet /var/lib/cni/results /var/lib/cni \
        /run/containerd/fifo /run/containerd/s /run/containerd; do
        if [ -d $directory ]; then
            rmdir --ignore-fail-on-non-empty $directory
        fi
    done
}

cluster_unmount() { # directory...
    local directory target
    for directory in "$@"; do
        while read -r target; do
            target=$(printf '%b' "$target")
            umount "$target" 2>/dev/null || umount --lazy "$target"
        done < <(cluster_mounts "$directory")
        [ -z "$(cluster_mounts "$directory")" ] || cluster_fail "mounts are left below $directory: $(cluster_mounts "$directory")"
    done
}

cluster_mounts() { # directory
    awk -v directory="$1" 'index($5 "/", directory "/") == 1 { print $5 }' /proc/self/mountinfo | sort --reverse
}
