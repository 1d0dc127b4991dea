#include "sys/log_line.h"

#include <gtest/gtest.h>

namespace exo::sys {
namespace {

constexpr std::string_view kTime = "2026-01-31T12:00:00.000Z";

std::string Json(std::string_view text) {
  return JsonLogLine(
      {.time = kTime, .level = LogLevel::kWarning, .node = "kitchen/1f3a09b2", .text = text});
}

TEST(LogLineTest, TextIsForPeople) {
  EXPECT_EQ(TextLogLine({.time = kTime, .level = LogLevel::kInfo, .node = "desk", .text = "a\nb"}),
            "2026-01-31T12:00:00.000Z info desk: a\\nb");
  EXPECT_EQ(TextLogLine({.text = std::string(9999, 'x')}).size(), kMaxLogLine - 1);
}

TEST(LogLineTest, JsonHasWhatTheLineIsAbout) {
  EXPECT_EQ(Json("request=ff7f203b node=01010101 tiny: ended"),
            R"({"time":"2026-01-31T12:00:00.000Z","level":"warning","node":"kitchen/1f3a09b2",)"
            R"("request":"ff7f203b","text":"request=ff7f203b node=01010101 tiny: ended"})");
  EXPECT_NE(Json("plan=0a1b2c3d: gone").find(R"(,"plan":"0a1b2c3d",)"), std::string::npos);
  EXPECT_NE(Json("peer=1f3a09b2: lost").find(R"(,"peer":"1f3a09b2",)"), std::string::npos);
  for (const char* text : {"", "request", "request=", "request= x", "the request=ff"})
    EXPECT_EQ(Json(text).find(R"("request":)"), std::string::npos) << text;
}

TEST(LogLineTest, JsonIsOneValidLineWhateverItSays) {
  EXPECT_TRUE(Json("say \"x\\y\"\n").ends_with(R"("text":"say \"x\\y\"\\n"})"));
  EXPECT_TRUE(Json("\xff").ends_with("\"text\":\"\xEF\xBF\xBD\"}"));
  // Cut between characters, also where each of them is escaped.
  for (const char* one : {"x", "\"", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"}) {
    std::string text;
    while (text.size() < 2 * kMaxLogLine) text += one;
    for (size_t shift = 0; shift < 4; ++shift) {
      const std::string line = Json(std::string(shift, '-') + text);
      EXPECT_LT(line.size(), kMaxLogLine);
      EXPECT_GT(line.size(), kMaxLogLine - 8);
      EXPECT_TRUE(line.ends_with(std::string(one == std::string("\"") ? "\\" : "") + one + "\"}"));
    }
  }
}

}  // namespace
}  // namespace exo::sys
