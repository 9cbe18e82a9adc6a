# shellcheck shell=bash
# shellcheck disable=SC2154  # variables shared with the script that sources this
# Sourced by Benchmarks/run: the configurations of Tapline's sites. Needs the variables of disks.sh
# and these:
#
#   sockets        directory of sockets, with a short path
#   journal_bytes  the most that the journals of a site take together
#
#   write_plain_site NBD-SOCKET       one site that only serves, in $work/tapline-plain.yaml
#   write_pair NAME SHAPE NBD-SOCKET  the sites NAME and NAME-recovery, each in a file of that name.
#                                     SHAPE: `together`, all disks in one group; `apart`, a group
#                                     for each disk
#
# A site's control socket is $sockets/NAME-control.sock.

# Short enough that the recovery site applies records to its target while the benchmark runs.
readonly RECOVERY_HISTORY=5s
# Tapline's default; the segments of a small journal are smaller, so that it has enough of them.
readonly SEGMENT_BYTES=$((64 << 20))
readonly SEGMENTS_OF_SMALL_JOURNAL=16

# Disks without protection have no common order to keep, so that each is a group of its own.
write_plain_site() {
  local name=tapline-plain disk
  {
    write_site_head "$name" "unix:$1"
    for disk in "${disks[@]}"; do
      echo "  - name: $disk"
      echo "    role: plain"
      echo "    disks:"
      write_disk "$name" "$disk"
    done
  } >"$work/$name.yaml"
}

write_pair() {
  local name=$1 shape=$2 socket=$3 port recovery_port
  port=$(free_tcp_port)
  recovery_port=$(free_tcp_port)
  write_member "$name" "$shape" "$socket" "$port" \
    protected "$name-recovery" "$recovery_port" 0s
  write_member "$name-recovery" "$shape" "$sockets/$name-recovery.sock" "$recovery_port" \
    recovery "$name" "$port" "$RECOVERY_HISTORY"
}

# NAME SHAPE NBD-SOCKET LINK-PORT ROLE PEER PEER-PORT HISTORY
write_member() {
  local name=$1 shape=$2 disk
  local -a group=("${@:5}")
  {
    write_site_head "$name" "unix:$3" "tcp:127.0.0.1:$4"
    if [[ $shape == together ]]; then
      write_group_head bench "$journal_bytes" "${group[@]}"
      for disk in "${disks[@]}"; do
        write_disk "$name" "$disk"
      done
    else
      for disk in "${disks[@]}"; do
        write_group_head "$disk" "$((journal_bytes / ${#disks[@]}))" "${group[@]}"
        write_disk "$name" "$disk"
      done
    fi
  } >"$work/$name.yaml"
}

# NAME NBD-ADDRESS [LINK-ADDRESS]
write_site_head() {
  cat <<YAML
site: $1
data: $work/$1-data
listen:
  nbd: ["$2"]
  control: "unix:$sockets/$1-control.sock"
YAML
  if [[ -n ${3:-} ]]; then
    echo "  link: \"$3\""
  fi
  echo "links: { tls: ${LINK_TLS:-off} }"
  echo "groups:"
}

# NAME JOURNAL-BYTES ROLE PEER PEER-PORT HISTORY
#
# A full journal makes writes wait (`block`): a site that gave up protection would be measured as
# fast.
write_group_head() {
  cat <<YAML
  - name: $1
    role: $3
    peer: { site: $4, address: "tcp:127.0.0.1:$5" }
    mode: async
    history: $6
    apply_every: 1s
    checkpoint_every: 5s
    journal: { capacity: $2, segment_size: $(segment_bytes "$2"), on_full: block }
    disks:
YAML
}

# SITE DISK
write_disk() {
  echo "      - { name: $2, size: $disk_bytes, backing: \"file:$work/$1/$2\" }"
}

# The size of the segments of a journal of $1 bytes: a power of two.
segment_bytes() {
  local bytes=$SEGMENT_BYTES
  while ((bytes * SEGMENTS_OF_SMALL_JOURNAL > $1)); do
    bytes=$((bytes / 2))
  done
  echo "$bytes"
}
