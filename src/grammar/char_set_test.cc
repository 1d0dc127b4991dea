#include "grammar/char_set.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace exo::grammar {
namespace {

bool Fits(const std::vector<ByteSequence>& sequences, std::string_view bytes) {
  return std::ranges::any_of(sequences, [&](const ByteSequence& sequence) {
    if (sequence.size != bytes.size()) return false;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const auto byte = static_cast<uint8_t>(bytes[i]);
      if (byte < sequence.bytes[i].low || byte > sequence.bytes[i].high) return false;
    }
    return true;
  });
}

TEST(CharSetTest, RangesJoinAndSurrogatesAreLeftOut) {
  CharSet set(10, 20);
  set.Add(30, 40);
  set.Add(21, 29);
  EXPECT_EQ(set, CharSet(10, 40));
  set.Add(5, 5);
  ASSERT_EQ(set.ranges().size(), 2u);
  EXPECT_TRUE(set.Has(5) && !set.Has(6) && set.Has(40) && !set.Has(41));
  EXPECT_EQ(set.Negated().Negated(), set);
  EXPECT_FALSE(CharSet::Any().Has(0xD800) || CharSet::Any().Has(0xDFFF));
  EXPECT_TRUE(CharSet(0xD800, 0xDFFF).empty());
  EXPECT_EQ(set.And(CharSet(40, 50)), CharSet(40, 40));
}

TEST(CharSetTest, Utf8HasTheCharactersOfTheSetAndNoOthers) {
  Rng rng(1);
  const std::vector<uint32_t> edges = {0,      0x7F,   0x80,    0x7FF,    0x800,   0xFFF,  0xD7FF,
                                       0xE000, 0xFFFF, 0x10000, 0x10FFFF, 0x3FFFF, 0x40000};
  for (int round = 0; round < 200; ++round) {
    CharSet set;
    for (int i = 0; i < 3; ++i) {
      const auto low = static_cast<uint32_t>(rng.Below(kLastChar));
      set.Add(rng.Below(2) == 0 ? edges[rng.Below(edges.size())] : low,
              low + static_cast<uint32_t>(rng.Below(5000)));
    }
    const auto sequences = Utf8Of(set);
    for (int i = 0; i < 300; ++i) {
      uint32_t c = static_cast<uint32_t>(rng.Below(kLastChar + 1));
      if (i % 3 == 0 && !set.empty()) {
        const CharRange& range = set.ranges()[rng.Below(set.ranges().size())];
        c = rng.Below(2) == 0 ? range.low : range.high + static_cast<uint32_t>(rng.Below(2));
      }
      if (c > kLastChar || (c >= 0xD800 && c < 0xE000)) continue;
      EXPECT_EQ(Fits(sequences, Utf8Of(c)), set.Has(c)) << c;
    }
  }
}

TEST(CharSetTest, WhatIsNotUtf8IsSeen) {
  std::vector<uint32_t> chars;
  EXPECT_TRUE(CharsOf("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", chars));
  EXPECT_EQ(chars, (std::vector<uint32_t>{'a', 0xE9, 0x20AC, 0x1F600}));
  for (const char* bad : {"\x80", "\xC3", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xFF", "\xC3("}) {
    EXPECT_FALSE(CharsOf(bad, chars)) << bad;
  }
}

}  // namespace
}  // namespace exo::grammar
