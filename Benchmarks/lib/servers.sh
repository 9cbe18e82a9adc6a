# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # variables shared with the script that sources this
# Sourced by Benchmarks/run: how each server that is compared is started and stopped, each on a disk
# file of its own. Needs processes.sh and status.sh of Tools/lib, and these variables:
#
#   work              directory of the disk files, on the file system that is measured
#   sockets           directory of sockets, with a short path
#   size_bytes        size of the disk
#   journal_capacity  the most that a site's journal takes, as its configuration says it
#   tapline           path of the binary
#
# After start_server NAME, `server_uri` is what clients connect to and `server_processes` names the
# processes that serve; stop_server stops them all and waits.

readonly SERVERS=(nbdkit qemu-nbd tapline-plain tapline)
readonly DISK=bench
readonly CONNECT_TIMEOUT_SECONDS=20
readonly SYNC_TIMEOUT_SECONDS=300
# Short enough that the recovery site applies records to its target while the benchmark runs.
readonly RECOVERY_HISTORY=5s
# What qemu-nbd allows at once; a single client connects, the rest is slack for the readiness check.
readonly QEMU_NBD_CLIENTS=16

server_uri=
server_processes=()

# The disk files of server $1 that must exist, in full, before it starts.
server_files() {
  echo "$work/$1.raw"
  if [[ $1 == tapline ]]; then
    echo "$work/$1-recovery.raw"
  fi
}

start_server() {
  local server=$1
  local socket=$sockets/$server.sock
  # nbdkit does not replace the socket of an earlier run.
  rm -f "$socket"
  server_uri="nbd+unix:///$DISK?socket=$socket"
  server_processes=("$server")
  case $server in
    nbdkit)
      start_process "$server" "$work/$server.log" \
        nbdkit --foreground --unix "$socket" file "$work/$server.raw"
      ;;
    qemu-nbd)
      start_process "$server" "$work/$server.log" \
        qemu-nbd --persistent --shared="$QEMU_NBD_CLIENTS" --format=raw --export-name="$DISK" \
        --socket="$socket" "$work/$server.raw"
      ;;
    tapline-plain)
      write_plain_configuration "$socket"
      start_process "$server" "$work/$server.log" "$tapline" site --config "$work/$server.yaml"
      wait_for_ready "$server"
      ;;
    tapline)
      start_tapline_pair "$socket"
      ;;
  esac
  wait_until "$CONNECT_TIMEOUT_SECONDS" "$server serves $server_uri" nbdinfo --size "$server_uri"
}

stop_server() {
  local name status
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

# The recovery site is started first, so that the link comes up at once; both keep their journals
# from one run to the next, as sites do.
#
# A full journal makes writes wait (`block`): a site that gave up protection would be measured as
# fast.
start_tapline_pair() {
  local socket=$1
  write_pair_configurations "$socket"
  server_processes=(tapline tapline-recovery)
  start_process tapline-recovery "$work/tapline-recovery.log" \
    "$tapline" site --config "$work/tapline-recovery.yaml"
  wait_for_ready tapline-recovery
  start_process tapline "$work/tapline.log" "$tapline" site --config "$work/tapline.yaml"
  wait_for_ready tapline
  wait_until "$SYNC_TIMEOUT_SECONDS" "the initial sync of the recovery site" \
    is_in_sync "$sockets/tapline-control.sock"
}

write_plain_configuration() {
  cat >"$work/tapline-plain.yaml" <<YAML
site: plain
data: $work/tapline-plain-data
listen:
  nbd: ["unix:$1"]
  control: "unix:$sockets/plain-control.sock"
groups:
  - name: bench
    role: plain
    disks:
      - { name: $DISK, size: $size_bytes, backing: "file:$work/tapline-plain.raw" }
YAML
}

write_pair_configurations() {
  local link_port recovery_port
  link_port=$(free_tcp_port)
  recovery_port=$(free_tcp_port)
  write_pair_member tapline protected "$1" "$link_port" tapline-recovery "$recovery_port" 0s
  write_pair_member tapline-recovery recovery "$sockets/tapline-recovery.sock" \
    "$recovery_port" tapline "$link_port" "$RECOVERY_HISTORY"
}

# NAME ROLE NBD-SOCKET LINK-PORT PEER PEER-PORT HISTORY
write_pair_member() {
  cat >"$work/$1.yaml" <<YAML
site: $1
data: $work/$1-data
listen:
  nbd: ["unix:$3"]
  link: "tcp:127.0.0.1:$4"
  control: "unix:$sockets/$1-control.sock"
groups:
  - name: bench
    role: $2
    peer: { site: $5, address: "tcp:127.0.0.1:$6" }
    mode: async
    history: $7
    apply_every: 1s
    checkpoint_every: 5s
    journal: { capacity: $journal_capacity, on_full: block }
    disks:
      - { name: $DISK, size: $size_bytes, backing: "file:$work/$1.raw" }
YAML
}
