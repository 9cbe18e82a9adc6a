# shellcheck shell=bash
# Sourced by the scripts in Tools/ and Benchmarks/: finds a Swift toolchain.
#
#   find_swift    sets and exports SWIFT, the path of a `swift` that can build this package;
#                 explains on stderr what was looked at and returns 1 when there is none.
#
# The name alone proves nothing: OpenStack's object-store client is called `swift` too and may come
# first on PATH. A candidate counts when it prints the version of the language and has a compiler
# beside it.

readonly SWIFT_MAJOR=6
readonly SWIFT_MINIMUM_MINOR=2
readonly SWIFT_VERSION_TIMEOUT_SECONDS=30

# Prints candidates, one path a line, best first; some may not exist. TAPLINE_SWIFT, when it is set,
# is the only one.
swift_candidates() {
  if [[ -n ${TAPLINE_SWIFT:-} ]]; then
    printf '%s\n' "$TAPLINE_SWIFT"
    return
  fi
  type -aP swift || true
  local pattern home=${HOME:-/root}
  local -a patterns=(
    "${SWIFTLY_BIN_DIR:-${SWIFTLY_HOME_DIR:-$home/.local/share/swiftly}/bin}/swift"
    "${SWIFTLY_TOOLCHAINS_DIR:-$home/.local/share/swiftly/toolchains}/*/usr/bin/swift"
    "$home/.swiftly/bin/swift"
    "$home/.swiftenv/shims/swift"
    "$home/.swiftenv/versions/*/usr/bin/swift"
    "$home/swift*/usr/bin/swift"
    "/opt/swift*/usr/bin/swift"
    "/opt/swift*/bin/swift"
    "/opt/*/swift*/usr/bin/swift"
    "/usr/local/swift*/usr/bin/swift"
    "/usr/lib/swift*/bin/swift"
    "/usr/lib/swift*/usr/bin/swift"
    "/usr/libexec/swift*/bin/swift"
    "/usr/libexec/swift*/usr/bin/swift"
    "/usr/share/swift*/usr/bin/swift"
    "/usr/bin/swift"
  )
  # Of several toolchains that one pattern names, the newest comes first.
  for pattern in "${patterns[@]}"; do
    compgen -G "$pattern" | sort -rV || true
  done
}

# Prints why $1 cannot build the package, or nothing when it can.
swift_objection() {
  local candidate=$1 said
  [[ -f $candidate && -x $candidate ]] || { echo "is not an executable file"; return; }
  [[ -x $(dirname "$candidate")/swiftc ]] || { echo "has no swiftc beside it"; return; }
  said=$(timeout "$SWIFT_VERSION_TIMEOUT_SECONDS" "$candidate" --version 2>&1 </dev/null) || true
  if [[ ! $said =~ Swift\ version\ ([0-9]+)\.([0-9]+) ]]; then
    echo "does not print a Swift version: $(head -n 1 <<<"$said" | cut -c 1-120)"
  elif ((BASH_REMATCH[1] != SWIFT_MAJOR || BASH_REMATCH[2] < SWIFT_MINIMUM_MINOR)); then
    echo "is Swift ${BASH_REMATCH[1]}.${BASH_REMATCH[2]}"
  fi
}

find_swift() {
  local candidate path objection
  local -A seen=()
  local -a refused=()
  while IFS= read -r candidate; do
    # A link such as /usr/local/bin/swift stands alone; its target has the compiler beside it.
    # The link itself is tried first: a version manager's shim must keep its name.
    for path in "$candidate" "$(readlink -f -- "$candidate" || true)"; do
      [[ -n $path && -z ${seen[$path]:-} && $(basename -- "$path") == swift ]] || continue
      seen[$path]=1
      objection=$(swift_objection "$path")
      if [[ -z $objection ]]; then
        export SWIFT=$path
        return 0
      fi
      refused+=("$path $objection")
    done
  done < <(swift_candidates)
  {
    echo "error: no Swift toolchain $SWIFT_MAJOR.$SWIFT_MINIMUM_MINOR or later $SWIFT_MAJOR.x"
    ((${#refused[@]} == 0)) || printf '  %s\n' "${refused[@]}"
    echo "Install one from https://www.swift.org/install/linux/ and put it on PATH,"
    echo "or name it: TAPLINE_SWIFT=/path/to/usr/bin/swift $0"
  } >&2
  return 1
}
