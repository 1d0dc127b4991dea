// Sets of Unicode characters, and their UTF-8 bytes. Surrogates are no characters: no set has them.
//
// Values. Thread: any.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace exo::grammar {

inline constexpr uint32_t kLastChar = 0x10FFFF;

struct CharRange {
  uint32_t low = 0, high = 0;  // both included
  friend auto operator<=>(const CharRange&, const CharRange&) = default;
};

class CharSet {
 public:
  CharSet() = default;
  CharSet(uint32_t low, uint32_t high) { Add(low, high); }
  static CharSet Any() { return {0, kLastChar}; }
  // Each character of an ASCII text.
  static CharSet OfAscii(std::string_view chars);

  void Add(uint32_t low, uint32_t high);
  void Add(const CharSet& other);
  CharSet Negated() const;
  CharSet And(const CharSet& other) const;
  bool Has(uint32_t c) const;
  bool empty() const { return ranges_.empty(); }
  // Ascending, with a gap between any two.
  std::span<const CharRange> ranges() const { return ranges_; }
  friend auto operator<=>(const CharSet&, const CharSet&) = default;

 private:
  std::vector<CharRange> ranges_;
};

struct ByteRange {
  uint8_t low = 0, high = 0;
};
// One to four byte ranges whose product is the UTF-8 of some characters.
struct ByteSequence {
  std::array<ByteRange, 4> bytes = {};
  size_t size = 0;
};
// The UTF-8 of the characters of a set: sequences without a common text.
std::vector<ByteSequence> Utf8Of(const CharSet& set);
std::string Utf8Of(uint32_t c);
// Appends the characters of a text. False: it is not UTF-8.
bool CharsOf(std::string_view text, std::vector<uint32_t>& out);

}  // namespace exo::grammar
