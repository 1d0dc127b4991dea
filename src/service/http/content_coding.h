// Compressed request bodies: which coding a request names, and the body without it.
//
// Thread: any. A body costs up to 25 ms: the router decodes on its worker.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "service/http/body_budget.h"
#include "service/http/error.h"

namespace exo::service {

enum class Coding : uint8_t { kIdentity, kGzip, kDeflate, kZstd };
// As an Accept-Encoding field names those that a body may have.
inline constexpr std::string_view kCodings = "gzip, deflate, zstd";

// What the Content-Encoding fields of a request say.
// Errors: 415 for another coding, and for more than one.
Parsed<Coding> CodingOf(const std::vector<std::string>& fields);

// What a body was before it was compressed, `limit` bytes at most. `deflate` is taken with and
// without zlib's header, since clients send both. The memory comes out of `lease`, beside what the
// compressed body has there, as it is needed: a small body that claims to be a large one costs
// nothing.
// Errors: 400 (damaged, cut short, or followed by something else), 413, 503 (no memory left).
Parsed<std::string> Decode(Coding coding, std::string_view body, size_t limit, BodyLease& lease);

}  // namespace exo::service
