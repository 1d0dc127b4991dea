#include "fetch/remote_reader.h"

#include <cstring>

#include "fetch/status.h"

namespace exo::fetch {

RemoteReader::RemoteReader(const WebOptions& web, const RemoteFile& file,
                           const std::atomic<bool>* cancel)
    : web_(web), target_(file.target), cancel_(cancel), stamp_{.bytes = file.bytes} {}

Result<void> RemoteReader::Read(uint64_t offset, std::span<std::byte> out) const {
  if (out.empty()) return {};
  const Response response = TRY(Get(web_, target_,
                                    {.headers = {"Accept-Encoding: identity"},
                                     .begin = offset,
                                     .end = offset + out.size(),
                                     .limit = out.size(),
                                     .cancel = cancel_}));
  const std::string host = HostOf(target_.url);
  if (response.status / 100 != 2) return StatusError(response.status, host);
  const bool all = offset == 0 && out.size() == stamp_.bytes;
  const auto range = ParseContentRange(response.Header("content-range"));
  const bool right = response.status == 206
                         ? range && range->begin == offset && range->total == stamp_.bytes
                         : all;
  if (!right || response.body.size() != out.size())
    return Fail(ErrorCode::kCorrupt, "{} sends another part than was asked for", host);
  std::memcpy(out.data(), response.body.data(), out.size());
  if (offset == prefix_.size()) prefix_ += response.body;
  return {};
}

}  // namespace exo::fetch
