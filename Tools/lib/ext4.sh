# shellcheck shell=bash
# Sourced by scripts that work with ext4 file systems as an ordinary user: in images, by e2fsprogs,
# with nothing mounted; and that write parts of an image to an NBD export.
#
#   make_ext4 IMAGE SIZE FOLDER     makes IMAGE, a file system that holds the files of FOLDER
#   edit_ext4 IMAGE FOLDER          runs the debugfs commands on stdin, with FOLDER's files to write
#   extract_ext4 IMAGE FOLDER       makes FOLDER with the files of IMAGE
#   file_ranges IMAGE               prints where the contents of the files in the root folder lie
#   changed_ranges OLD NEW          prints where two images differ, in whole blocks
#   write_ranges IMAGE URI          writes the ranges on stdin from IMAGE to the export; flushes
#
# A range is a line `OFFSET LENGTH`, in bytes.

readonly EXT4_BLOCK_BYTES=4096

make_ext4() {
  truncate -s "$2" "$1"
  mke2fs -q -F -t ext4 -b "$EXT4_BLOCK_BYTES" -d "$3" "$1"
}

edit_ext4() {
  # debugfs echoes commands and ends with 0 when they fail; callers compare contents afterwards.
  env -C "$2" debugfs -w -f - "$1" >/dev/null 2>&1
}

extract_ext4() {
  mkdir "$2"
  debugfs -R "rdump / \"$2\"" "$1" >/dev/null 2>&1
  rmdir "$2/lost+found"
}

file_ranges() {
  local image=$1
  # `ls -p` prints /inode/mode/user/group/name/size/ for each entry; regular files have mode 10xxxx.
  # `dump_extents -l` prints rows `level/depth entry/entries first - last first - last length`, the
  # logical blocks before the physical ones.
  debugfs -R "ls -p /" "$image" 2>/dev/null |
    awk -F / '$3 ~ /^10/ { printf "dump_extents -l <%d>\n", $2 }' |
    debugfs -f - "$image" 2>/dev/null |
    awk -v block="$EXT4_BLOCK_BYTES" '/^ *[0-9]+\// {
      gsub(/[\/-]/, " ")
      printf "%d %d\n", $7 * block, $9 * block
    }'
}

changed_ranges() {
  # cmp ends with 1 when the images differ, as they are expected to.
  { cmp -l "$1" "$2" || true; } | awk -v block="$EXT4_BLOCK_BYTES" '
    function emit() { if (count) printf "%d %d\n", first * block, count * block }
    {
      number = int(($1 - 1) / block)
      if (count && number < first + count) next
      if (count && number == first + count) { count++; next }
      emit(); first = number; count = 1
    }
    END { emit() }'
}

write_ranges() {
  local image=$1 uri=$2 pieces offset length
  local -a commands=()
  pieces=$(mktemp -d "$(dirname "$image")/pieces.XXXXXX")
  while read -r offset length; do
    dd if="$image" of="$pieces/$offset" bs=1M iflag=skip_bytes,count_bytes \
      skip="$offset" count="$length" status=none
    # Names without a folder: qemu-io has no quoting for a path with blanks.
    commands+=(-c "write -q -s $offset $offset $length")
  done
  env -C "$pieces" qemu-io -f raw "${commands[@]}" -c flush "$uri"
  rm -rf "$pieces"
}
