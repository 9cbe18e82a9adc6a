# shellcheck shell=bash
# shellcheck disable=SC2154  # variables shared with the script that sources this
# Sourced by Benchmarks/run: one measurement, by fio. Needs jobs.sh, disks.sh, servers.sh and these
# variables:
#
#   work, results        directories of the disk files and of what is kept
#   runtime_ms, ramp_ms  how long a measurement takes, and how long the client runs before it
#   benchmarks           directory of report.py

# The one that Tools/setup installs; a version manager's on PATH may take long to start.
readonly PYTHON=/usr/bin/python3
# A measurement that takes this much longer than it should has hung.
readonly FIO_GRACE_SECONDS=60
# How often several clients log what they have done, and how much longer than needed they run, so
# that all of them have logged the end of the measurement.
readonly LOG_MS=50
readonly LOG_SLACK_MS=200

# ROUND SERVER: the job that read_job has read, with only that server running.
measure() {
  local round=$1 server=$2 output load cpu_before cpu_after cpu=null
  local -a fio_jobs
  output=$results/runs/$round.$job_name.$server
  start_server "$server"
  warm_page_cache "$server"
  sync --file-system "$work"
  load=$(cut -d ' ' -f 1 /proc/loadavg)
  prepare_fio_jobs "$server" "$output"
  cpu_before=$(process_cpu_seconds "${server_processes[@]}")
  timeout "$(((ramp_ms + runtime_ms) / 1000 + FIO_GRACE_SECONDS))" \
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
 "load": $load, "ramp_ms": $ramp_ms, "runtime_ms": $runtime_ms, "cpu_seconds": $cpu}
JSON
  "$PYTHON" "$benchmarks/report.py" --line "$output"
}

# Sets `fio_jobs`: fio's global options, and a job for each disk. All report as one group.
prepare_fio_jobs() {
  local server=$1 output=$2 index
  # shellcheck disable=SC2206  # the options of a job are words
  fio_jobs=(
    $job_options --iodepth="$job_depth" --numjobs="$job_connections" --size="$disk_bytes"
    --group_reporting --time_based --norandommap --lat_percentiles=1 --percentile_list=50:99
    --output-format=json+ --output="$output.fio.json"
  )
  if ((job_disks * job_connections == 1)); then
    fio_jobs+=(--ramp_time="${ramp_ms}ms" --runtime="${runtime_ms}ms" --clat_percentiles=0)
  else
    # Each client has a time of its own, and a ramp of its own, which drift apart by seconds on a
    # busy machine; the sum of their rates is then more than the server ever did. So they log with
    # the time of day what they have done, and the report counts what falls into one interval.
    rm -f "$output.fio_clat_hist.log"
    fio_jobs+=(
      --runtime="$((ramp_ms + runtime_ms + LOG_SLACK_MS))ms" --clat_percentiles=1
      --write_hist_log="$output.fio" --log_hist_msec="$LOG_MS" --log_hist_coarseness=6
      --log_unix_epoch=1 --per_job_logs=0
    )
  fi
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
