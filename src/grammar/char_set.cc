#include "grammar/char_set.h"

#include <algorithm>

namespace exo::grammar {
namespace {

constexpr uint32_t kSurrogates = 0xD800;  // to 0xDFFF
constexpr uint32_t kBehindSurrogates = 0xE000;

// `low` and `high` have UTF-8 of the same length.
void AddSequences(uint32_t low, uint32_t high, size_t size, std::vector<ByteSequence>& out) {
  // Ranges that differ in more than their last bytes are cut until all but one byte are whole.
  for (size_t i = 1; i < size; ++i) {
    const uint32_t mask = (1u << (6 * i)) - 1;
    if ((low & ~mask) == (high & ~mask)) continue;
    if ((low & mask) != 0) {
      AddSequences(low, low | mask, size, out);
      return AddSequences((low | mask) + 1, high, size, out);
    }
    if ((high & mask) != mask) {
      AddSequences(low, (high & ~mask) - 1, size, out);
      return AddSequences(high & ~mask, high, size, out);
    }
  }
  const std::string first = Utf8Of(low), last = Utf8Of(high);
  ByteSequence sequence{.size = size};
  for (size_t i = 0; i < size; ++i)
    sequence.bytes[i] = {static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i])};
  out.push_back(sequence);
}

}  // namespace

CharSet CharSet::OfAscii(std::string_view chars) {
  CharSet set;
  for (const char c : chars) set.Add(static_cast<uint8_t>(c), static_cast<uint8_t>(c));
  return set;
}

void CharSet::Add(uint32_t low, uint32_t high) {
  high = std::min(high, kLastChar);
  if (low > high) return;
  if (low < kBehindSurrogates && high >= kSurrogates) {
    if (low < kSurrogates) Add(low, kSurrogates - 1);
    if (high >= kBehindSurrogates) Add(kBehindSurrogates, high);
    return;
  }
  auto at = std::ranges::lower_bound(ranges_, low, {}, &CharRange::low);
  if (at != ranges_.begin() && std::prev(at)->high + 1 >= low) --at;
  CharRange merged{low, high};
  auto end = at;
  for (; end != ranges_.end() && end->low <= merged.high + 1; ++end) {
    merged.low = std::min(merged.low, end->low);
    merged.high = std::max(merged.high, end->high);
  }
  at = ranges_.erase(at, end);
  ranges_.insert(at, merged);
}

void CharSet::Add(const CharSet& other) {
  for (const CharRange& range : other.ranges_) Add(range.low, range.high);
}

CharSet CharSet::Negated() const {
  CharSet out;
  uint32_t next = 0;
  for (const CharRange& range : ranges_) {
    if (range.low > next) out.Add(next, range.low - 1);
    next = range.high + 1;
  }
  out.Add(next, kLastChar);
  return out;
}

CharSet CharSet::And(const CharSet& other) const {
  CharSet out;
  for (size_t i = 0, j = 0; i < ranges_.size() && j < other.ranges_.size();) {
    const CharRange &a = ranges_[i], &b = other.ranges_[j];
    out.Add(std::max(a.low, b.low), std::min(a.high, b.high));
    ++(a.high < b.high ? i : j);
  }
  return out;
}

bool CharSet::Has(uint32_t c) const {
  const auto behind = std::ranges::upper_bound(ranges_, c, {}, &CharRange::low);
  return behind != ranges_.begin() && std::prev(behind)->high >= c;
}

std::vector<ByteSequence> Utf8Of(const CharSet& set) {
  constexpr std::array<uint32_t, 5> kLimits = {0, 0x80, 0x800, 0x10000, kLastChar + 1};
  std::vector<ByteSequence> out;
  for (const CharRange& range : set.ranges()) {
    for (size_t size = 1; size <= 4; ++size) {
      const uint32_t low = std::max(range.low, kLimits[size - 1]);
      const uint32_t high = std::min(range.high, kLimits[size] - 1);
      if (low <= high) AddSequences(low, high, size, out);
    }
  }
  return out;
}

std::string Utf8Of(uint32_t c) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | (c >> shift & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

bool CharsOf(std::string_view text, std::vector<uint32_t>& out) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if ((lead >= 0x80 && lead < 0xC2) || lead > 0xF4 || i + size > text.size()) return false;
    uint32_t c = size == 1 ? lead : lead & (0x7Fu >> size);
    for (size_t k = 1; k < size; ++k) c = c << 6 | (static_cast<uint8_t>(text[i + k]) & 0x3F);
    // What is overlong, a surrogate or badly continued is written otherwise.
    if (c > kLastChar || Utf8Of(c) != text.substr(i, size) ||
        (c >= kSurrogates && c < kBehindSurrogates))
      return false;
    out.push_back(c);
    i += size;
  }
  return true;
}

}  // namespace exo::grammar
