#include "grammar/cache.h"

#include <gtest/gtest.h>

#include <string>

#include "grammar/grammar.h"

namespace exo::grammar {
namespace {

wire::Grammar Schema(const std::string& text) {
  return WholeAnswer(wire::GrammarKind::kJsonSchema, text);
}

TEST(GrammarCacheTest, CompilesATextOnce) {
  Cache cache;
  const auto first = cache.Compile(Schema(R"({"type":"string"})"));
  const auto again = cache.Compile(Schema(R"({"type":"string"})"));
  ASSERT_TRUE(first && again);
  EXPECT_EQ(*first, *again);
  EXPECT_NE(*first, cache.Compile(Schema(R"({"type":"number"})")).value());
}

TEST(GrammarCacheTest, TellsGrammarsOfOneTextApart) {
  Cache cache;
  wire::Grammar grammar = Schema(R"({"type":"string"})");
  grammar.triggered = true;
  grammar.parts[0].begin = "<call>";
  const auto behind_trigger = cache.Compile(grammar);
  grammar.required = true;
  const auto required = cache.Compile(grammar);
  ASSERT_TRUE(behind_trigger && required);
  EXPECT_NE(*behind_trigger, *required);
}

TEST(GrammarCacheTest, KeepsRefusals) {
  Cache cache;
  const auto first = cache.Compile(Schema(R"({"$ref":"elsewhere"})"));
  const uint64_t bytes = cache.bytes();
  const auto again = cache.Compile(Schema(R"({"$ref":"elsewhere"})"));
  ASSERT_FALSE(first || again);
  EXPECT_EQ(first.error().message, again.error().message);
  EXPECT_GT(bytes, 0u);
  EXPECT_EQ(cache.bytes(), bytes);
}

TEST(GrammarCacheTest, ForgetsWhatWasNotUsedForLongest) {
  constexpr uint64_t kMax = 16u << 10;
  Cache cache(kMax);
  const auto used = cache.Compile(Schema(R"({"type":"boolean"})"));
  const std::weak_ptr<const Automaton> unused = cache.Compile(Schema(R"({"type":"null"})")).value();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(cache.Compile(Schema(R"({"const":)" + std::to_string(i) + "}")));
    ASSERT_EQ(*cache.Compile(Schema(R"({"type":"boolean"})")), *used);
    ASSERT_LE(cache.bytes(), kMax);
  }
  EXPECT_TRUE(unused.expired());
}

}  // namespace
}  // namespace exo::grammar
