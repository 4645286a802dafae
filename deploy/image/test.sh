#!/bin/sh
# Builds the image without pulling anything and runs it with buildah (Debian: apt-get install buildah; as root): the worker must
# answer /healthz, run as a user that is not root, and stop in time on SIGTERM.
set -eu
cd "$(dirname "$0")/../.."
command -v buildah >/dev/null || { echo "image test: NOT RUN: buildah was not found: apt-get install buildah" >&2; [ "${CI:-}" != true ]; exit; }
[ "$(id -u)" = 0 ] || { echo "image test: NOT RUN: it takes root" >&2; [ "${CI:-}" != true ]; exit; }

# What works inside of containers too.
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
b() { buildah --storage-driver "$STORAGE_DRIVER" "$@"; }
image=localhost/tributary:under-test
folder=$(mktemp -d)
container= stack= worker=
clean() {
	status=$?
	[ -z "$worker" ] || kill "$worker" 2>/dev/null || true
	[ -z "$stack" ] || kill "$stack" 2>/dev/null || true
	[ -z "$container" ] || b rm "$container" >/dev/null 2>&1 || true
	b rmi "$image" >/dev/null 2>&1 || true
	[ $status = 0 ] || cat "$folder"/*.log >&2 2>/dev/null || true
	rm -rf "$folder"
	exit $status
}
trap clean EXIT
fail() { echo "image test: $*" >&2; exit 1; }

ENGINE=buildah deploy/image/build.sh "$image" >"$folder/build.log" 2>&1 || fail "the image can't be built"
[ "$(b inspect --type image --format '{{.OCIv1.Config.User}}' "$image")" = 65532:65532 ] || fail "the image's user is not 65532"
[ -n "$(b inspect --type image --format '{{index .OCIv1.Config.Labels "org.opencontainers.image.version"}}' "$image")" ] || fail "the image has no version label"

go build -o "$folder/" ./localstack ./cmd/worker
api=127.0.0.1:$((20000 + $$ % 10000)) query=127.0.0.1:$((30000 + $$ % 10000)) admin=127.0.0.1:$((40000 + $$ % 10000))
"$folder/localstack" --listen "$api" >"$folder/stack.log" 2>&1 &
stack=$!
export AWS_ENDPOINT_URL="http://$api" AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b
get() { python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=2).status)' "$1" 2>/dev/null; }
tries=0
until "$folder/worker" setup >"$folder/setup.log" 2>&1; do tries=$((tries + 1)); [ $tries -lt 50 ] || fail "the stack doesn't start"; sleep 0.2; done

container=$(b from --pull-never "$image")
buildah --storage-driver "$STORAGE_DRIVER" run --user 65532:65532 \
	--env "AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL" --env "AWS_REGION=$AWS_REGION" --env AWS_ACCESS_KEY_ID=a --env AWS_SECRET_ACCESS_KEY=b \
	"$container" -- /worker run --listen "$query" --admin-listen "$admin" --drain-timeout 25s >"$folder/worker.log" 2>&1 &
runner=$!
tries=0
until [ "$(get "http://$admin/healthz")" = 200 ]; do tries=$((tries + 1)); [ $tries -lt 100 ] || fail "/healthz doesn't answer"; sleep 0.2; done
worker=$(pgrep -f -- "^/worker run --listen $query" | head -1)
[ -n "$worker" ] || fail "the worker's process was not found"
user=$(awk '/^Uid:/ { print $2, $3 }' "/proc/$worker/status")
[ "$user" = "65532 65532" ] || fail "the worker runs as $user"
started=$(date +%s)
kill -TERM "$worker"
worker=
wait $runner || fail "the worker's exit status is $?"
took=$(($(date +%s) - started))
[ $took -le 25 ] || fail "stopping took $took s"
grep -q "left on the queue" "$folder/worker.log" || fail "the worker gave no account of its messages"
echo "image test: /healthz answered 200 as uid 65532; SIGTERM ended it in $took s: $(grep 'messages received' "$folder/worker.log")"
