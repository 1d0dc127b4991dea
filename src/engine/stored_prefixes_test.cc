#include "engine/stored_prefixes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace exo::engine {
namespace {

constexpr uint32_t kPage = 4;

std::vector<TokenId> Text(TokenId first, size_t count) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < count; ++i) tokens.push_back(first + static_cast<TokenId>(i));
  return tokens;
}

Hash256 Scope(uint8_t kv_type = 0) {
  return ScopeOf({.kv_type = kv_type});
}

// Adds all pages of a text; their keys.
std::vector<Hash256> AddAll(StoredPrefixes& stored, const std::vector<TokenId>& text) {
  std::vector<Hash256> keys;
  Hash256 parent;
  for (size_t at = 0; at < text.size(); at += kPage) {
    const auto page = std::span(text).subspan(at, std::min<size_t>(kPage, text.size() - at));
    const Hash256 key = stored.KeyOf(parent, page);
    stored.Add(key, parent, {page.begin(), page.end()});
    parent = key;
    keys.push_back(parent);
  }
  return keys;
}

TEST(StoredPrefixesTest, FindsTheLongestBeginningThatIsStored) {
  StoredPrefixes stored(Scope(), kPage);
  EXPECT_TRUE(stored.Find(Text(1, 10)).pages.empty());
  const auto keys = AddAll(stored, Text(1, 10));
  ASSERT_EQ(stored.size(), 3u);
  const auto chain = stored.Find(Text(1, 20));
  EXPECT_EQ(chain.length, 10u);
  ASSERT_EQ(chain.pages.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(chain.pages[i].key, keys[i]);
  EXPECT_EQ(chain.pages[2].count, 2u);
}

TEST(StoredPrefixesTest, APartOfAPageMatches) {
  StoredPrefixes stored(Scope(), kPage);
  const auto keys = AddAll(stored, Text(1, 8));
  auto text = Text(1, 8);
  text[6] = 99;
  const auto chain = stored.Find(text);
  EXPECT_EQ(chain.length, 6u);
  ASSERT_EQ(chain.pages.size(), 2u);
  EXPECT_EQ(chain.pages[1].key, keys[1]);
  EXPECT_EQ(chain.pages[1].count, 2u);
  text[0] = 98;
  EXPECT_EQ(stored.Find(text).length, 0u);
}

TEST(StoredPrefixesTest, OfSeveralPagesTheOneThatSharesMostIsTaken) {
  StoredPrefixes stored(Scope(), kPage);
  AddAll(stored, Text(1, 6));
  auto other = Text(1, 8);
  other[7] = 50;
  const auto keys = AddAll(stored, other);
  const auto chain = stored.Find(Text(1, 12));
  EXPECT_EQ(chain.length, 7u);
  EXPECT_EQ(chain.pages.back().key, keys[1]);
  EXPECT_EQ(chain.pages.back().count, 3u);
}

TEST(StoredPrefixesTest, WithAPageAllThatIsBehindItGoes) {
  StoredPrefixes stored(Scope(), kPage);
  const auto keys = AddAll(stored, Text(1, 12));
  auto branch = Text(1, 8);
  branch[5] = 70;
  AddAll(stored, branch);
  ASSERT_EQ(stored.size(), 4u);
  stored.Remove(keys[1], false);
  EXPECT_EQ(stored.size(), 2u);
  EXPECT_FALSE(stored.Has(keys[1], true));
  EXPECT_FALSE(stored.Has(keys[2], true));
  EXPECT_EQ(stored.Find(Text(1, 12)).length, 5u) << "the branch is still there";
  stored.Remove(keys[0], false);
  EXPECT_EQ(stored.size(), 0u);
}

// Pages of a text with a window of 6, which reaches back over two pages of 4: those named in `bare`
// lack it.
class WindowedPrefixesTest : public testing::Test {
 protected:
  void AddPages(const std::vector<TokenId>& text, std::vector<bool> bare) {
    Hash256 parent;
    for (size_t i = 0; i < bare.size(); ++i) {
      const size_t at = i * kPage;
      const auto page = std::span(text).subspan(at, std::min<size_t>(kPage, text.size() - at));
      const Hash256 key = stored_.KeyOf(parent, page);
      stored_.Add(StoredKeyOf(key, bare[i]), parent, {page.begin(), page.end()});
      parent = key;
    }
  }
  // "bww" and the length, of what is found of a text.
  std::pair<std::string, uint32_t> Find(const std::vector<TokenId>& text) const {
    const auto chain = stored_.Find(text);
    std::string forms;
    uint32_t length = 0;
    for (const auto& page : chain.pages) {
      forms += page.bare ? 'b' : 'w';
      length += page.count;
    }
    EXPECT_EQ(length, chain.length);
    return {forms, length};
  }
  using Found = std::pair<std::string, uint32_t>;
  StoredPrefixes stored_{Scope(), kPage, 6};
};

TEST_F(WindowedPrefixesTest, OnlyWhereItsWindowIsStoredCanATextBeGoneOnWith) {
  AddPages(Text(1, 19), {true, true, true, false, false});
  EXPECT_EQ(Find(Text(1, 30)), Found("bbbww", 19));
  EXPECT_EQ(Find(Text(1, 17)), Found("bbbww", 17)) << "attends from 12 on";
  EXPECT_EQ(Find(Text(1, 16)), Found("", 0)) << "attends from 11 on";
  auto other = Text(1, 19);
  other[14] = 99;
  EXPECT_EQ(Find(other), Found("", 0));
  // The end of a prompt, which another answer goes on from.
  AddPages(Text(1, 7), {false, false});
  EXPECT_EQ(Find(other), Found("ww", 7));
  EXPECT_EQ(Find(Text(1, 30)), Found("bbbww", 19)) << "no more than is needed";
  EXPECT_EQ(Find(Text(1, 3)), Found("w", 3));
}

TEST_F(WindowedPrefixesTest, AWholePageServesAsABareOne) {
  AddPages(Text(1, 18), {false, true, false, false, false});
  EXPECT_EQ(Find(Text(1, 30)), Found("wbwww", 18));
  EXPECT_EQ(Find(Text(1, 12)), Found("w", 4)) << "attends from 7 on";
  const Hash256 first = stored_.KeyOf({}, Text(1, 4));
  EXPECT_TRUE(stored_.Has(first, true));
  const Hash256 second = stored_.KeyOf(first, Text(5, 4));
  EXPECT_TRUE(stored_.Has(second, true));
  EXPECT_FALSE(stored_.Has(second, false));
}

TEST_F(WindowedPrefixesTest, APageGoesWithItsLastForm) {
  AddPages(Text(1, 12), {false, false, false});
  AddPages(Text(1, 12), {true, true, true});
  ASSERT_EQ(stored_.size(), 3u);
  EXPECT_EQ(Find(Text(1, 12)), Found("bww", 12));
  const Hash256 first = stored_.KeyOf({}, Text(1, 4));
  stored_.Remove(first, true);
  EXPECT_EQ(Find(Text(1, 12)), Found("www", 12));
  stored_.Remove(stored_.KeyOf(first, Text(5, 4)), false);
  EXPECT_EQ(Find(Text(1, 12)), Found("w", 4));
  stored_.Remove(first, false);
  EXPECT_EQ(stored_.size(), 0u);
}

TEST(StoredPrefixesTest, PagesMayComeBeforeTheirParents) {
  StoredPrefixes stored(Scope(), kPage);
  const Hash256 first = stored.KeyOf({}, Text(1, 4));
  stored.Add(stored.KeyOf(first, Text(5, 4)), first, Text(5, 4));
  EXPECT_EQ(stored.Find(Text(1, 8)).length, 0u);
  stored.Add(first, {}, Text(1, 4));
  EXPECT_EQ(stored.Find(Text(1, 8)).length, 8u);
}

TEST(StoredPrefixesTest, RowsThatLostOtherBitsHaveOtherNames) {
  const auto scope = [](wire::Codec codec, std::vector<uint32_t> cuts) {
    return ScopeOf({.loss = {codec, std::move(cuts)}});
  };
  EXPECT_NE(scope(wire::Codec::kInt8, {2, 5}), Scope());
  EXPECT_NE(scope(wire::Codec::kInt8, {2, 5}), scope(wire::Codec::kInt4, {2, 5}));
  EXPECT_NE(scope(wire::Codec::kInt8, {2, 5}), scope(wire::Codec::kInt8, {3, 5}));
  EXPECT_EQ(scope(wire::Codec::kInt8, {2, 5}), scope(wire::Codec::kInt8, {2, 5}));
}

TEST(StoredPrefixesTest, KeysTellScopesParentsAndTokensApart) {
  const StoredPrefixes f16(Scope(0), kPage), q8(Scope(1), kPage);
  const auto key = f16.KeyOf({}, Text(1, 4));
  EXPECT_NE(key, q8.KeyOf({}, Text(1, 4)));
  EXPECT_NE(key, f16.KeyOf(key, Text(1, 4)));
  EXPECT_NE(key, f16.KeyOf({}, Text(1, 3)));
  EXPECT_NE(key, f16.KeyOf({}, Text(2, 4)));
  EXPECT_EQ(key, f16.KeyOf({}, Text(1, 4)));
}

TEST(StoredPrefixesTest, WhatIsNoPageIsIgnored) {
  StoredPrefixes stored(Scope(), kPage);
  const auto add = [&](const std::vector<TokenId>& tokens) {
    stored.Add(stored.KeyOf({}, tokens), {}, tokens);
  };
  add({});
  add(Text(1, 5));
  stored.Add(stored.KeyOf({}, Text(2, 4)), {}, Text(1, 4));
  EXPECT_EQ(stored.size(), 0u) << "a text of another page";
  stored.Remove(stored.KeyOf({}, Text(1, 4)), false);
  add(Text(1, 4));
  add(Text(1, 4));
  EXPECT_EQ(stored.size(), 1u);
}

}  // namespace
}  // namespace exo::engine
