// SPDX-License-Identifier: Apache-2.0
// Stacks that are switched by hand, and memory that is forgotten at once: an execution of the model checker is cut off anywhere, its
// threads are never unwound, and nothing may leak over millions of executions. To be included by one source of a program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace model {

// --- memory -----------------------------------------------------------------------------------------------------------------------

/// Where the code under test allocates.
struct arena {
  static constexpr std::size_t size = std::size_t{4} << 20U;
  inline static bool inside = false;  // the code under test runs, not the checker
  inline static std::byte* base = nullptr;
  inline static std::size_t used = 0;

  static void* take(std::size_t n) noexcept {
    if (base == nullptr) base = static_cast<std::byte*>(std::malloc(size));
    n = (n + 15) / 16 * 16;
    if (base == nullptr || size - used < n) std::abort();
    void* const out = base + used;
    used += n;
    return out;
  }
  static bool has(void const* p) noexcept { return base != nullptr && p >= base && p < base + size; }
};

/// The checker's own work: allocates as usual.
class outside {
 public:
  outside() noexcept : was_(arena::inside) { arena::inside = false; }
  outside(outside const&) = delete;
  outside& operator=(outside const&) = delete;
  ~outside() { arena::inside = was_; }

 private:
  bool was_;
};

// --- stacks -----------------------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
// Six registers and the stack; swapcontext would make two system calls.
extern "C" void omniconn_model_switch(void** from, void* to) noexcept;
asm(R"(
.text
.type omniconn_model_switch, @function
omniconn_model_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size omniconn_model_switch, .-omniconn_model_switch
)");

struct context {
  void* stack_pointer = nullptr;

  void prepare(std::byte* stack, std::size_t size, void (*entry)()) noexcept {
    auto top = reinterpret_cast<std::uintptr_t>(stack + size) / 16 * 16;
    auto* words = reinterpret_cast<void**>(top);
    *--words = nullptr;  // where a return address would be: keeps the stack aligned
    *--words = reinterpret_cast<void*>(entry);
    for (int i = 0; i != 6; ++i) *--words = nullptr;
    stack_pointer = words;
  }
  static void change(context& from, context& to) noexcept { omniconn_model_switch(&from.stack_pointer, to.stack_pointer); }
};
#else
struct context {
  ucontext_t state;

  void prepare(std::byte* stack, std::size_t size, void (*entry)()) noexcept {
    ::getcontext(&state);
    state.uc_stack.ss_sp = stack;
    state.uc_stack.ss_size = size;
    state.uc_link = nullptr;
    ::makecontext(&state, entry, 0);
  }
  static void change(context& from, context& to) noexcept { ::swapcontext(&from.state, &to.state); }
};
#endif

}  // namespace model

void* operator new(std::size_t n) {
  if (model::arena::inside) return model::arena::take(n);
  if (void* const p = std::malloc(n != 0 ? n : 1)) return p;
  std::abort();
}
void* operator new(std::size_t n, std::align_val_t align) {
  if (model::arena::inside) {
    auto const extra = static_cast<std::size_t>(align);
    auto const at = reinterpret_cast<std::uintptr_t>(model::arena::take(n + extra));
    return reinterpret_cast<void*>((at + extra - 1) / extra * extra);
  }
  if (void* const p = std::aligned_alloc(static_cast<std::size_t>(align), (n + static_cast<std::size_t>(align) - 1) / static_cast<std::size_t>(align) * static_cast<std::size_t>(align))) return p;
  std::abort();
}
void operator delete(void* p) noexcept {
  if (!model::arena::has(p)) std::free(p);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { operator delete(p); }
