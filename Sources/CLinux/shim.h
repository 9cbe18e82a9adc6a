// What Swift's Glibc module leaves out: Linux headers, and functions that glibc declares only
// under _GNU_SOURCE (which a module header cannot set once Foundation is imported).
#pragma once
#include <sys/types.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/file.h>
#include <pthread.h>

extern int accept4(int, struct sockaddr *, socklen_t *, int);
extern int pthread_setname_np(pthread_t, const char *);
extern ssize_t preadv2(int, const struct iovec *, int, off_t, int);
extern int fallocate(int, int, off_t, off_t);
extern int sync_file_range(int, off_t, off_t, unsigned int);

// SO_PEERCRED's answer.
struct linux_ucred {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

enum {
  LINUX_O_DIRECT = __O_DIRECT,
  LINUX_RWF_NOWAIT = 8,
  LINUX_SCHED_IDLE = 5,
  LINUX_FALLOC_KEEP_SIZE = 1,
  LINUX_FALLOC_PUNCH_HOLE = 2,
  LINUX_FALLOC_ZERO_RANGE = 16,
  LINUX_SEEK_DATA = 3,
  LINUX_SEEK_HOLE = 4,
};
