// Fibers for the simulator (makecontext(3)); Swift cannot call getcontext itself.
#pragma once
#include <stddef.h>
#include <ucontext.h>

static inline size_t fiber_context_size(void) { return sizeof(ucontext_t); }

static inline void fiber_make(void *context, void *stack, size_t size, void (*entry)(void)) {
  ucontext_t *made = (ucontext_t *)context;
  getcontext(made);
  made->uc_stack.ss_sp = stack;
  made->uc_stack.ss_size = size;
  made->uc_link = 0;
  makecontext(made, entry, 0);
}

static inline void fiber_switch(void *from, void *to) {
  swapcontext((ucontext_t *)from, (const ucontext_t *)to);
}
