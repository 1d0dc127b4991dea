#include "model/charsmap.h"

#include <cstring>

#include "model/utf8.h"

namespace exo::model {
namespace {

// A node of the array: its label or value, whether its children hold a value, and the offset by
// which they are found.
constexpr uint32_t kLeaf = 1u << 8;
constexpr uint32_t kValueMask = (1u << 31) - 1;

uint32_t LabelOf(uint32_t node) {
  return node & ((1u << 31) | 0xff);
}
uint32_t OffsetOf(uint32_t node) {
  return (node >> 10) << ((node & (1u << 9)) >> 6);
}

}  // namespace

Result<Charsmap> Charsmap::Parse(std::span<const std::byte> bytes) {
  uint32_t length = 0;
  if (bytes.size() < sizeof(length))
    return Fail(ErrorCode::kCorrupt, "a map of characters of {} bytes", bytes.size());
  std::memcpy(&length, bytes.data(), sizeof(length));
  const auto rest = bytes.subspan(sizeof(length));
  if (length % sizeof(uint32_t) != 0 || length >= rest.size() || rest.back() != std::byte{}) {
    return Fail(ErrorCode::kCorrupt,
                "a map of characters with an array of {} bytes of {}, and replacements behind it "
                "that must end in a zero",
                length, rest.size());
  }
  Charsmap map;
  map.nodes_.resize(length / sizeof(uint32_t));
  std::memcpy(map.nodes_.data(), rest.data(), length);
  const auto texts = rest.subspan(length);
  map.replacements_.assign(reinterpret_cast<const char*>(texts.data()), texts.size());
  return map;
}

Charsmap::Match Charsmap::Find(std::string_view text) const {
  Match match;
  if (nodes_.empty()) return match;
  uint32_t at = OffsetOf(nodes_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= nodes_.size() || LabelOf(nodes_[at]) != byte) break;
    const uint32_t node = nodes_[at];
    at ^= OffsetOf(node);
    if ((node & kLeaf) == 0) continue;
    if (at >= nodes_.size()) break;
    const uint32_t value = nodes_[at] & kValueMask;
    if (value >= replacements_.size()) break;
    match = {.length = i + 1, .replacement = replacements_.c_str() + value};
  }
  return match;
}

std::string Charsmap::Normalize(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Match match = Find(text);
    size_t length = match.length;
    if (length > 0) {
      out += match.replacement;
    } else if ((length = Utf8Length(text, 0)) > 0) {
      out += text.substr(0, length);
    } else {
      out += "\xef\xbf\xbd";
      length = 1;
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace exo::model
