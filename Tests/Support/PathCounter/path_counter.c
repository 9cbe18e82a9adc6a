// Counts what a program asks of the system while it runs, thread by thread: requests for memory,
// and how much of what it writes to files lies where a socket has put it.
//
// Loaded with LD_PRELOAD. The counts are in the file that PATH_COUNTER_FILE names, which is mapped
// into the program: a test reads them at any moment without asking the program. The file is an
// array of `struct counts`, one for each thread in the order of their first count.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { thread_limit = 256, range_limit = 256 };

struct counts {
  uint64_t thread;             // its number; 0: no more threads follow
  uint64_t allocations;        // calls of malloc, calloc, realloc, memalign and the like
  uint64_t mappings;           // calls of mmap
  uint64_t received;           // bytes from sockets
  uint64_t gathered;           // calls of pwritev
  uint64_t written_in_place;   // bytes that pwritev took from where recv had put them
  uint64_t written_elsewhere;  // bytes that it took from other memory
  uint64_t unused;
};

static struct counts *table;
static atomic_int threads;
static __thread struct counts *mine;

static struct counts *counts(void) {
  if (mine || !table) return mine;
  int index = atomic_fetch_add(&threads, 1);
  if (index >= thread_limit) abort();
  mine = &table[index];
  mine->thread = (uint64_t)syscall(SYS_gettid);
  return mine;
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("PATH_COUNTER_FILE");
  if (!path) return;
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  size_t size = thread_limit * sizeof(struct counts);
  if (file < 0 || ftruncate(file, (off_t)size) != 0) abort();
  int protection = PROT_READ | PROT_WRITE;
  void *memory = (void *)syscall(SYS_mmap, NULL, size, protection, MAP_SHARED, file, 0L);
  if (memory == MAP_FAILED) abort();
  close(file);
  table = memory;
}

// Memory. These are glibc's own names for what is replaced here.

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static void count_allocation(void) {
  struct counts *own = counts();
  if (own) own->allocations++;
}

void *malloc(size_t size) {
  count_allocation();
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  count_allocation();
  return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
  count_allocation();
  return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  count_allocation();
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
  struct counts *own = counts();
  if (own) own->mappings++;
  return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

// Payload. What this thread's last calls of recv have put where.

struct range {
  const char *start;
  const char *end;
};

static __thread struct range ranges[range_limit];
static __thread unsigned next_range;

ssize_t recv(int file, void *buffer, size_t size, int flags) {
  ssize_t count = syscall(SYS_recvfrom, file, buffer, size, flags, NULL, NULL);
  struct counts *own = counts();
  if (own && count > 0) {
    own->received += (uint64_t)count;
    ranges[next_range++ % range_limit] = (struct range){buffer, (char *)buffer + count};
  }
  return count;
}

// The number of bytes at `start`, before `end`, that recv has put there, or if there are none, has
// not put there; which of both is told. What it finds counts once: the memory may be filled anew in
// another way.
static size_t stretch(const char *start, const char *end, int *in_place) {
  const char *next = end;
  for (unsigned index = 0; index < range_limit; index++) {
    struct range *range = &ranges[index];
    if (range->start <= start && start < range->end) {
      const char *stop = range->end < end ? range->end : end;
      range->start = stop;
      *in_place = 1;
      return (size_t)(stop - start);
    }
    if (range->start > start && range->start < next) next = range->start;
  }
  *in_place = 0;
  return (size_t)(next - start);
}

ssize_t pwritev(int file, const struct iovec *vectors, int count, off_t offset) {
  struct counts *own = counts();
  if (own) {
    own->gathered++;
    for (int index = 0; index < count; index++) {
      const char *start = vectors[index].iov_base;
      const char *end = start + vectors[index].iov_len;
      while (start < end) {
        int in_place;
        size_t length = stretch(start, end, &in_place);
        *(in_place ? &own->written_in_place : &own->written_elsewhere) += length;
        start += length;
      }
    }
  }
  return syscall(SYS_pwritev, file, vectors, (long)count, (long)offset, 0L);
}
