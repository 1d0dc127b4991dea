#include "engine/stored_prefixes.h"

#include <gtest/gtest.h>

#include <algorithm>

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
    stored.Add(parent, {page.begin(), page.end()});
    parent = stored.KeyOf(parent, page);
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
  stored.Remove(keys[1]);
  EXPECT_EQ(stored.size(), 2u);
  EXPECT_FALSE(stored.Has(keys[1]));
  EXPECT_FALSE(stored.Has(keys[2]));
  EXPECT_EQ(stored.Find(Text(1, 12)).length, 5u) << "the branch is still there";
  stored.Remove(keys[0]);
  EXPECT_EQ(stored.size(), 0u);
}

TEST(StoredPrefixesTest, PagesMayComeBeforeTheirParents) {
  StoredPrefixes stored(Scope(), kPage);
  const Hash256 first = stored.KeyOf({}, Text(1, 4));
  stored.Add(first, Text(5, 4));
  EXPECT_EQ(stored.Find(Text(1, 8)).length, 0u);
  stored.Add({}, Text(1, 4));
  EXPECT_EQ(stored.Find(Text(1, 8)).length, 8u);
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
  stored.Add({}, {});
  stored.Add({}, Text(1, 5));
  EXPECT_EQ(stored.size(), 0u);
  stored.Remove(stored.KeyOf({}, Text(1, 4)));
  stored.Add({}, Text(1, 4));
  stored.Add({}, Text(1, 4));
  EXPECT_EQ(stored.size(), 1u);
}

}  // namespace
}  // namespace exo::engine
