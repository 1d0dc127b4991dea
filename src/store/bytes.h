// Little-endian bytes of this folder's files: written to the end of a vector, read off the front of
// a span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace exo::store {

inline std::span<const std::byte> BytesOf(std::string_view text) {
  return std::as_bytes(std::span(text));
}
template <class Tag, size_t N>
std::span<const std::byte> BytesOf(const Bytes<Tag, N>& id) {
  return std::as_bytes(std::span(id.bytes));
}

inline void Append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

template <class T>
void AppendInt(std::vector<std::byte>& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i) & 255));
  }
}

class ByteReader {
 public:
  // `what` names the file in errors.
  ByteReader(std::span<const std::byte> bytes, const char* what) : rest_(bytes), what_(what) {}

  // Errors: kCorrupt when fewer bytes are left.
  Result<std::span<const std::byte>> Take(uint64_t count) {
    if (count > rest_.size())
      return Fail(ErrorCode::kCorrupt, "{} ends {} bytes early", what_, count - rest_.size());
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  template <class T>
  Result<T> TakeInt() {
    const auto bytes = TRY(Take(sizeof(T)));
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    return static_cast<T>(value);
  }
  bool done() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
  const char* what_;
};

}  // namespace exo::store
