# The cluster's verbs and components: how each is started, awaited and ended. Sourced after packages.sh, not run.
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
cluster_service_bridge=slipway1
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
declare -A cluster_listens=(
    [dns]=$cluster_address/53
    [etcd]=127.0.0.1/2379
    [kube-apiserver]=$cluster_address/6443
    [kube-controller-manager]=127.0.0.1/10257
    [kube-scheduler]=127.0.0.1/10259
    [kube-proxy]=127.0.0.1/10256
    [kubelet]=$cluster_address/10250
)
# Started on demand only.
cluster_second_node=second-node
cluster_ordinary_users=(dev viewer builder)
# What the bridge, the kubelet and kube-proxy set; the names are those of the files below /proc/sys.
cluster_kernel_settings=(net/ipv4/ip_forward vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

# shellcheck source=hack/tools/kube/programs.sh
source "$cluster_tools/programs.sh"
# shellcheck source=hack/tools/kube/configuration.sh
source "$cluster_tools/configuration.sh"
# shellcheck source=hack/tools/kube/machine.sh
source "$cluster_tools/machine.sh"

# --- verbs ------------------------------------------------------------------------------------------------------------------------

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
    touch "$cluster_run/up"
    echo "the cluster is up; to use it: eval \"\$(hack/cluster env)\"" >&2
}

cluster_down() {
    local component
    for component in "$cluster_second_node" kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd dns; do
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
    for component in "$cluster_second_node" kubelet kube-proxy kube-scheduler kube-controller-manager kube-apiserver etcd; do
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
    images_for images_import
    images_controller_for images_import
    images_upstream_for images_import
}

cluster_start() { # component
    cluster_known "$1"
    cluster_require_up
    if ! cluster_running "$1"; then
        cluster_launch "$1"
    fi
    cluster_await_component "$1"
}

cluster_stop() { # component
    cluster_known "$1"
    cluster_end "$1"
    if [ "$1" = "$cluster_second_node" ]; then
        cluster_kubectl delete node "$1" --ignore-not-found >&2
    fi
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
    services_env SLIPWAY_
}

# --- small things -----------------------------------------------------------------------------------------------------------------

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
    if ! flock --nonblock "$cluster_run.lock" true; then
        echo 'cluster: waiting for another hack/cluster' >&2
    fi
    SLIPWAY_CLUSTER_LOCKED=1 exec flock --close "$cluster_run.lock" "$0" "$@"
}

# Addresses, bridge and cgroup exist once on a machine, the state directory once for a user.
cluster_of_this_user() {
    local owner component
    [ -s "$cluster_run/state" ] || return 0
    owner=$(cat "$cluster_run/state")
    for component in "${cluster_components[@]}"; do
        if [ "$owner" != "$cluster_state" ] && cluster_state=$owner cluster_running "$component"; then
            cluster_fail "the cluster of $owner is up; its user can stop it with: hack/cluster down"
        fi
    done
}

cluster_known() { # component
    local known="${cluster_components[*]} $cluster_second_node"
    [[ " $known " == *" $1 "* ]] || cluster_fail "no component $1; there are: $known"
}

cluster_is_up() {
    local component
    [ -e "$cluster_run/up" ] || return 1
    for component in "${cluster_components[@]}"; do
        if ! cluster_running "$component"; then
            echo "cluster: $component is not running, so the cluster is started afresh" >&2
            return 1
        fi
    done
}

cluster_require_up() {
    [ -e "$cluster_run/up" ] || cluster_fail 'no cluster is up; start it with: hack/cluster up'
}

cluster_kubectl() {
    "$cluster_state/bin/kubectl" --kubeconfig "$cluster_state/kubeconfig-admin" --request-timeout 5s "$@"
}

cluster_remove_pods() {
    "$cluster_state/bin/remove-pods" "$cluster_socket" >>"$cluster_state/logs/remove-pods.log" 2>&1 ||
        cluster_fail "pods could not be removed: $(tail -n 3 "$cluster_state/logs/remove-pods.log")"
}

# --- components -------------------------------------------------------------------------------------------------------------------

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
    if cluster_answers "$1"; then
        cluster_fail "${cluster_listens[$1]} is taken by another program, which must be stopped before $1 can start"
    fi
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
            --bind-address "$cluster_address" --advertise-address "$cluster_address" --secure-port 6443 \
            --tls-cert-file "$tls/apiserver.crt" --tls-private-key-file "$tls/apiserver.key" \
            --client-ca-file "$tls/ca.crt" --token-auth-file "$cluster_state/tokens.csv" --authorization-mode Node,RBAC \
            --kubelet-client-certificate "$tls/kubelet-client.crt" --kubelet-client-key "$tls/kubelet-client.key" \
            --kubelet-preferred-address-types InternalIP,Hostname \
            --service-account-issuer https://kubernetes.default.svc.cluster.local \
            --service-account-key-file "$tls/service-accounts.key" --service-account-signing-key-file "$tls/service-accounts.key" \
            --service-cluster-ip-range "$cluster_services" --allow-privileged=true --enable-aggregator-routing=true \
            --enable-admission-plugins OwnerReferencesPermissionEnforcement \
            --feature-gates MutatingAdmissionPolicy=true --runtime-config admissionregistration.k8s.io/v1beta1=true \
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
            --hostname-override "$cluster_node" --node-ip "$cluster_address" \
            --root-dir "$cluster_state/kubelet" --cert-dir "$cluster_state/kubelet/pki"
        ;;
    "$cluster_second_node")
        cluster_run "$1" "$bin/keep-node" "$cluster_state/kubeconfig-$1" "$1"
        ;;
    esac
}

cluster_await_component() { # component
    case $1 in
    dns) cluster_await dns cluster_answers dns ;;
    etcd) cluster_await etcd cluster_answers etcd ;;
    containerd) cluster_await containerd "$cluster_state/bin/ctr" --address "$cluster_socket" --connect-timeout 1s version ;;
    kube-apiserver) cluster_await kube-apiserver cluster_kubectl get --raw /readyz ;;
    kube-controller-manager) cluster_await kube-controller-manager cluster_kubectl --namespace default get serviceaccount/default configmap/kube-root-ca.crt ;;
    kube-scheduler) cluster_await kube-scheduler cluster_answers kube-scheduler ;;
    kube-proxy) cluster_await kube-proxy cluster_answers kube-proxy && cluster_await kube-proxy cluster_service_reachable ;;
    kubelet) cluster_await kubelet cluster_node_ready "$cluster_node" ;;
    "$cluster_second_node") cluster_await "$1" cluster_node_ready "$1" ;;
    esac
}

# Ready, and open for pods: the taint of a new node goes a moment later.
cluster_node_ready() { # node
    local seen
    seen=$(cluster_kubectl get node "$1" --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.spec.taints[*].key}')
    [[ $seen == True* && $seen != *node.kubernetes.io/* ]]
}

cluster_service_reachable() {
    cluster_kubectl --server "https://$cluster_service_address" get --raw /readyz
}

cluster_answers() { # component
    local where=${cluster_listens[$1]:-}
    [ -n "$where" ] && (exec 3<>"/dev/tcp/$where") 2>/dev/null
}

# --- processes --------------------------------------------------------------------------------------------------------------------

cluster_run() { # component command...
    local component=$1 pid
    shift
    (
        # What the caller holds open, such as a lock of its own, would be held for as long as the server runs.
        for descriptor in "/proc/$BASHPID/fd/"*; do
            descriptor=${descriptor##*/}
            [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
        done
        exec env --ignore-environment HOME="$HOME" PATH="$cluster_state/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
            setsid "$@"
    ) >>"$cluster_state/logs/$component.log" 2>&1 </dev/null &
    pid=$!
    echo "$pid $(process_started_at $pid)" >"$cluster_state/pids/$component"
}

cluster_running() { # component
    process_runs "$cluster_state/pids/$1"
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
    # The last of its threads closes its sockets a moment later.
    while cluster_answers "$1" && [ $SECONDS -lt $deadline ]; do
        sleep 0.05
    done
    rm -f "$cluster_state/pids/$1"
}
