// A library to preload into a program whose syncs shall lie: some return at once, as if they had
// been done. Shows that the tests with power cuts notice a sync that is missing.
//
// LYING_SYNC says which: "directories", or a part of the paths of the files.

#define _GNU_SOURCE
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool lies(int descriptor) {
  const char *which = getenv("LYING_SYNC");
  struct stat status;
  if (!which || fstat(descriptor, &status) != 0) return false;
  if (S_ISDIR(status.st_mode)) return strcmp(which, "directories") == 0;

  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = 0;
  return strstr(path, which) != NULL;
}

int fsync(int descriptor) {
  return lies(descriptor) ? 0 : (int)syscall(SYS_fsync, descriptor);
}

int fdatasync(int descriptor) {
  return lies(descriptor) ? 0 : (int)syscall(SYS_fdatasync, descriptor);
}
