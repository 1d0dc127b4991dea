// A bounds-checked little-endian reader over bytes in memory: the only way the GGUF parser touches
// a file. Every read that would pass the end is an error naming the position.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/result.h"

namespace exo::model {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read in place");

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }
  std::span<const std::byte> Since(uint64_t start) const {
    return bytes_.subspan(start, at_ - start);
  }

  template <class T>
  Result<T> Read(std::string_view what) {
    if (left() < sizeof(T)) return Short(what, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  // A 64-bit length and that many bytes. The view lies in the file.
  Result<std::string_view> ReadString(std::string_view what, uint64_t limit) {
    const auto length = TRY(Read<uint64_t>(what));
    if (length > limit) {
      return Fail(ErrorCode::kCorrupt, "{} at byte {} claims {} bytes, the limit is {}", what,
                  at_ - 8, length, limit);
    }
    if (length > left()) return Short(what, length);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return text;
  }

  // `count * width` bytes; both come from the file.
  Result<void> Skip(uint64_t count, uint64_t width, std::string_view what) {
    if (width != 0 && count > left() / width) {
      return Fail(ErrorCode::kCorrupt,
                  "{} at byte {} claims {} elements of {} bytes, {} bytes are left", what, at_,
                  count, width, left());
    }
    at_ += count * width;
    return {};
  }

 private:
  std::unexpected<Error> Short(std::string_view what, uint64_t need) const {
    return Fail(ErrorCode::kCorrupt,
                "the file ends inside {}: {} bytes needed at byte {}, {} are left", what, need, at_,
                left());
  }

  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

}  // namespace exo::model
