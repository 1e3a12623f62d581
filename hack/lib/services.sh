# The servers that builds talk to in tests: two registries, Git over ssh, http and https. Sourced, not run.
#
# services_start, services_stop, services_env PREFIX (prints export lines) are for callers; services_authority only makes the authority.
# Everything listens on services_address, which must exist before services_start, and lies below services_directory: the cluster's unless
# a caller sets others. Needs need_packages of packages.sh.
#
# Invariant: nothing on this machine changes but files below the state and cache directories: servers are unpacked, not installed,
# because their packages would start them for everybody; the user "git" exists only in the servers' own mount namespace.
# Invariant: no secret on a command line.

services_address=10.244.0.1
services_cache=${XDG_CACHE_HOME:-$HOME/.cache}/slipway
services_directory=${XDG_STATE_HOME:-$HOME/.local/state}/slipway/cluster/services
# One for all, because the images hold it.
services_authority_directory=$services_directory/authority
services_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
services_git_uid=64022
services_git_flags=(--repositories /srv/repositories --user reader --password-file /srv/password --public-url https://git.slipway.test:8443)

services_start() (
    umask 022
    directory=$services_directory
    need_packages ca-certificates git openssh-client openssl util-linux
    mkdir -p "$directory"/{git,logs,run,registry/storage,registry-tls/storage}
    services_authority
    services_certificates
    services_passwords
    services_ssh_keys
    services_gitserver
    services_repositories

    registry=$(unpacked_program docker-registry usr/bin/docker-registry)
    sshd=$(unpacked_program openssh-server usr/sbin/sshd)

    services_registry_configuration registry 5000 ''
    services_registry_configuration registry-tls 5443 "
  tls:
    certificate: $directory/tls/registry.crt
    key: $directory/tls/registry.key
auth:
  htpasswd:
    realm: registry
    path: $directory/registry-tls/htpasswd"
    services_run registry 5000 env OTEL_TRACES_EXPORTER=none "$registry" serve "$directory/registry/config.yml"
    services_run registry-tls 5443 env OTEL_TRACES_EXPORTER=none "$registry" serve "$directory/registry-tls/config.yml"

    services_ssh_configuration
    # sshd insists on this directory, empty and root's, for its unprivileged half.
    mkdir -p /run/sshd
    services_run ssh 22 \
        unshare --mount --propagation slave sh "$directory/git/enter" "$directory/git" "$sshd" -D -e -f /srv/sshd_config
    services_run git 8080 \
        unshare --mount --propagation slave sh "$directory/git/enter" "$directory/git" \
        setpriv --reuid $services_git_uid --regid $services_git_uid --clear-groups --no-new-privs \
        env --ignore-environment PATH="$PATH" GIT_CONFIG_GLOBAL=/srv/gitconfig \
        /srv/gitserver serve "${services_git_flags[@]}" --http $services_address:8080 --https $services_address:8443 \
        --certificate /srv/tls/git.crt --key /srv/tls/git.key
    services_await git 8443
)

services_stop() {
    local name
    for name in git ssh registry-tls registry; do
        services_end "$name"
    done
}

services_env() { # prefix
    local directory=$services_directory name
    local -A values=(
        [CA]=$services_authority_directory/ca.crt
        [REGISTRY]=registry.slipway.test:5000
        [REGISTRY_ADDRESS]=$services_address:5000
        [REGISTRY_TLS]=registry-tls.slipway.test:5443
        [REGISTRY_TLS_ADDRESS]=$services_address:5443
        [REGISTRY_USER]=builder
        [REGISTRY_PASSWORD_FILE]=$directory/registry-tls/password
        [REGISTRY_AUTH]=$directory/registry-tls/auth.json
        [REGISTRY_WRONG_AUTH]=$directory/registry-tls/wrong-auth.json
        [GIT_SSH]=ssh://git@git.slipway.test
        [GIT_SCP]=git@git.slipway.test
        [GIT_SSH_KEY]=$directory/ssh/client
        [GIT_WRONG_SSH_KEY]=$directory/ssh/wrong
        [GIT_KNOWN_HOSTS]=$directory/ssh/known_hosts
        [GIT_HTTP]=http://git.slipway.test:8080
        [GIT_HTTPS]=https://git.slipway.test:8443
        [GIT_USER]=reader
        [GIT_PASSWORD_FILE]=$directory/git/password
        [GIT_REPOSITORIES]=$directory/git/repositories
        [SERVICES_LOGS]=$directory/logs
    )
    for name in $(printf '%s\n' "${!values[@]}" | sort); do
        printf 'export %s=%q\n' "$1$name" "${values[$name]}"
    done
}

services_fail() {
    echo "services: $*" >&2
    return 1
}

# --- certificates, passwords, keys -----------------------------------------------------------------------------------------------

# One authority for all TLS servers; the test images trust it. Kept until it is about to end.
services_authority() {
    local authority=$services_authority_directory
    need_packages openssl
    if [ -s "$authority/ca.crt" ] && openssl x509 -in "$authority/ca.crt" -noout -checkend 604800 >/dev/null; then
        return
    fi
    rm -rf "$authority"
    mkdir -p "$authority"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj '/CN=Slipway test authority' \
        -addext 'basicConstraints=critical,CA:true' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
        -keyout "$authority/ca.key" -out "$authority/new.crt" 2>"$authority/log" || services_fail "no authority, see $authority/log" || return
    # Last, because its presence means that the key is there.
    mv "$authority/new.crt" "$authority/ca.crt"
}

# A server that has the old certificate ends, to be started with the new one.
services_certificates() {
    services_certificate registry-tls "$services_directory/tls/registry" registry-tls.slipway.test || return
    services_certificate git "$services_directory/git/tls/git" git.slipway.test || return
    chgrp $services_git_uid "$services_directory/git/tls/git.key"
    chmod 0640 "$services_directory/git/tls/git.key"
}

services_certificate() { # server file-without-ending name
    local file=$2 name=$3 authority=$services_authority_directory
    if openssl verify -CAfile "$authority/ca.crt" "$file.crt" >/dev/null 2>&1; then
        return
    fi
    services_end "$1"
    mkdir -p "${file%/*}"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
        -keyout "$file.key" -out "$file.csr" 2>>"$authority/log" &&
        openssl x509 -req -in "$file.csr" -CA "$authority/ca.crt" -CAkey "$authority/ca.key" -CAcreateserial -days 365 -out "$file.crt" \
            -extfile <(printf 'basicConstraints=CA:false\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:%s,DNS:localhost,IP:%s\n' "$name" $services_address) \
            2>>"$authority/log" || services_fail "no certificate for $name, see $authority/log"
}

services_passwords() {
    local tls=$services_directory/registry-tls git=$services_directory/git
    (
        umask 077
        if [ ! -s "$tls/htpasswd" ]; then
            printf '%s' "$(openssl rand -hex 16)" >"$tls/password"
            services_registry_auth "$tls/password" >"$tls/auth.json"
            services_registry_auth <(printf wrong) >"$tls/wrong-auth.json"
            # The registry takes bcrypt only; the C library knows it, and perl is on every Debian.
            perl -e 'local $/; my $salt = join "", map { (".", "/", 0 .. 9, "A" .. "Z", "a" .. "z")[rand 64] } 1 .. 22;
                print "builder:", crypt(<STDIN>, "\$2a\$08\$$salt"), "\n"' <"$tls/password" >"$tls/htpasswd"
        fi
        if [ ! -s "$git/password" ]; then
            # Signs that must be escaped in a URL.
            printf 'p@ss/w:rd%%41-%s' "$(openssl rand -hex 8)" >"$git/password"
        fi
    )
    chgrp $services_git_uid "$git/password"
    chmod 0640 "$git/password"
}

services_registry_auth() { # file with the password
    local auth
    auth=$( (printf 'builder:' && cat "$1") | openssl base64 -A)
    printf '{"auths":{"registry-tls.slipway.test:5443":{"auth":"%s"},"%s:5443":{"auth":"%s"}}}\n' "$auth" $services_address "$auth"
}

services_ssh_keys() {
    local ssh=$services_directory/ssh name
    mkdir -p "$ssh"
    chmod 0700 "$ssh"
    for name in client wrong; do
        [ -s "$ssh/$name" ] || ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$ssh/$name"
    done
    [ -s "$services_directory/git/host_key" ] || ssh-keygen -q -t ed25519 -N '' -C git.slipway.test -f "$services_directory/git/host_key"
    printf 'git.slipway.test,%s %s\n' $services_address "$(cut -d' ' -f1,2 "$services_directory/git/host_key.pub")" >"$ssh/known_hosts"
}

# --- server configuration --------------------------------------------------------------------------------------------------------

services_registry_configuration() { # name port further-yaml-below-http
    cat >"$services_directory/$1/config.yml" <<END
version: 0.1
log:
  level: info
storage:
  delete:
    enabled: true
  filesystem:
    rootdirectory: $services_directory/$1/storage
http:
  addr: $services_address:$2$3
END
}

services_ssh_configuration() {
    local git=$services_directory/git
    cp "$services_directory/ssh/client.pub" "$git/authorized_keys"
    # Repositories belong to root and are served by another user, which git suspects.
    printf '[safe]\n\tdirectory = *\n' >"$git/gitconfig"
    printf 'root:*:0:0:root:/:/bin/sh\nsshd:*:100:65534::/run/sshd:/sbin/nologin\ngit:*:%s:%s:git:/srv:/bin/sh\n' $services_git_uid $services_git_uid >"$git/passwd"
    printf 'root:x:0:\ngit:x:%s:\nnogroup:x:65534:\n' $services_git_uid >"$git/group"
    # The state directory may lie in a home that other users cannot enter, so servers see it as /srv.
    cat >"$git/enter" <<'END'
set -eu
directory=$1
shift
mount --bind "$directory" /srv
mount --bind "$directory/passwd" /etc/passwd
mount --bind "$directory/group" /etc/group
exec "$@"
END
    cat >"$git/sshd_config" <<END
ListenAddress $services_address:22
HostKey /srv/host_key
AuthorizedKeysFile /srv/authorized_keys
AllowUsers git
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
DisableForwarding yes
PermitTTY no
PermitUserRC no
AcceptEnv GIT_PROTOCOL
SetEnv GIT_CONFIG_GLOBAL=/srv/gitconfig
ForceCommand /srv/gitserver ssh ${services_git_flags[*]}
# Many builds begin at once.
MaxStartups 500
MaxSessions 500
END
}

services_gitserver() {
    local key binary
    key=$(cat "$services_source"/tools/gitserver/* | sha256sum | cut -c1-16)
    binary=$services_cache/gitserver-$key
    if [ ! -x "$binary" ]; then
        command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
        CGO_ENABLED=0 GOWORK=off go build -C "$services_source/tools/gitserver" -buildvcs=false -trimpath -o "$binary.new" . ||
            services_fail 'the git server could not be built; it needs Go 1.22 or later on the PATH' || return
        mv "$binary.new" "$binary"
    fi
    if ! cmp --silent "$binary" "$services_directory/git/gitserver"; then
        services_end git
        install -m 0755 "$binary" "$services_directory/git/gitserver"
    fi
}

# --- processes -------------------------------------------------------------------------------------------------------------------

services_running() { # name
    process_runs "$services_directory/run/$1"
}

services_port_open() { # port
    (exec 3<>"/dev/tcp/$services_address/$1") 2>/dev/null
}

services_run() { # name port command...
    local name=$1 port=$2 pid log=$services_directory/logs/$1.log
    shift 2
    if services_running "$name"; then
        return
    fi
    if services_port_open "$port"; then
        services_fail "port $port on $services_address is taken by another program, which must be stopped for $name"
        return
    fi
    (
        # A lock that the caller holds must not live on in the server.
        for descriptor in /proc/"$BASHPID"/fd/*; do
            descriptor=${descriptor##*/}
            [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
        done
        # git fails where the directory that this was called from is gone.
        cd /
        exec setsid "$@" >"$log" 2>&1 </dev/null
    ) &
    pid=$!
    echo "$pid $(process_started_at "$pid")" >"$services_directory/run/$name"
    services_await "$name" "$port"
}

services_await() { # name port
    local tries=150
    until services_port_open "$2"; do
        if ! services_running "$1" || [ $((tries -= 1)) -eq 0 ]; then
            services_fail "$1 does not answer on $services_address:$2: $(tail -n 3 "$services_directory/logs/$1.log")"
            return
        fi
        sleep 0.1
    done
}

services_end() { # name
    local pid started tries=100
    if services_running "$1"; then
        read -r pid started <"$services_directory/run/$1"
        # Its own process group: sessions of sshd end with it.
        kill -TERM -- "-$pid"
        while services_running "$1"; do
            if [ $((tries -= 1)) -eq 0 ]; then
                kill -KILL -- "-$pid"
            fi
            sleep 0.1
        done
    fi
    rm -f "$services_directory/run/$1"
}

# --- repositories ----------------------------------------------------------------------------------------------------------------

# Made the same on every machine: equal commit hashes everywhere.
services_repositories() {
    local target=$services_directory/git/repositories key
    key=$(declare -f services_repositories services_commit services_bare services_make_repositories | sha256sum | cut -c1-16)
    if [ "$(cat "$target/.made-by" 2>/dev/null)" = "$key" ]; then
        return
    fi
    rm -rf "$target" "$target.new"
    mkdir -p "$target.new"
    # In a condition set -e would have no effect within, and half a repository would pass for a whole one.
    (services_make_repositories "$target.new") &
    wait $! || services_fail 'the repositories cannot be made' || return
    echo "$key" >"$target.new/.made-by"
    mv "$target.new" "$target"
}

services_make_repositories() { # directory
    set -euo pipefail
    local root=$1 work=$1/.work object name newest
    export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_DIR GIT_WORK_TREE=$work
    export GIT_AUTHOR_NAME='Ada Example' GIT_AUTHOR_EMAIL=ada@slipway.test GIT_COMMITTER_NAME='Carl Example' GIT_COMMITTER_EMAIL=carl@slipway.test
    services_seconds=1700000000

    # Several commits: short hashes, depth, revisions of every sort, a second Dockerfile in a context directory.
    services_bare app
    printf 'hello\n' >"$work/greeting.txt"
    printf 'FROM scratch AS plain\nCOPY greeting.txt /greeting.txt\n\nFROM plain\nARG VERSION=none\nLABEL version=$VERSION\n' >"$work/Dockerfile"
    services_commit 'A greeting in an image'
    mkdir -p "$work/context"
    printf 'hello from the context directory\n' >"$work/context/greeting.txt"
    printf 'FROM scratch\nCOPY greeting.txt /greeting.txt\n' >"$work/context/Dockerfile"
    services_commit 'The same from a context directory'
    git tag v1.0.0-light
    git tag -a v1.0.0 -m 'Version 1.0.0'
    git checkout --quiet -b feature/one
    printf 'hello from a feature\n' >"$work/greeting.txt"
    services_commit 'Another greeting'
    git checkout --quiet --detach main
    printf 'hello from a pull request\n' >"$work/greeting.txt"
    services_commit 'A proposed greeting'
    git update-ref refs/pull/1/head HEAD
    git checkout --quiet main
    printf 'hello again\n' >"$work/greeting.txt"
    services_commit 'A newer greeting'
    printf '#!/bin/sh\necho built\n' >"$work/build.sh"
    chmod 0755 "$work/build.sh"
    services_commit 'A script'
    newest=$(git rev-parse HEAD)
    git config uploadpack.allowAnySHA1InWant true

    # The same commits where only tips of branches and tags may be asked for.
    git clone --quiet --mirror "$GIT_DIR" "$root/tips-only.git"
    git --git-dir "$root/tips-only.git" config --remove-section remote.origin
    git --git-dir "$root/tips-only.git" config gitserver.protocolV2 false

    services_bare with-submodule
    printf '[submodule "app"]\n\tpath = app\n\turl = ../app.git\n' >"$work/.gitmodules"
    printf 'FROM scratch\nCOPY app/greeting.txt /greeting.txt\n' >"$work/Dockerfile"
    mkdir "$work/app"
    git update-index --add --cacheinfo "160000,$newest,app"
    services_commit 'A submodule'

    # The pointer is written by hand, so nobody needs git-lfs here.
    for name in with-lfs private-with-lfs; do
        services_bare "$name"
        seq 1 20000 >"$root/object"
        object=$(sha256sum "$root/object" | cut -d' ' -f1)
        printf '*.bin filter=lfs diff=lfs merge=lfs -text\n' >"$work/.gitattributes"
        printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n' "$object" "$(stat --format=%s "$root/object")" >"$work/data.bin"
        printf 'FROM scratch\nCOPY data.bin /data.bin\n' >"$work/Dockerfile"
        services_commit 'A large file'
        mkdir -p "$GIT_DIR/lfs/objects/${object:0:2}/${object:2:2}"
        mv "$root/object" "$GIT_DIR/lfs/objects/${object:0:2}/${object:2:2}/$object"
    done
    git config gitserver.private true

    services_bare private
    printf 'a secret greeting\n' >"$work/greeting.txt"
    printf 'FROM scratch\nCOPY greeting.txt /greeting.txt\n' >"$work/Dockerfile"
    services_commit 'A private greeting'
    git config gitserver.private true

    rm -rf "$work"
    chmod -R go+rX "$root"
}

services_bare() { # name; uses root and work of the caller
    GIT_DIR=$root/$1.git
    rm -rf "$work"
    mkdir "$work"
    env --unset=GIT_WORK_TREE git init --quiet --bare --initial-branch=main "$GIT_DIR"
}

services_commit() { # message
    services_seconds=$((services_seconds + 60))
    export GIT_AUTHOR_DATE="$services_seconds +0000" GIT_COMMITTER_DATE="$services_seconds +0000"
    # The large files' filters are not run: their pointers are already there.
    git -c filter.lfs.clean=cat -c filter.lfs.required=false add --all
    git commit --quiet --message "$1"
}
