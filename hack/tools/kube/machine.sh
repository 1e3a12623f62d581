# What the cluster changes on this machine outside its own directories, and how that is taken back. Sourced by cluster.sh.
#
# Invariant: everything is recognised by its name or place as the cluster's, so it can be taken back after a crash as well.

# --- network ----------------------------------------------------------------------------------------------------------------------

cluster_network_up() {
    if [ -n "$(ip -oneline address show to "$cluster_pods")" ]; then
        cluster_fail "the network $cluster_pods of the pods is in use on this machine: $(ip -oneline address show to "$cluster_pods")"
    fi
    cluster_kernel_modules
    cluster_kernel_settings_save
    echo 1 >/proc/sys/net/ipv4/ip_forward

    # A fixed address: without one the bridge would take that of its newest pod.
    ip link add "$cluster_bridge" address 02:53:4c:57:00:01 type bridge
    ip address add "$cluster_address/24" dev "$cluster_bridge"
    ip link set "$cluster_bridge" up
    # Without a default route Services need one. It leads to a bridge that nobody is on: over that of the pods the kernel would answer
    # with redirects first, and its limit for such answers swallows the refusal of a Service that has no pods.
    ip link add "$cluster_service_bridge" type bridge
    ip link set "$cluster_service_bridge" up
    ip route add "$cluster_services" dev "$cluster_service_bridge" src "$cluster_address"

    iptables --wait --new-chain "$cluster_chain"
    iptables --wait --append "$cluster_chain" --out-interface "$cluster_bridge" --jump ACCEPT
    iptables --wait --append "$cluster_chain" --in-interface "$cluster_bridge" --jump REJECT --reject-with icmp-net-unreachable
    iptables --wait --insert FORWARD --jump "$cluster_chain"
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
    local tables bridge
    command -v iptables >/dev/null && command -v ip >/dev/null || return 0
    if iptables --wait --list-rules "$cluster_chain" >/dev/null 2>&1; then
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
        cluster_rule_delete FORWARD --jump "$cluster_chain"
        cluster_chain_delete "$cluster_chain"
    fi
    for bridge in "$cluster_bridge" "$cluster_service_bridge"; do
        if [ -d "/sys/class/net/$bridge" ]; then
            ip link delete "$bridge"
        fi
    done
    cluster_kernel_settings_restore
}

cluster_kernel_settings_save() {
    local setting
    for setting in "${cluster_kernel_settings[@]}"; do
        echo "$setting $(cat "/proc/sys/$setting")"
    done >"$cluster_state/kernel-settings"
}

cluster_kernel_settings_restore() {
    local setting value
    if [ -s "$cluster_state/kernel-settings" ]; then
        while read -r setting value; do
            echo "$value" >"/proc/sys/$setting"
        done <"$cluster_state/kernel-settings"
        rm "$cluster_state/kernel-settings"
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

# --- what pods leave --------------------------------------------------------------------------------------------------------------

cluster_cgroups() {
    find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name "${cluster_cgroup#/}"
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
            find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r process; do
                kill -KILL "$process" 2>/dev/null || true
            done
            sleep 0.05
        done
    done
}

# Where these lie cannot be configured.
cluster_clean_fixed_paths() {
    local directory socket
    if [ -d /var/log/containers ]; then
        find /var/log/containers -lname "$cluster_state/*" -delete
    fi
    rm -f /var/lib/kubelet/device-plugins/kubelet.sock
    for socket in /run/containerd/s/*; do
        if [ -S "$socket" ] && ! grep -q -F " $socket" /proc/net/unix; then
            rm "$socket"
        fi
    done
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
