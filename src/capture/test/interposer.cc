#include "interposer.h"

#include <cstddef>
#include <ctime>

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

// Plain thread-local data of the executable: reading it calls nothing.
thread_local bool t_inside = false;
thread_local int64_t t_forbidden = 0;
thread_local const char* t_first = "";

void Count(const char* name) {
  if (t_inside) {
    t_first = t_forbidden++ == 0 ? name : t_first;
  }
}

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

namespace wheeltapper::capture {

HotPathScope::HotPathScope() {
  t_forbidden = 0;
  t_first = "";
  t_inside = true;
}
HotPathScope::~HotPathScope() { t_inside = false; }
int64_t HotPathScope::forbidden() { return t_forbidden; }
const char* HotPathScope::first() { return t_first; }

}  // namespace wheeltapper::capture

extern "C" {

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

#define WT_EXPORT __attribute__((visibility("default")))

WT_EXPORT void* malloc(size_t nbytes) {
  Count("malloc");
  return __libc_malloc(nbytes);
}
WT_EXPORT void* calloc(size_t count, size_t nbytes) {
  Count("calloc");
  return __libc_calloc(count, nbytes);
}
WT_EXPORT void* realloc(void* old, size_t nbytes) {
  Count("realloc");
  return __libc_realloc(old, nbytes);
}
WT_EXPORT void* memalign(size_t alignment, size_t nbytes) {
  Count("memalign");
  return __libc_memalign(alignment, nbytes);
}
WT_EXPORT void* aligned_alloc(size_t alignment, size_t nbytes) {
  Count("aligned_alloc");
  return __libc_memalign(alignment, nbytes);
}
WT_EXPORT void free(void* memory) {
  if (memory != nullptr) {
    Count("free");
  }
  __libc_free(memory);
}

// NAME(type, name, (parameters), (arguments)): counted, then passed on. The pointer is looked up at
// each call: slow, and nothing here needs to be fast.
#define WT_INTERPOSE(type, name, parameters, arguments) \
  WT_EXPORT type name parameters {                      \
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
WT_INTERPOSE(int, sem_post, (sem_t * semaphore), (semaphore))
WT_INTERPOSE(int, sem_wait, (sem_t * semaphore), (semaphore))
WT_INTERPOSE(int, nanosleep, (const timespec* time, timespec* left), (time, left))
WT_INTERPOSE(int, usleep, (useconds_t time), (time))
WT_INTERPOSE(int, sched_yield, (), ())
WT_INTERPOSE(ssize_t, write, (int fd, const void* from, size_t nbytes), (fd, from, nbytes))
WT_INTERPOSE(ssize_t, pwrite, (int fd, const void* from, size_t nbytes, off_t at),
             (fd, from, nbytes, at))
WT_INTERPOSE(ssize_t, read, (int fd, void* to, size_t nbytes), (fd, to, nbytes))
WT_INTERPOSE(ssize_t, pread, (int fd, void* to, size_t nbytes, off_t at), (fd, to, nbytes, at))
WT_INTERPOSE(int, fdatasync, (int fd), (fd))
WT_INTERPOSE(int, close, (int fd), (fd))
WT_INTERPOSE(void*, mmap,
             (void* at, size_t nbytes, int protection, int flags, int fd, off_t offset),
             (at, nbytes, protection, flags, fd, offset))
WT_INTERPOSE(int, munmap, (void* at, size_t nbytes), (at, nbytes))
WT_INTERPOSE(int, madvise, (void* at, size_t nbytes, int advice), (at, nbytes, advice))

}  // extern "C"
