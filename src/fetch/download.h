// One file from a server to this disk: over several connections, going on where an earlier attempt
// ended, and under its name only when it is the file that was meant.
//
// Thread: the caller's, which it blocks. Nothing is shared between calls.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"
#include "fetch/web.h"

namespace exo::fetch {

struct Progress {
  uint64_t completed = 0, total = 0;  // bytes
  double bytes_per_second = 0;        // over the last seconds; 0: not known yet
  double seconds_left = 0;            // at that rate; 0: not known
  bool verifying = false;             // all is here and is being hashed
  unsigned silent_seconds = 0;        // since the last byte; 0: they come
};

struct DownloadOptions {
  WebOptions web;
  Target target;
  uint64_t bytes = 0;
  // Lower-case hexadecimal. Empty: nobody told it; then the file must not change while it comes,
  // and its length must be right.
  std::string sha256 = {};
  std::string_view prefix = {};  // bytes at its beginning that are known already
  std::string path;          // of the file; beside it PATH.part and PATH.part.json while it comes
  unsigned connections = 4;  // at once
  unsigned tries = 6;        // in a row that bring nothing
  Time retry = std::chrono::milliseconds(500);  // before another try; doubled each time
  Time silence = std::chrono::seconds(3);       // without a byte is told
  std::function<void(const Progress&)> progress = [](const Progress&) {};  // 4 times a second
  const std::atomic<bool>* cancel = nullptr;
};

// Errors: kDisconnected (cut too often: what has come is kept, and the same call goes on with it),
// kCancelled (likewise), kIo (disk: full ones are told before anything is asked for), kCorrupt (the
// file is another one than was announced: nothing is kept), kOverloaded (another process downloads
// it; the server asks to wait), kNotFound, kInvalid (refused).
Result<void> Download(const DownloadOptions& options);

// SHA-256 of a file, lower-case hexadecimal. Errors: kIo, kCancelled.
Result<std::string> HashOfFile(const std::string& path, const std::atomic<bool>* cancel);

}  // namespace exo::fetch
