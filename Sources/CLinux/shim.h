// What Swift's Glibc module leaves out: Linux headers, and functions that glibc declares only
// under _GNU_SOURCE (which a module header cannot set once Foundation is imported).
#pragma once
#include <sys/types.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <pthread.h>

extern int accept4(int, struct sockaddr *, socklen_t *, int);
extern int pthread_setname_np(pthread_t, const char *);
extern ssize_t preadv2(int, const struct iovec *, int, off_t, int);
extern int fallocate(int, int, off_t, off_t);
extern int renameat2(int, const char *, int, const char *, unsigned int);
enum { LINUX_RENAME_NOREPLACE = 1 };
extern int sync_file_range(int, off_t, off_t, unsigned int);

// Messages of a unix socket that carry one open descriptor, or none (-1). The macros for control
// data do not reach Swift. Results and errno are those of sendmsg and recvmsg.
static inline ssize_t linux_send_descriptor(
    int socket, const void *bytes, size_t count, int descriptor) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {.space = {0}};
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)CMSG_DATA(header) = descriptor;
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL);
}

// The system closes what there is no room for here: every descriptor but the first.
static inline ssize_t linux_receive_descriptor(
    int socket, void *bytes, size_t count, int *descriptor) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = count};
  struct msghdr message = {
    .msg_iov = &part, .msg_iovlen = 1,
    .msg_control = control.space, .msg_controllen = sizeof control.space};
  *descriptor = -1;
  ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return received;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS
      && header->cmsg_len == CMSG_LEN(sizeof(int)))
    *descriptor = *(int *)CMSG_DATA(header);
  return received;
}

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
  LINUX_SYNC_WAIT_BEFORE = 1,
  LINUX_SYNC_WRITE = 2,
};
