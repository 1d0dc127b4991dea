#include "sys/recent_log.h"

#include <gtest/gtest.h>

namespace exo::sys {
namespace {

TEST(RecentLogTest, KeepsTheLastLinesFromInfoOn) {
  KeepLog(LogLevel::kOff);  // nothing on standard error
  LOG(kDebug, "too low");
  LOG(kInfo, "first");
  const auto one = KeptLogLines(0);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].text, "first");
  EXPECT_EQ(one[0].level, LogLevel::kInfo);
  EXPECT_GT(one[0].number, uint64_t{1'600'000'000} * 1'000'000);
  EXPECT_GT(one[0].time_ms, int64_t{1'600'000'000} * 1'000);
  for (size_t i = 1; i < kKeptLogLines; ++i) LOG(kWarning, "{}", i);
  LOG(kError, "\xff{}", std::string(2 * kKeptLogBytes, 'x'));
  const auto all = KeptLogLines(0);
  ASSERT_EQ(all.size(), kKeptLogLines);
  EXPECT_EQ(all[0].text, "1") << "the first one made room";
  EXPECT_EQ(all.back().number, one[0].number + kKeptLogLines);
  EXPECT_LE(all.back().text.size(), kKeptLogBytes + 2);
  EXPECT_TRUE(all.back().text.starts_with("\xef\xbf\xbdx")) << "it is UTF-8";
  EXPECT_EQ(KeptLogLines(all[997].number).size(), 2u);
  EXPECT_TRUE(KeptLogLines(all.back().number).empty());
  SetLog(nullptr, LogLevel::kWarning);
}

}  // namespace
}  // namespace exo::sys
