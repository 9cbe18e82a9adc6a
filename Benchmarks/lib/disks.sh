# shellcheck shell=bash
# shellcheck disable=SC2154  # variables shared with the script that sources this
# Sourced by Benchmarks/run: the disk files of the servers. Needs these variables:
#
#   work        directory of the disk files, on the file system that is measured
#   servers     names of the servers that are measured
#   size_bytes  size of a server's disks together
#
#   make_disks COUNT      makes COUNT disks for each server that takes part in a selected job of
#                         COUNT disks; sets `disks`, their names, and `disk_bytes`, the size of each
#   remove_disks          removes them, and the journals of the sites
#   disk_files SERVER     prints the paths of a server's disk files, one a line
#   warm_page_cache SERVER  reads them once, whole, so that every server meets the same page cache

readonly SECTOR_BYTES=4096

disks=()
disk_bytes=

# Written in full, not sparse, and with contents that neither compress nor repeat.
make_disks() {
  local count=$1 server folder index name file first=
  disks=()
  for ((index = 0; index < count; index++)); do
    printf -v name 'disk-%02d' "$index"
    disks+=("$name")
  done
  disk_bytes=$((size_bytes / count / SECTOR_BYTES * SECTOR_BYTES))
  ((disk_bytes > 0)) || die "--size: too small for $count disks"
  echo "== disks: $count of $(numfmt --to=iec "$disk_bytes") for each server, in $work"
  for server in "${servers[@]}"; do
    takes_part_with "$count" "$server" || continue
    for folder in $(disk_folders "$server"); do
      mkdir "$folder"
      for name in "${disks[@]}"; do
        file=$folder/$name
        if [[ -z $first || $folder == "$first" ]]; then
          first=$folder
          head -c "$disk_bytes" /dev/urandom >"$file"
        else
          cp --sparse=never --reflink=never "$first/$name" "$file"
        fi
      done
    done
  done
}

remove_disks() {
  rm -rf "${work:?}"/*
}

# Tapline with all three copies has disks at each of its two sites.
disk_folders() {
  echo "$work/$1"
  if [[ $1 == tapline || $1 == tapline-groups ]]; then
    echo "$work/$1-recovery"
  fi
}

disk_files() {
  local folder
  for folder in $(disk_folders "$1"); do
    printf '%s\n' "${disks[@]/#/$folder/}"
  done
}

warm_page_cache() {
  disk_files "$1" | xargs -d '\n' cat >/dev/null
}
