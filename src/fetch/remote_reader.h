// A file of a server, read in place by ranges: for its head, before anybody decides to download it.
//
// Thread: one at a time; Read blocks.
#pragma once

#include <atomic>
#include <string>

#include "fetch/source.h"
#include "sys/files.h"

namespace exo::fetch {

class RemoteReader final : public sys::ReadableFile {
 public:
  // `cancel` must outlive this object; null: nobody cancels.
  RemoteReader(const WebOptions& web, const RemoteFile& file, const std::atomic<bool>* cancel);

  const sys::FileStamp& stamp() const override { return stamp_; }  // its length
  // Errors: kDisconnected, kNotFound, kInvalid, kCorrupt (the file has changed), kCancelled.
  Result<void> Read(uint64_t offset, std::span<std::byte> out) const override;
  // The file's first bytes, as far as they were read without a gap.
  std::string TakePrefix() { return std::move(prefix_); }

 private:
  const WebOptions web_;
  const Target target_;
  const std::atomic<bool>* cancel_;
  sys::FileStamp stamp_;
  mutable std::string prefix_;
};

}  // namespace exo::fetch
