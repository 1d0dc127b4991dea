// Mutex, MutexLock and CondVar: the standard ones with clang's thread-safety attributes, so that a
// field marked EXO_GUARDED_BY cannot be read or written without its mutex (-Wthread-safety is an
// error in every clang build). Use these instead of std::mutex: the analysis does not see that one.
//
// Not recursive, not shared, not timed: nothing here needs those.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define EXO_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define EXO_THREAD_ATTRIBUTE(x)
#endif
// The field is only touched while `mutex` is held.
#define EXO_GUARDED_BY(mutex) EXO_THREAD_ATTRIBUTE(guarded_by(mutex))
// The function is only called while the mutex is held.
#define EXO_REQUIRES(...) EXO_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
// The function takes the mutex itself: the caller must not hold it.
#define EXO_EXCLUDES(...) EXO_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))

namespace exo {

class EXO_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() EXO_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void Unlock() EXO_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

// Holds `mutex` from its construction to the end of its scope.
class EXO_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) EXO_THREAD_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() EXO_THREAD_ATTRIBUTE(release_capability()) { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits may end without a notification: wait in a loop around the condition. The loop stands in the
// function that holds the lock, where the analysis can see the condition's accesses.
class CondVar {
 public:
  void Wait(Mutex& mutex) EXO_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    changed_.wait(lock);
    lock.release();
  }
  // False when `deadline` has passed.
  bool WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) EXO_REQUIRES(mutex) {
    std::unique_lock lock(mutex.mutex_, std::adopt_lock);
    const bool in_time = changed_.wait_until(lock, deadline) == std::cv_status::no_timeout;
    lock.release();
    return in_time;
  }
  void NotifyOne() { changed_.notify_one(); }
  void NotifyAll() { changed_.notify_all(); }

 private:
  std::condition_variable changed_;
};

}  // namespace exo
