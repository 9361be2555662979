#include "interposer.h"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <ctime>

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

// Plain thread-local data of the executable: reading it calls nothing. The functions of libc have
// no object that could hold it.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
thread_local bool t_inside = false;
thread_local int64_t t_forbidden = 0;
thread_local const char* t_first = "";
// The kernel reads it at each system call of this thread.
thread_local char t_selector = SYSCALL_DISPATCH_FILTER_ALLOW;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

void Count(const char* name) {
  if (t_inside) {
    t_first = t_forbidden++ == 0 ? name : t_first;
  }
}

#ifdef __x86_64__
// Counts the first system call of a scope, then lets it and all later ones through.
void OnSystemCall(int /*signal*/, siginfo_t* info, void* context) {
  t_selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  Count("a system call");
  // Back onto the two bytes of the instruction, so that it is made after all.
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  registers[REG_RAX] = info->si_syscall;
  registers[REG_RIP] -= 2;
}

// True when the kernel reports this thread's system calls (Linux 5.11 on x86-64).
bool TrapSystemCalls() {
  struct sigaction action{};
  action.sa_sigaction = OnSystemCall;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGSYS, &action, nullptr) == 0 &&
         prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &t_selector) == 0;
}
#else
bool TrapSystemCalls() { return false; }
#endif

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

namespace wheeltapper::capture {

HotPathScope::HotPathScope() {
  const bool trapped = SeesSystemCalls();
  t_forbidden = 0;
  t_first = "";
  t_inside = true;
  t_selector = trapped ? SYSCALL_DISPATCH_FILTER_BLOCK : SYSCALL_DISPATCH_FILTER_ALLOW;
}
HotPathScope::~HotPathScope() {
  t_selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  t_inside = false;
}
bool HotPathScope::SeesSystemCalls() {
  thread_local const bool kTrapped = TrapSystemCalls();
  return kTrapped;
}
int64_t HotPathScope::forbidden() { return t_forbidden; }
const char* HotPathScope::first() { return t_first; }

}  // namespace wheeltapper::capture

// Functions of ours under libc's symbols: so they repeat no declaration of a header, whose
// parameter names and exception specifications are libc's own.
namespace wheeltapper::capture::interposed {

#define WT_EXPORT __attribute__((visibility("default")))

// glibc's allocator under its other names: dlsym may allocate, so it cannot be what finds malloc.
void* LibcMalloc(size_t nbytes) __asm__("__libc_malloc");
void* LibcCalloc(size_t count, size_t nbytes) __asm__("__libc_calloc");
void* LibcRealloc(void* old, size_t nbytes) __asm__("__libc_realloc");
void* LibcMemalign(size_t alignment, size_t nbytes) __asm__("__libc_memalign");
void LibcFree(void* memory) __asm__("__libc_free");

WT_EXPORT void* Malloc(size_t nbytes) __asm__("malloc");
WT_EXPORT void* Calloc(size_t count, size_t nbytes) __asm__("calloc");
WT_EXPORT void* Realloc(void* old, size_t nbytes) __asm__("realloc");
WT_EXPORT void* Memalign(size_t alignment, size_t nbytes) __asm__("memalign");
WT_EXPORT void* AlignedAlloc(size_t alignment, size_t nbytes) __asm__("aligned_alloc");
WT_EXPORT int PosixMemalign(void** out, size_t alignment, size_t nbytes) __asm__("posix_memalign");
WT_EXPORT void Free(void* memory) __asm__("free");

void* Malloc(size_t nbytes) {
  Count("malloc");
  return LibcMalloc(nbytes);
}
void* Calloc(size_t count, size_t nbytes) {
  Count("calloc");
  return LibcCalloc(count, nbytes);
}
void* Realloc(void* old, size_t nbytes) {
  Count("realloc");
  return LibcRealloc(old, nbytes);
}
void* Memalign(size_t alignment, size_t nbytes) {
  Count("memalign");
  return LibcMemalign(alignment, nbytes);
}
void* AlignedAlloc(size_t alignment, size_t nbytes) {
  Count("aligned_alloc");
  return LibcMemalign(alignment, nbytes);
}
int PosixMemalign(void** out, size_t alignment, size_t nbytes) {
  Count("posix_memalign");
  *out = LibcMemalign(alignment, nbytes);
  return *out == nullptr ? ENOMEM : 0;
}
void Free(void* memory) {
  if (memory != nullptr) {
    Count("free");
  }
  LibcFree(memory);
}

// NAME(type, name, (parameters), (arguments)): counted, then passed on. The pointer is looked up at
// each call: slow, and nothing here needs to be fast.
#define WT_INTERPOSE(type, name, parameters, arguments) \
  WT_EXPORT type name parameters __asm__(#name);        \
  type name parameters {                                \
    Count(#name);                                       \
    return Next<type parameters>(#name) arguments;      \
  }

WT_INTERPOSE(int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
WT_INTERPOSE(int, pthread_mutex_trylock, (pthread_mutex_t * mutex), (mutex))
WT_INTERPOSE(int, pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
WT_INTERPOSE(int, pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
WT_INTERPOSE(int, pthread_spin_lock, (pthread_spinlock_t * lock), (lock))
WT_INTERPOSE(int, pthread_cond_signal, (pthread_cond_t * condition), (condition))
WT_INTERPOSE(int, pthread_cond_broadcast, (pthread_cond_t * condition), (condition))
WT_INTERPOSE(int, pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t* mutex),
             (condition, mutex))
WT_INTERPOSE(int, pthread_cond_timedwait,
             (pthread_cond_t * condition, pthread_mutex_t* mutex, const timespec* until),
             (condition, mutex, until))
WT_INTERPOSE(int, pthread_cond_clockwait,
             (pthread_cond_t * condition, pthread_mutex_t* mutex, clockid_t clock,
              const timespec* until),
             (condition, mutex, clock, until))
WT_INTERPOSE(int, sem_post, (sem_t * semaphore), (semaphore))
WT_INTERPOSE(int, sem_wait, (sem_t * semaphore), (semaphore))
WT_INTERPOSE(int, nanosleep, (const timespec* time, timespec* left), (time, left))
WT_INTERPOSE(int, clock_nanosleep,
             (clockid_t clock, int flags, const timespec* time, timespec* left),
             (clock, flags, time, left))
// Variadic in its header; what it passes on is at most six words.
WT_INTERPOSE(long, syscall,  // NOLINT(google-runtime-int): libc's type
             (long number, long a, long b, long c, long d, long e, long f),
             (number, a, b, c, d, e, f))
WT_INTERPOSE(int, usleep, (useconds_t time), (time))
WT_INTERPOSE(int, sched_yield, (), ())
WT_INTERPOSE(ssize_t, write, (int fd, const void* from, size_t nbytes), (fd, from, nbytes))
WT_INTERPOSE(ssize_t, pwrite, (int fd, const void* from, size_t nbytes, off_t at),
             (fd, from, nbytes, at))
WT_INTERPOSE(ssize_t, read, (int fd, void* to, size_t nbytes), (fd, to, nbytes))
WT_INTERPOSE(ssize_t, pread, (int fd, void* to, size_t nbytes, off_t at), (fd, to, nbytes, at))
WT_INTERPOSE(ssize_t, writev, (int fd, const iovec* from, int count), (fd, from, count))
WT_INTERPOSE(int, fsync, (int fd), (fd))
WT_INTERPOSE(int, fdatasync, (int fd), (fd))
WT_INTERPOSE(int, close, (int fd), (fd))
WT_INTERPOSE(void*, mmap,
             (void* at, size_t nbytes, int protection, int flags, int fd, off_t offset),
             (at, nbytes, protection, flags, fd, offset))
WT_INTERPOSE(int, munmap, (void* at, size_t nbytes), (at, nbytes))
WT_INTERPOSE(int, madvise, (void* at, size_t nbytes, int advice), (at, nbytes, advice))

}  // namespace wheeltapper::capture::interposed
