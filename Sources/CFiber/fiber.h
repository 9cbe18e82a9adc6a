// Fibers for the simulator: begun by makecontext(3), which Swift cannot call; and changed by
// _longjmp(3), since swapcontext(3) asks the kernel for the signal mask each time.
#pragma once
#include <malloc.h>
#include <setjmp.h>
#include <stddef.h>
#include <ucontext.h>
#include <unistd.h>

struct fiber_context {
  ucontext_t beginning;
  jmp_buf place;
  int has_place;
};

static inline size_t fiber_context_size(void) { return sizeof(struct fiber_context); }

/// For the stack that runs already.
static inline void fiber_make_first(void *context) {
  ((struct fiber_context *)context)->has_place = 0;
}

static inline void fiber_make(void *context, void *stack, size_t size, void (*entry)(void)) {
  struct fiber_context *made = (struct fiber_context *)context;
  getcontext(&made->beginning);
  made->beginning.uc_stack.ss_sp = stack;
  made->beginning.uc_stack.ss_size = size;
  made->beginning.uc_link = 0;
  makecontext(&made->beginning, entry, 0);
  made->has_place = 0;
}

/// A run takes and gives back memory all the time: it is not asked of the kernel each time.
static inline void fiber_keep_memory(void) {
  mallopt(M_MMAP_THRESHOLD, 256 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
}

/// fork(2), which Swift does not let anyone call: it leaves all threads but the caller's behind.
/// Here there are no others.
static inline pid_t fiber_fork(void) { return fork(); }

/// Returns when somebody changes to `from` again.
__attribute__((noinline)) static void fiber_switch(void *from, void *to) {
  struct fiber_context *left = (struct fiber_context *)from;
  struct fiber_context *entered = (struct fiber_context *)to;
  left->has_place = 1;
  if (_setjmp(left->place) != 0) return;
  if (entered->has_place) _longjmp(entered->place, 1);
  setcontext(&entered->beginning);
}
