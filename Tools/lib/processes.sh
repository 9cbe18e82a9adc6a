# shellcheck shell=bash
# Sourced by scripts that start servers: every process is started under a name, every wait has a
# bound, and stop_all_processes, called from a trap, leaves nothing behind.
#
#   die MESSAGE...                    prints the messages to stderr and exits with 1
#   wait_until SECONDS WHAT COMMAND...  polls until COMMAND succeeds; dies naming WHAT otherwise
#   start_process NAME LOG COMMAND...   starts COMMAND with stdout and stderr in LOG
#   is_running NAME                   true while that process runs
#   wait_for_ready NAME LOG           waits for the line `ready` in LOG; dies when the process ends
#   signal_processes SIGNAL NAME...   sends SIGNAL to each, and waits for none
#   stop_process NAME                 SIGTERM, waits, in the end SIGKILL; returns the exit code
#   kill_process NAME                 SIGKILL, and waits for the end
#   stop_all_processes                SIGKILL for whatever still runs
#   process_cpu_seconds NAME...       CPU time used so far by these processes, all threads, summed
#   free_tcp_port                     prints a loopback port on which nothing listens

readonly POLL_SECONDS=0.02
readonly READY_TIMEOUT_SECONDS=${READY_TIMEOUT_SECONDS:-60}
readonly STOP_TIMEOUT_SECONDS=${STOP_TIMEOUT_SECONDS:-60}

declare -A process_ids=()
declare -A process_logs=()

die() {
  printf 'error: %s\n' "$@" >&2
  exit 1
}

# Polls COMMAND until it succeeds or the bound passes; its result is that of the last attempt.
poll_until() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep "$POLL_SECONDS"
  done
}

wait_until() {
  local bound=$1 what=$2
  shift 2
  poll_until "$bound" "$@" || die "no success within $bound s: $what"
}

start_process() {
  local name=$1 log=$2
  shift 2
  # Emptied here and not by the new process, so that nobody can read the lines of a former one.
  : >"$log"
  "$@" >>"$log" 2>&1 </dev/null &
  process_ids[$name]=$!
  process_logs[$name]=$log
}

is_running() {
  [[ -n ${process_ids[$1]:-} ]] && kill -0 "${process_ids[$1]}" 2>/dev/null
}

wait_for_ready() {
  local name=$1 log=${process_logs[$1]} deadline=$((SECONDS + READY_TIMEOUT_SECONDS + 1))
  until grep -qx ready "$log"; do
    is_running "$name" || die "$name ended before it was ready; its log:" "$(tail -n 20 "$log")"
    ((SECONDS < deadline)) ||
      die "$name is not ready after $READY_TIMEOUT_SECONDS s; its log:" "$(tail -n 20 "$log")"
    sleep "$POLL_SECONDS"
  done
}

signal_processes() {
  local signal=$1 name
  shift
  for name in "$@"; do
    kill -"$signal" "${process_ids[$name]}" 2>/dev/null || true
  done
}

stop_process() {
  local name=$1 status=0
  local pid=${process_ids[$name]}
  kill -TERM "$pid" 2>/dev/null || true
  if ! poll_until "$STOP_TIMEOUT_SECONDS" has_ended "$name"; then
    echo "error: $name did not end within $STOP_TIMEOUT_SECONDS s of SIGTERM; killed" >&2
    kill -KILL "$pid" 2>/dev/null || true
  fi
  wait "$pid" || status=$?
  unset "process_ids[$name]"
  return "$status"
}

has_ended() {
  ! is_running "$1"
}

kill_process() {
  local pid=${process_ids[$1]}
  kill -KILL "$pid" 2>/dev/null || true
  # Here, the shell says nothing of how it ended.
  wait "$pid" 2>/dev/null || true
  unset "process_ids[$1]"
}

stop_all_processes() {
  local name
  for name in "${!process_ids[@]}"; do
    kill_process "$name"
  done
}

process_cpu_seconds() {
  local name stat ticks=0
  local -a fields
  for name in "$@"; do
    stat=$(<"/proc/${process_ids[$name]}/stat")
    # After the parenthesised name (proc(5), /proc/pid/stat): utime and stime are fields 14 and 15.
    read -r -a fields <<<"${stat##*) }"
    ticks=$((ticks + fields[11] + fields[12]))
  done
  awk -v ticks="$ticks" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f\n", ticks / hz }'
}

free_tcp_port() {
  local port attempt
  for attempt in {1..100}; do
    # Below the range from which Linux takes the ports of outgoing connections.
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  die "no free TCP port after $attempt attempts"
}
