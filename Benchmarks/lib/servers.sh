# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables shared with the script that sources this
# Sourced by Benchmarks/run: how each server that is compared is started and stopped, each on disk
# files of its own and as its users would run it. Needs processes.sh and status.sh of Tools/lib,
# jobs.sh, disks.sh and sites.sh with their variables, and `tapline`, the path of the binary.
#
#   takes_part SERVER             true when SERVER can run the job that read_job has read
#   takes_part_with COUNT SERVER  true when it can run a selected job of COUNT disks
#   start_server SERVER           `server_uris` are what clients of its disks connect to then, and
#                                 `server_processes` names the processes that serve
#   stop_server SERVER            stops them all and waits

# `file` is no server: the client writes the disk files itself.
readonly SERVERS=(file nbdkit qemu-nbd tapline-plain tapline tapline-groups)
readonly CONNECT_TIMEOUT_SECONDS=20
readonly SYNC_TIMEOUT_SECONDS=300
# What qemu-nbd allows at once: the connections of a job, and some for the readiness check.
readonly QEMU_NBD_CLIENTS=32

server_uris=()
server_processes=()

takes_part() {
  case $1 in
    # What the device allows for a write and a sync, one after the other. Without a sync it would be
    # the speed of the page cache.
    file) [[ $job_options == *--fsync=1* ]] && ((job_depth == 1)) ;;
    # With one disk it is the same as `tapline`.
    tapline-groups) ((job_disks > 1)) ;;
  esac
}

takes_part_with() {
  local line
  for line in "${selected_jobs[@]}"; do
    read_job "$line"
    ((job_disks != $1)) || ! takes_part "$2" || return 0
  done
  return 1
}

start_server() {
  local server=$1 socket=$sockets/$1.sock uri
  # nbdkit does not replace the socket of an earlier run.
  rm -f "$socket"
  server_uris=("${disks[@]/#/nbd+unix:///}")
  server_uris=("${server_uris[@]/%/?socket=$socket}")
  server_processes=("$server")
  case $server in
    file) server_uris=() server_processes=() ;;
    nbdkit) start_nbdkit "$socket" ;;
    qemu-nbd) start_qemu_nbd ;;
    tapline-plain)
      write_plain_site "$socket"
      start_site "$server"
      ;;
    tapline) start_pair "$server" together "$socket" ;;
    tapline-groups) start_pair "$server" apart "$socket" ;;
  esac
  for uri in "${server_uris[@]}"; do
    wait_until "$CONNECT_TIMEOUT_SECONDS" "$server serves $uri" nbdinfo --size "$uri"
  done
}

stop_server() {
  local name status
  if [[ $1 == qemu-nbd ]]; then
    # They know nothing of each other; the wait for each of them is the same wait.
    signal_processes TERM "${server_processes[@]}"
  fi
  for name in "${server_processes[@]}"; do
    status=0
    stop_process "$name" || status=$?
    # nbdkit and qemu-nbd end by the signal or with 0; Tapline drains and ends with 0.
    if ((status != 0 && status != 128 + 15)); then
      die "$name ended with $status; its log:" "$(tail -n 20 "${process_logs[$name]}")"
    fi
  done
  server_processes=()
}

# One process serves a file, or every file of a folder.
start_nbdkit() {
  local -a what=("$work/nbdkit/${disks[0]}")
  ((${#disks[@]} == 1)) || what=("dir=$work/nbdkit")
  start_process nbdkit "$work/nbdkit.log" nbdkit --foreground --unix "$1" file "${what[@]}"
}

# One process serves one disk.
start_qemu_nbd() {
  local disk socket
  server_uris=()
  server_processes=()
  for disk in "${disks[@]}"; do
    socket=$sockets/qemu-nbd-$disk.sock
    server_uris+=("nbd+unix:///$disk?socket=$socket")
    server_processes+=("qemu-nbd-$disk")
    start_process "qemu-nbd-$disk" "$work/qemu-nbd-$disk.log" \
      qemu-nbd --persistent --shared="$QEMU_NBD_CLIENTS" --format=raw --export-name="$disk" \
      --socket="$socket" "$work/qemu-nbd/$disk"
  done
}

# NAME SHAPE NBD-SOCKET
#
# The recovery site is started first, so that the link comes up at once; both keep their journals
# from one measurement to the next, as sites do.
start_pair() {
  local name=$1
  write_pair "$@"
  server_processes=("$name" "$name-recovery")
  start_site "$name-recovery"
  start_site "$name"
  wait_until "$SYNC_TIMEOUT_SECONDS" "the initial sync of the recovery site" \
    is_in_sync "$sockets/$name-control.sock"
}

start_site() {
  start_process "$1" "$work/$1.log" "$tapline" site --config "$work/$1.yaml"
  wait_for_ready "$1"
}
