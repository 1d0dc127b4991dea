// What a server's status and header fields mean to somebody who wants a file.
// Thread: pure, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/units.h"
#include "fetch/web.h"

namespace exo::fetch {

// Of an answer that is none of what was asked for.
// Errors: kDisconnected (5xx) and kOverloaded (429): worth another try; kNotFound, kInvalid
// (refused), kCorrupt (416: the file is shorter than announced).
std::unexpected<Error> StatusError(unsigned status, const std::string& host);
std::unexpected<Error> StatusError(const Request& request, const std::string& host);

// How long the server asks to wait (Retry-After in seconds); 0: it does not say.
Time RetryAfter(const Request& request);

// Content-Range of a 206: "bytes 16-31/100" begins at 16 and is of 100.
struct ContentRange {
  uint64_t begin = 0, total = 0;
};
std::optional<ContentRange> ParseContentRange(const std::string& text);

}  // namespace exo::fetch
