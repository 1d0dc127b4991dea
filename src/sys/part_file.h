// A file that is filled in any order and gets its name when it is whole: a download. Unlike
// FileWriter's it stays on disk when the process ends, so that another one goes on with it.
//
// Thread: the owner's. One process at a time: the file is locked while it is open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace exo::sys {

class PartFile {
 public:
  // Opens what an earlier process left at `path`, or creates it.
  // Errors: kOverloaded (another process fills it), kNotFound (no such folder), kIo, kInvalid
  // (there is something that is no regular file).
  static Result<std::unique_ptr<PartFile>> Open(const std::string& path);
  ~PartFile();  // the file stays
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  const std::string& path() const { return path_; }
  Result<uint64_t> Size() const;
  // Gives the file its length, and takes the room for it where the file system can.
  // Errors: kIo; a full disk is told with what is needed and what is free.
  Result<void> Reserve(uint64_t bytes);
  Result<void> Write(uint64_t offset, std::span<const std::byte> bytes);
  // Fills `out`. Errors: kIo, also where the file ends before.
  Result<void> Read(uint64_t offset, std::span<std::byte> out) const;
  // fsyncs and renames to `path`, in place of what is there; no other call may follow.
  Result<void> Commit(const std::string& path);
  // Deletes the file; no other call may follow.
  void Discard();

 private:
  PartFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

// Bytes that this user may still write on the file system of `path`; 0 when it cannot be told.
uint64_t FreeDiskBytes(const std::string& path);

}  // namespace exo::sys
