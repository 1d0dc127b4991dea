// A read-only mapping of a whole file, for weights that are computed with where they lie.
// Everything that is read once is read through sys::Disk instead.
//
// Touching a page that the file no longer has (it was cut off, its device failed) raises SIGBUS.
// While a mapping exists, a handler of that signal puts zeros in the place of the lost pages and
// marks the mapping as broken: the program goes on, and whoever computed from it must look at
// `broken()` before trusting the result. Faults outside of mappings end the program as before.
//
// Thread: any.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace exo::sys {

class MappedFile {
 public:
  // Mappings of a process at once.
  static constexpr size_t kMaxMappings = 1024;

  // Errors: kNotFound, kIo, kInvalid (not a regular file), kOverloaded (kMaxMappings).
  static Result<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Set for good once a page could not be read: bytes() may hold zeros that are not the file's.
  const std::atomic<bool>& broken() const { return broken_; }
  // Asks the system to read the whole file ahead, in the background.
  void WillNeed() const;

 private:
  MappedFile() = default;

  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t slot_ = kMaxMappings;
  std::atomic<bool> broken_{false};
};

}  // namespace exo::sys
