#!/usr/bin/env bash
# Runs the benchmarks of this tree and of a base in turns, and compares them: bench/compare.sh [BASE [COUNT [PACKAGES…]]].
# Where nothing runs beside it a difference with p under 0.05 is one.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:-main} count=${2:-6}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- ./internal/messages ./internal/table ./internal/aws/awsjson ./internal/writer ./internal/consumer

dir=$(mktemp -d)
clean() {
  git worktree remove --force "$dir/base" 2>/dev/null || true
  rm -rf "$dir"
}
trap clean EXIT
git worktree add --quiet --detach "$dir/base" "$base"

run() { # run FOLDER: one round; a package that has no benchmarks yet, or does not exist there, is left out
  (cd "$1" && go test -run '^$' -bench . -benchtime 0.3s -count 1 "${@:2}") 2>&1 | grep -E '^(goos|goarch|pkg|cpu|Benchmark)' || true
}
for _ in $(seq "$count"); do
  run "$dir/base" "$@" >>"$dir/base.txt"
  run . "$@" >>"$dir/new.txt"
done
go tool -modfile=tools/go.mod benchstat "base=$dir/base.txt" "new=$dir/new.txt"
