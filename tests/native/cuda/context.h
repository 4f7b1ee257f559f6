// Stacks to change between, for what runs a kernel's threads one by one.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_on_host {

#if defined(__x86_64__)

// swapcontext() without the signal mask, whose two system calls take half of the time.
struct Context {
  void* stack_pointer;
};

// Callee-saved registers onto the stack, the other stack, its registers from there.
__attribute__((naked, noinline)) inline void Change(Context*, const Context*) {
  asm("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
      "movq %rsp, (%rdi)\n movq (%rsi), %rsp\n"
      "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret");
}

// Makes it the one of a stack on which `run` begins, which never returns.
inline void Begin(Context* context, char* stack, size_t bytes, void (*run)()) {
  auto* top = reinterpret_cast<uintptr_t*>((reinterpret_cast<uintptr_t>(stack) + bytes) & ~15ul);
  *--top = 0;  // where `run` would return to; so the stack is aligned as after a call
  *--top = reinterpret_cast<uintptr_t>(run);
  for (int k = 0; k < 6; ++k) *--top = 0;  // the registers
  context->stack_pointer = top;
}

#else

struct Context {
  ucontext_t state;
};

inline void Change(Context* from, const Context* to) { swapcontext(&from->state, &to->state); }

inline void Begin(Context* context, char* stack, size_t bytes, void (*run)()) {
  getcontext(&context->state);
  context->state.uc_stack.ss_sp = stack;
  context->state.uc_stack.ss_size = bytes;
  context->state.uc_link = nullptr;
  makecontext(&context->state, run, 0);
  context->state.uc_stack.ss_size = 0;  // the address sanitizer forgets a stack that it knows
}

#endif

}  // namespace cuda_on_host
