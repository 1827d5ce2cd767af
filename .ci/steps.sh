# Functions for .ci/run: steps that print their duration, one after the other or at the same time.
# shellcheck shell=bash

# step NAME COMMAND…: runs the command, and prints how long it took.
step() {
  local name=$1 started=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  printf -- '-- %s: %d s\n' "$name" $((SECONDS - started))
}

names=() logs=() pids=()

# beside NAME COMMAND…: runs the command while the script continues; `join` prints its output.
beside() {
  local name=$1 log
  shift
  log=$(mktemp "$work/beside.XXXX")
  # A process group of its own, so that it can be ended with all processes that it started.
  set -m
  (step "$name, beside" "$@") >"$log" 2>&1 &
  set +m
  names+=("$name") logs+=("$log") pids+=($!)
}

# join: waits for the commands of `beside`, and fails if one of them failed.
join() {
  local index failed=()
  for index in "${!pids[@]}"; do
    wait "${pids[$index]}" || failed+=("${names[$index]}")
    cat "${logs[$index]}"
  done
  names=() logs=() pids=()
  if [ "${#failed[@]}" -gt 0 ]; then
    printf '\nFAILED: %s\n' "${failed[@]}" >&2
    return 1
  fi
}

# stop_beside: ends the commands of `beside` that still run, when the script ends early.
stop_beside() {
  local index
  for index in "${!pids[@]}"; do
    kill -- "-${pids[$index]}" 2>/dev/null || true
    cat "${logs[$index]}"
  done
}
