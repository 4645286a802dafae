#!/usr/bin/env bash
# Measures what profile-guided optimization brings: profiles the worker under load, builds it with the profile from the
# same sources, and runs both against each other in pairs. Give it a file to keep the profile: bench/pgo.sh [FILE].
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
go build -trimpath -pgo=off -o "$dir/plain" ./cmd/worker
(cd bench/load && go build -o "$dir/load" .)
"$dir/load" -worker "$dir/plain" -against '' -scenarios plain,packed -rounds 3 -profile "$dir/cpu"
go tool pprof -proto -output "$dir/default.pgo" "$dir"/cpu.*
go build -trimpath -pgo="$dir/default.pgo" -o "$dir/guided" ./cmd/worker
"$dir/load" -worker "$dir/guided" -against "$dir/plain" -scenarios plain,packed -rounds "${ROUNDS:-10}"
[ $# -eq 0 ] || cp "$dir/default.pgo" "$1"
