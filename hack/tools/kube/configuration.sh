# The certificates, users and configuration files of the cluster. Sourced by cluster.sh.
#
# Invariant: every secret lies in a file that only root can read, and never on a command line.

cluster_secrets() {
    local tls=$cluster_state/tls user
    (
        umask 077
        mkdir -p "$tls"
        if [ ! -s "$tls/ca.crt" ] || ! openssl x509 -in "$tls/ca.crt" -noout -checkend 604800 >/dev/null; then
            cluster_certificates
        fi
        cluster_tokens >"$cluster_state/tokens.csv"
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
    cluster_token "system:node:$cluster_node" system:nodes
    cluster_token "system:node:$cluster_second_node" system:nodes
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

# --- components -------------------------------------------------------------------------------------------------------------------

cluster_configure() {
    local config=$cluster_state/config
    mkdir -p "$config/cni" "$cluster_state"/{containerd,etcd,kubelet,logs,pids,pod-logs} "$cluster_run"
    chmod 0700 "$cluster_state/etcd"
    echo "$cluster_state" >"$cluster_run/state"
    cluster_registry registry.slipway.test:5000 "http://$cluster_address:5000"
    cluster_registry registry-tls.slipway.test:5443 "https://$cluster_address:5443"
    printf 'nameserver %s\n' "$cluster_address" >"$config/resolv.conf"

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
