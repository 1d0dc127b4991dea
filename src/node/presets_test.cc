#include "node/presets.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

TEST(PresetsTest, TheirTextGivesThemBack) {
  Presets presets;
  const Preset poet{.name = "poet",
                    .base = "exo-tiny",
                    .system = "Rhyme. \xE2\x9C\x93",
                    .messages = {{"user", "Hi"}, {"assistant", "Ho"}},
                    .chat_template = "{{ messages }}",
                    .parameters = R"({"temperature":0.5})",
                    .adapters = {{.file = "style", .scale = 0.5f}},
                    .license = "MIT",
                    .created = 1'700'000'000};
  ASSERT_TRUE(presets.Put(poet));
  ASSERT_TRUE(presets.Put({.name = "plain", .base = "exo-tiny"}));
  const auto again = Presets::Parse(Presets::Text(presets.All()));
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_EQ(again->All().size(), 2u);
  EXPECT_EQ(*again->Find("poet"), poet);
  EXPECT_EQ(again->Find("nobody"), nullptr);
  for (const char* bad : {"", "{", "[{}]", "[1]", R"([{"name":5}])"})
    EXPECT_FALSE(Presets::Parse(bad)) << bad;
}

TEST(PresetsTest, NamesAndSizesAreBounded) {
  Presets presets;
  for (const std::string& name :
       {std::string(), std::string(wire::kMaxName + 1, 'a'), std::string("a@b"),
        std::string("a\nb"), std::string(" m3 "), std::string("m1:"), std::string(":latest"),
        std::string("."), std::string("../x"), std::string("a//b"), std::string("/a"),
        std::string("a/"), std::string("a:b:c"), std::string("a:b/c"), std::string("-a"),
        std::string("\xC3\xA4")}) {
    EXPECT_EQ(presets.Put({.name = name, .base = "m"}).error().code, ErrorCode::kInvalid) << name;
  }
  for (const char* name : {"a", "hub.example/user/my_model-1.5:q4_0", "_", "7"}) {
    EXPECT_TRUE(presets.Put({.name = name, .base = "m"})) << name;
    EXPECT_TRUE(presets.Remove(name));
  }
  EXPECT_FALSE(
      presets.Put({.name = "a", .base = "m", .license = std::string(kMaxPresetBytes + 1, 'x')}));
  for (size_t i = 0; i < kMaxPresets; ++i)
    ASSERT_TRUE(presets.Put({.name = std::to_string(i), .base = "m"}));
  EXPECT_EQ(presets.Put({.name = "one-more", .base = "m"}).error().code, ErrorCode::kOverloaded);
  EXPECT_TRUE(presets.Put({.name = "7", .base = "other"}));  // in its place
  EXPECT_EQ(presets.Find("7")->base, "other");
  EXPECT_TRUE(presets.Remove("7"));
  EXPECT_FALSE(presets.Remove("7"));
}

}  // namespace
}  // namespace exo::node
