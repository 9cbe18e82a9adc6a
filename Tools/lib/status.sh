# shellcheck shell=bash
# Sourced by scripts that ask a running site how it is: `tapline status --json` through jq.
# Needs the variable `tapline`, the path of the binary.
# shellcheck disable=SC2154

# Prints the first number called $2 in the status of the site whose control socket is $1, or
# nothing. A name is found however its words are joined: peerDurable, peer_durable, peer-durable.
status_number() {
  "$tapline" status --json --control "unix:$1" | jq -r --arg name "$2" '
    def plain: ascii_downcase | gsub("[_-]"; "");
    [.. | objects | to_entries[] | select((.key | plain) == ($name | plain)) | .value | numbers]
    | first // empty'
}

# True when every group of the site whose control socket is $1 has instants that can be opened.
has_history() {
  "$tapline" status --json --control "unix:$1" | jq -e '[.groups[].history != null] | all' >/dev/null
}

# True when the peer of every group of the site whose control socket is $1 has a whole copy, and all
# that was stamped is durable there.
is_in_sync() {
  "$tapline" status --json --control "unix:$1" |
    jq -e '[.groups[] | .link.rpo_seconds == 0 and .watermarks.stamped == .watermarks.peer_durable]
      | all' >/dev/null
}
