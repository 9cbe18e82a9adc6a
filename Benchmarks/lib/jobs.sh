# shellcheck shell=bash
# shellcheck disable=SC2034  # variables shared with the script that sources this
# Sourced by Benchmarks/run: the jobs, and which of them are run. Needs `die` of processes.sh.
#
#   list_jobs                     prints the jobs' names and profiles
#   select_jobs PROFILE PATTERN.. sets `selected_jobs`: lines of the table, in its order; those of
#                                 the profile, or those that match a pattern when there is one
#   job_disk_counts               prints the different numbers of disks of the lines on stdin
#   read_job LINE                 sets job_name, job_disks, job_connections, job_depth, job_options

# Every job: the profiles that have it, its name, how many disks it writes, how many connections it
# has to each, how many requests are in flight on each connection, and fio's other options. `+fsync`
# jobs flush after every write.
readonly -a JOBS=(
  "quick,standard,full randwrite-4k-d1         1  1  1 --rw=randwrite --bs=4k"
  "standard,full       randwrite-4k-d4         1  1  4 --rw=randwrite --bs=4k"
  "standard,full       randwrite-4k-d16        1  1 16 --rw=randwrite --bs=4k"
  "quick,standard,full randwrite-4k-d32        1  1 32 --rw=randwrite --bs=4k"
  "standard,full       randwrite-4k-d64        1  1 64 --rw=randwrite --bs=4k"
  "quick,standard,full randwrite-4k-d1+fsync   1  1  1 --rw=randwrite --bs=4k --fsync=1"
  "standard,full       randwrite-4k-d32+fsync  1  1 32 --rw=randwrite --bs=4k --fsync=1"
  "standard,full       write-256k-d4           1  1  4 --rw=write --bs=256k"
  "standard,full       randread-4k-d1          1  1  1 --rw=randread --bs=4k"
  "standard,full       randread-4k-d32         1  1 32 --rw=randread --bs=4k"
  "quick,full          connections-4-d1        1  4  1 --rw=randwrite --bs=4k"
  "standard,full       connections-16-d1       1 16  1 --rw=randwrite --bs=4k"
  "full                connections-4-d8        1  4  8 --rw=randwrite --bs=4k"
  "standard,full       connections-16-d2       1 16  2 --rw=randwrite --bs=4k"
  "full                disks-8-d1              8  1  1 --rw=randwrite --bs=4k"
  "quick,full          disks-8-d1+fsync        8  1  1 --rw=randwrite --bs=4k --fsync=1"
  "standard,full       disks-64-d1            64  1  1 --rw=randwrite --bs=4k"
  "full                disks-64-d1+fsync      64  1  1 --rw=randwrite --bs=4k --fsync=1"
)

list_jobs() {
  local profiles name rest
  while read -r profiles name rest; do
    printf '%-23s %s\n' "$name" "$profiles"
  done < <(printf '%s\n' "${JOBS[@]}")
}

select_jobs() {
  local profile=$1 line profiles name rest pattern selected
  local -A matched=()
  shift
  selected_jobs=()
  for line in "${JOBS[@]}"; do
    read -r profiles name rest <<<"$line"
    selected=
    if (($# == 0)) && [[ ,$profiles, == *,$profile,* ]]; then
      selected=yes
    fi
    for pattern in "$@"; do
      # shellcheck disable=SC2053  # a pattern is meant
      if [[ $name == $pattern ]]; then
        selected=yes
        matched[$pattern]=yes
      fi
    done
    [[ -z $selected ]] || selected_jobs+=("$line")
  done
  for pattern in "$@"; do
    [[ -n ${matched[$pattern]:-} ]] || die "no job '$pattern'; there are:" "$(list_jobs)"
  done
}

job_disk_counts() {
  awk '{ print $3 }' | sort -nu
}

read_job() {
  local profiles
  read -r profiles job_name job_disks job_connections job_depth job_options <<<"$1"
}
