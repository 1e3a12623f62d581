# The images of the tests, built here for the cluster and the engines alike. Sourced after packages.sh and services.sh, not run.
#
# images_for COMMAND… builds what is not in the cache and calls COMMAND… REFERENCE CONTENT ARCHIVE for each image, images_controller_for
# COMMAND… does so for the controller's, images_upstream_for COMMAND… for the one that plays an installed upstream; images_import is such a
# command, for containerd. It needs ctr on PATH and CONTAINERD_ADDRESS in the environment.
# The images hold the tests' certificate authority, so that what runs in them trusts the test servers.
#
# Invariant: each image is built from a directory and kept as one archive named by that directory's content; where that content is
# loaded already nothing is touched. The layers below a change are kept too, so a new slipway-step costs one small layer.

images_cache=$services_cache/images
images_contexts=$images_cache/contexts
images_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

images_for() ( # command...
    set -euo pipefail
    images_begin "$@"

    step=$("$images_source/hack/step")
    images_context step
    cp "$images_source/base-images/Containerfile" "$images_contexts/step/"
    install -m 0755 "$step" "$images_contexts/step/slipway-step"
    images_certificates step
    images_one step "slipway.dev/step:$(images_version)"

    images_context buildah
    images_containerfile_buildah >"$images_contexts/buildah/Containerfile"
    images_certificates buildah
    images_one buildah quay.io/containers/buildah:v1.43.2

    images_context busybox
    images_containerfile_busybox >"$images_contexts/busybox/Containerfile"
    install -m 0755 /bin/busybox "$images_contexts/busybox/busybox"
    images_one busybox docker.io/library/busybox:1.37

    images_context empty
    printf 'FROM scratch\nLABEL slipway.dev/content=nothing\n' >"$images_contexts/empty/Containerfile"
    images_one empty slipway.test/empty:1

    images_trivy
    images_one trivy slipway.test/trivy:1

    local user
    for user in 1234:5678 app:staff; do
        images_context "user-${user%:*}"
        { images_containerfile_busybox && images_containerfile_user && echo "USER $user"; } >"$images_contexts/user-${user%:*}/Containerfile"
        install -m 0755 /bin/busybox "$images_contexts/user-${user%:*}/busybox"
        images_one "user-${user%:*}" "slipway.test/user:${user%:*}"
    done
)

images_controller_for() ( # command...
    set -euo pipefail
    cd "$images_source"
    # A login's PATH is not everywhere.
    command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    cargo build --release --locked --package slipway >&2
    images_begin "$@"
    images_context controller
    cp "$images_source/base-images/controller/Containerfile" "$images_contexts/controller/"
    install -m 0755 "${CARGO_TARGET_DIR:-$images_source/target}/release/slipway" "$images_contexts/controller/slipway"
    images_certificates controller
    images_one controller "slipway.dev/controller:$(images_version)"
)

images_upstream_for() ( # command...
    set -euo pipefail
    program=$("$images_source/hack/shp")
    images_begin "$@"
    images_context upstream
    printf 'FROM scratch\nCOPY shp /shp\nUSER 1000:1000\nENTRYPOINT ["/shp", "upstream"]\n' >"$images_contexts/upstream/Containerfile"
    install -m 0755 "$program" "$images_contexts/upstream/shp"
    images_one upstream slipway.test/upstream:1
)

images_begin() { # command...
    images_command=("$@")
    umask 022
    need_packages buildah busybox-static ca-certificates
    mkdir -p "$images_cache"
    # One at a time: buildah's names and our archives are shared.
    exec 8>"$images_cache/lock"
    flock 8
    services_authority
    rm -rf "$images_contexts"
}

images_version() {
    sed -n '/^\[workspace.package\]/,/^\[workspace.lints/s/^version = "\(.*\)"$/\1/p' "$images_source/Cargo.toml"
}

images_context() { # name
    mkdir -p "$images_contexts/$1"
}

images_certificates() { # name
    mkdir "$images_contexts/$1/certificates"
    cp "$services_authority_directory/ca.crt" "$images_contexts/$1/certificates/slipway-test.crt"
}

# Stands in for upstream's image of that name in the samples.
images_containerfile_buildah() {
    cat <<'END'
ARG BASE
FROM ${BASE}
RUN export DEBIAN_FRONTEND=noninteractive \
    && apt-get update \
    && apt-get install --yes --no-install-recommends bash buildah ca-certificates \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /var/lib/dpkg/*-old
COPY certificates/ /usr/local/share/ca-certificates/
RUN update-ca-certificates
# A runtime would need more rights than a pod has.
ENV BUILDAH_ISOLATION=chroot
END
}

images_containerfile_busybox() {
    cat <<'END'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir -p /etc /root /tmp /usr /var && ln -s ../bin /usr/bin && chmod 1777 /tmp && echo root:x:0:0:root:/root:/bin/sh >/etc/passwd && echo root:x:0: >/etc/group"]
CMD ["sh"]
END
}

# What image-processing may run in where images are scanned, with a stand-in for the scanner.
images_trivy() {
    local tool=$images_source/hack/tools/trivy key binary
    key=$(cat "$tool"/* | sha256sum | cut -c1-16)
    binary=$images_cache/trivy-$key
    if [ ! -x "$binary" ]; then
        command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
        rm -f "$images_cache"/trivy-????????????????
        CGO_ENABLED=0 GOWORK=off go build -C "$tool" -buildvcs=false -trimpath -ldflags '-s -w' -o "$binary.new" . || {
            echo 'images: the stand-in for trivy could not be built; it needs Go 1.25 or later on the PATH' >&2
            return 1
        }
        mv "$binary.new" "$binary"
    fi
    images_context trivy
    install -m 0755 "$binary" "$images_contexts/trivy/trivy"
    cp "$services_authority_directory/ca.crt" "$images_contexts/trivy/ca-certificates.crt"
    printf 'shp:x:1000:1000:shp:/shared-home:/sbin/nologin\n' >"$images_contexts/trivy/passwd"
    printf 'shp:x:1000\n' >"$images_contexts/trivy/group"
    cat >"$images_contexts/trivy/Containerfile" <<'END'
FROM scratch
COPY passwd group /etc/
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY trivy /usr/local/bin/trivy
ENV PATH=/usr/local/bin
END
}

# Knows a user with groups of its own, and a place to work.
images_containerfile_user() {
    cat <<'END'
RUN echo app:x:1234:5678::/srv/app:/bin/sh >>/etc/passwd && printf '%s\n' wheel:x:10:root,app staff:x:5678: builders:x:2000:other,app >>/etc/group && mkdir -p /srv/app && chown 1234:5678 /srv/app && chmod 0750 /srv/app
WORKDIR /srv/app
ENV OF_IMAGE=yes
END
}

images_one() { # name reference
    local name=$1 reference=$2 key archive
    # The recipe of the base counts too.
    key=$({ declare -f images_bootstrap images_build && cd "$images_contexts/$name" && find . -type f -exec sha256sum {} + | sort; } | sha256sum | cut -c1-24)
    archive=$images_cache/$name-$key.tar
    if [ ! -s "$archive" ]; then
        echo "building image $reference" >&2
        images_build "$name" "$reference" "$archive"
    fi
    "${images_command[@]}" "$reference" "$key" "$archive"
}

images_import() { # reference content archive
    if [ -z "$(ctr --namespace k8s.io images list --quiet "name==\"$1\",labels.\"slipway.dev/content\"==$2")" ]; then
        ctr --namespace k8s.io images import "$3" >/dev/null
        ctr --namespace k8s.io images label "$1" "slipway.dev/content=$2" >/dev/null
    fi
}

images_build() { # name reference archive
    local base=scratch log=$images_cache/$1.log
    if grep -q '^ARG BASE' "$images_contexts/$1/Containerfile"; then
        base=$(images_base) || return
    fi
    if ! images_buildah build --layers --pull=never --build-arg "BASE=$base" --tag "$2" "$images_contexts/$1" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "images: $2 could not be built, see $log" >&2
        return 1
    fi
    rm -f "$images_cache/$1"-*.tar "$3.new"
    images_buildah push --quiet "$2" "docker-archive:$3.new:$2"
    mv "$3.new" "$3"
    # What the tag pointed to before.
    images_buildah rmi --prune >>"$log" 2>&1
}

# Isolation chroot and no runtime: it works where limits cannot be raised and in machines that are containers themselves.
images_buildah() {
    BUILDAH_ISOLATION=chroot buildah --root "$images_cache/storage" --runroot "$images_cache/run" "$@"
}

# Prints the reference of a slim Debian: the real one where a registry can be reached, else one made from packages.
images_base() {
    local base=docker.io/library/debian:bookworm-slim bootstrapped
    bootstrapped=localhost/debian-$(declare -f images_bootstrap | sha256sum | cut -c1-16):bookworm-slim
    if images_buildah inspect --type image "$base" >/dev/null 2>&1; then
        echo "$base"
    elif images_buildah inspect --type image "$bootstrapped" >/dev/null 2>&1; then
        echo "$bootstrapped"
    elif images_buildah pull --quiet "$base" >"$images_cache/pull.log" 2>&1; then
        echo "$base"
    else
        echo "$base cannot be pulled (see $images_cache/pull.log), making one from packages, which takes two minutes" >&2
        images_bootstrap "$bootstrapped" >"$images_cache/bootstrap.log" 2>&1 || {
            echo "images: no Debian root could be made, see $images_cache/bootstrap.log" >&2
            return 1
        }
        echo "$bootstrapped"
    fi
}

images_bootstrap() { # reference
    local root=$images_cache/bootstrap
    need_packages debian-archive-keyring mmdebstrap
    mkdir -p "$root"
    mmdebstrap --mode=root --variant=apt --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "0"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        bookworm "$root/root.tar" || return
    printf 'FROM scratch\nADD root.tar /\nCMD ["bash"]\n' >"$root/Containerfile"
    images_buildah build --tag "$1" "$root" && rm -rf "$root"
}
