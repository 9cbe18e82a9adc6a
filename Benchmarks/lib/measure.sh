# shellcheck shell=bash
# shellcheck disable=SC2154  # variables shared with the script that sources this
# Sourced by Benchmarks/run: one measurement, by fio. Needs jobs.sh, disks.sh, servers.sh and these
# variables:
#
#   work, results  directories of the disk files and of what is kept
#   runtime, ramp  how long fio measures, and runs before that, in fio's words
#   benchmarks     directory of report.py

# The one that Tools/setup installs; a version manager's on PATH may take long to start.
readonly PYTHON=/usr/bin/python3
# A measurement that takes this much longer than it should has hung.
readonly FIO_GRACE_SECONDS=60

# ROUND SERVER: the job that read_job has read, with only that server running.
measure() {
  local round=$1 server=$2 output load cpu_before cpu_after cpu=null
  local -a fio_jobs
  output=$results/runs/$round.$job_name.$server
  start_server "$server"
  warm_page_cache "$server"
  sync --file-system "$work"
  load=$(cut -d ' ' -f 1 /proc/loadavg)
  prepare_fio_jobs "$server"
  cpu_before=$(process_cpu_seconds "${server_processes[@]}")
  timeout "$((${runtime//[ms]/} + FIO_GRACE_SECONDS))" \
    fio --name=global "${fio_jobs[@]}" >"$output.fio.log" 2>&1 ||
    die "fio failed: $job_name on $server:" "$(tail -n 5 "$output.fio.log")" "$(last_words)"
  cpu_after=$(process_cpu_seconds "${server_processes[@]}")
  stop_server "$server"
  if [[ $server != file ]]; then
    cpu=$(awk -v a="$cpu_before" -v b="$cpu_after" 'BEGIN { printf "%.2f", b - a }')
  fi
  cat >"$output.json" <<JSON
{"round": $round, "job": "$job_name", "server": "$server", "disks": $job_disks,
 "connections": $job_connections, "depth": $job_depth, "options": "$job_options",
 "load": $load, "ramp": "$ramp", "cpu_seconds": $cpu}
JSON
  "$PYTHON" "$benchmarks/report.py" --line "$output"
}

# Sets `fio_jobs`: fio's global options, and a job for each disk. All report as one group.
prepare_fio_jobs() {
  local server=$1 index
  # shellcheck disable=SC2206  # the options of a job are words
  fio_jobs=(
    $job_options --iodepth="$job_depth" --numjobs="$job_connections" --size="$disk_bytes"
    --group_reporting --time_based --runtime="$runtime" --ramp_time="$ramp" --norandommap
    --clat_percentiles=0 --lat_percentiles=1 --percentile_list=50:99
    --output-format=json+ --output="$output.fio.json"
  )
  if [[ $server == file ]]; then
    # An fdatasync, as servers do for a FLUSH. The page cache stays as it is.
    fio_jobs=("${fio_jobs[@]/#--fsync=/--fdatasync=}" --ioengine=psync --invalidate=0)
    for index in "${!disks[@]}"; do
      fio_jobs+=(--name="${disks[index]}" --filename="$work/file/${disks[index]}")
    done
  else
    fio_jobs+=(--ioengine=nbd)
    for index in "${!disks[@]}"; do
      fio_jobs+=(--name="${disks[index]}" --uri="${server_uris[index]}")
    done
  fi
}

# The end of the log of each process that serves.
last_words() {
  local name
  for name in "${server_processes[@]}"; do
    tail -n 5 "${process_logs[$name]}"
  done
}
