// Memory of weights, KV caches and scratch: aligned to a page, from 2 MiB on to a huge page and in
// huge pages where the system has them; zero until touched, given back to the system at once when
// freed.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "base/result.h"

namespace exo::backend {

class Buffer {
 public:
  Buffer() = default;
  // Errors: kOverloaded with the size when the system refuses.
  static Result<Buffer> Allocate(size_t bytes);
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <class T>
  std::span<T> As() const {
    return {reinterpret_cast<T*>(data_), size_ / sizeof(T)};
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace exo::backend
