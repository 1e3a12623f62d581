# Two builds from end to end on a real cluster, with the controller of install.yaml: one without any privilege, and one that clones over
# ssh, builds a Dockerfile with buildah and pushes to a registry with a password. Sourced by hack/demo, which provides say, fail and scratch.

namespace='slipway-demo'
source_url=ssh://git@git.slipway.test/app.git

watcher=

prepare() {
    local variables
    need_packages binutils ca-certificates gcc git libc6-dev openssh-client openssl skopeo util-linux
    say 'the cluster, its servers and images'
    hack/cluster up
    hack/cluster images
    variables=$(hack/cluster env)
    eval "$variables"
    say 'the controller'
    kubectl apply --filename install.yaml
    kubectl wait --for condition=Established --filename crds >/dev/null
    # The same tag may name another image than before.
    kubectl --namespace shipwright-build rollout restart deployment/slipway-controller >/dev/null
    kubectl --namespace shipwright-build rollout status deployment/slipway-controller --timeout 180s
}

# Secrets come from files and are never printed.
make_namespace() {
    kubectl delete namespace $namespace --ignore-not-found --wait >/dev/null
    kubectl create namespace $namespace >/dev/null
    kubectl --namespace $namespace wait --for create serviceaccount/default --timeout 60s >/dev/null
    kubectl --namespace $namespace create secret generic git-key --type kubernetes.io/ssh-auth \
        --from-file ssh-privatekey="$SLIPWAY_GIT_SSH_KEY" --from-file known_hosts="$SLIPWAY_GIT_KNOWN_HOSTS" >/dev/null
    kubectl --namespace $namespace create secret generic registry-password --type kubernetes.io/dockerconfigjson \
        --from-file .dockerconfigjson="$SLIPWAY_REGISTRY_AUTH" >/dev/null
}

# The sample's Build, but for where its source is and where its image goes.
build_of() { # sample
    local source='' output
    output='"output": {"image": "'$(image_of "$1")'", "pushSecret": "registry-password"}'
    if grep -q '^  source:' "samples/$1/build.yaml"; then
        source='"source": {"git": {"url": "'$source_url'", "cloneSecret": "git-key"}, "contextDir": null}, '
    fi
    kubectl patch --local --filename "samples/$1/build.yaml" --type merge --patch "{\"spec\": {$source$output}}" --output yaml
}

image_of() { # sample
    echo "$SLIPWAY_REGISTRY_TLS/demo/$1:latest"
}

pod_field() { # jsonpath
    kubectl --namespace $namespace get pod "$pod" --output "jsonpath=$1"
}

# What the kernel knows of the first process in each container, from the outside and while it runs: a line each with the container's id,
# the user and group, that user's name in the container's own /etc/passwd, and the effective capabilities. A step may last only a few
# hundredths of a second, so nothing here starts another program.
watch_identities() { # uid of the pod
    local cgroup process container seen=' ' hierarchy=/sys/fs/cgroup pause
    # Old cgroups come in several trees; every process is in each.
    [ -e $hierarchy/cgroup.controllers ] || hierarchy=$hierarchy/pids
    exec {pause}<> <(:)
    # Processes and directories come and go while they are read.
    set +e
    until read -r -t 0.01 -u "$pause"; do
        for cgroup in "$hierarchy"/slipway/kubepods{,/*}/"pod$1"/*/; do
            container=${cgroup%/}
            container=${container##*/}
            [[ $seen != *" $container "* ]] || continue
            while read -r process; do
                # Before it is that program it is still a part of the container runtime.
                if [ "/proc/$process/exe" -ef "/proc/$process/root/shp/bin/slipway-step" ] && identity_of "$process" "$container"; then
                    seen+="$container "
                    break
                fi
            done <"$cgroup/cgroup.procs"
        done
    done
}

identity_of() { # process container
    local key first second user group capabilities name=- entry id
    while read -r key first second _; do
        case $key in
        Uid:) user=$second ;;
        Gid:) group=$second ;;
        CapEff:) capabilities=$first ;;
        esac
    done <"/proc/$1/status"
    [ -n "${capabilities:-}" ] || return
    # The last line of the generated file has no end.
    while IFS=: read -r entry _ id _ || [ -n "$entry" ]; do
        if [ "$id" = "$user" ] && [ "$name" = - ]; then
            name=$entry
        fi
    done <"/proc/$1/root/etc/passwd"
    echo "$2 $user:$group $name $capabilities"
}

# Waits until no container is waiting to start, or the pod has ended.
await_start() {
    local deadline=$((SECONDS + 120)) phase
    while phase=$(pod_field '{.status.phase}') && [ "$phase" = Pending ]; do
        if [ $SECONDS -ge $deadline ]; then
            kubectl --namespace $namespace describe pod "$pod" | sed -n '/^Events:/,$p' >&2
            fail 'the pod does not start; its events are above'
        fi
        sleep 0.2
    done
}

follow() {
    local step
    for step in $(pod_field '{.spec.containers[*].name}'); do
        kubectl --namespace $namespace logs --follow "pod/$pod" --container "$step" | sed --unbuffered "s/^/[${step#step-}] /" ||
            fail "the log of $step cannot be read; look with: kubectl --namespace $namespace describe pod $pod"
    done
}

# From the kubelet's status and from the file that watch_identities wrote.
show_identities() {
    local step name kubelet container code seen
    pod_field '{range .status.containerStatuses[*]}{.name} {.user.linux.uid}:{.user.linux.gid} {.containerID} {.state.terminated.exitCode}{"\n"}{end}' >"$scratch/statuses"
    printf '%-18s %-12s %-12s %-10s %-18s %s\n' step 'kubelet says' 'kernel says' 'user name' capabilities 'exit code'
    for step in $(pod_field '{.spec.containers[*].name}'); do
        read -r name kubelet container code < <(grep "^$step " "$scratch/statuses")
        seen=$(awk -v id="${container#containerd://}" '$1 == id { printf "%-12s %-10s %-18s", $2, $3, $4 }' "$scratch/identities")
        printf '%-18s %-12s %-42s %s\n' "${name#step-}" "$kubelet" "${seen:-ended before it was looked at}" "$code"
    done
}

run_field() { # jsonpath
    kubectl --namespace $namespace get "$run" --output "jsonpath=$1"
}

show_failure() {
    run_field '{.status.conditions[0].reason}: {.status.conditions[0].message}{"\n"}' >&2
    fail "the build failed; it is still there: eval \"\$(hack/cluster env)\"; kubectl --namespace $namespace describe $run"
}

show_image() { # sample
    local digest pulled image
    digest=$(run_field '{.status.output.digest}')
    echo "pushed $(image_of "$1")@$digest"
    # This machine knows the registry by its address only.
    image=docker://$SLIPWAY_REGISTRY_TLS_ADDRESS/demo/$1@$digest
    pulled=sha256:$(SSL_CERT_FILE=$SLIPWAY_CA skopeo inspect --raw --authfile "$SLIPWAY_REGISTRY_AUTH" "$image" | sha256sum | cut -d' ' -f1)
    [ "$pulled" = "$digest" ] || fail "skopeo finds $pulled in the registry instead"
    echo 'skopeo finds the same in the registry; to pull it:'
    echo "  SSL_CERT_FILE=$SLIPWAY_CA skopeo copy --src-authfile $SLIPWAY_REGISTRY_AUTH $image docker-archive:$1.tar"
}

build() { # sample
    say "sample $1"
    kubectl --namespace $namespace apply --filename "samples/$1/strategy.yaml"
    build_of "$1" | kubectl --namespace $namespace apply --filename -
    run=$(kubectl --namespace $namespace apply --filename "samples/$1/buildrun.yaml" --output name)
    kubectl --namespace $namespace wait "$run" --for 'jsonpath={.metadata.annotations.slipway\.dev/pod}' --timeout 60s >/dev/null || show_failure
    pod=$(run_field '{.metadata.annotations.slipway\.dev/pod}')
    kubectl --namespace $namespace wait "pod/$pod" --for create --timeout 60s >/dev/null || show_failure
    watch_identities "$(pod_field '{.metadata.uid}')" >"$scratch/identities" 2>"$scratch/watcher.log" &
    watcher=$!
    await_start
    follow
    kill "$watcher"
    watcher=
    kubectl --namespace $namespace wait "$run" --for 'jsonpath={.status.completionTime}' --timeout 60s >/dev/null || show_failure
    echo
    show_identities
    echo
    kubectl --namespace $namespace get "$run"
    [ "$(run_field '{.status.conditions[0].status}')" = True ] || show_failure
    show_image "$1"
}

demo_cluster() {
    [ "$EUID" -eq 0 ] || fail 'a kubelet needs root; run this again with: sudo env PATH="$PATH" hack/demo cluster'
    agree "runs Kubernetes on this machine, see hack/demo --help"
    prepare
    make_namespace

    build hello
    build buildah-shipwright-managed-push

    say 'the cluster is still running'
    echo 'to look around:  eval "$(hack/cluster env)"; kubectl --namespace slipway-demo get builds,buildruns,pods'
    echo 'to stop it:      hack/cluster down'
}

demo_cluster_end() {
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
}
