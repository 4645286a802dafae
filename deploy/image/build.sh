#!/bin/sh
# Builds the image tributary:VERSION without pulling anything: static programs and this machine's CA certificates, FROM scratch,
# with the first of docker, podman and buildah that works here.
#
#   deploy/image/build.sh [NAME:TAG]
#
# Set ENGINE to choose one, GOARCH for another processor, CA_CERTIFICATES for another bundle.
set -eu
cd "$(dirname "$0")/../.."

version=$(git describe --tags --always --dirty 2>/dev/null || echo devel)
image=${1:-tributary:$version}

works() {
	case $1 in
	docker | podman) command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1 ;;
	buildah) command -v buildah >/dev/null ;;
	esac
}
engine=${ENGINE:-}
for candidate in docker podman buildah; do
	[ -n "$engine" ] || ! works "$candidate" || engine=$candidate
done
if [ -z "$engine" ]; then
	echo "image: none of docker, podman and buildah works here: install one (Debian: apt-get install buildah)" >&2
	exit 1
fi

certificates=${CA_CERTIFICATES:-}
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
	[ -n "$certificates" ] || [ ! -r "$file" ] || certificates=$file
done
if [ -z "$certificates" ]; then
	echo "image: no CA certificates found: set CA_CERTIFICATES to a PEM bundle" >&2
	exit 1
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags="-s -w" -o "$context/" ./cmd/worker ./cmd/producer
cp "$certificates" "$context/ca-certificates.crt"
case $engine in
# Buildah's defaults ask for more of the kernel than copying files takes, and containers often have less: there,
# STORAGE_DRIVER=vfs helps.
buildah) set -- buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"} build --isolation chroot --format oci ;;
*) set -- "$engine" build ;;
esac
"$@" --file Dockerfile --target prebuilt --build-arg "VERSION=$version" --tag "$image" "$context"
echo "image: built $image with $engine"
