#include <gtest/gtest.h>

#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"
#include "base/sha256.h"
#include "base/units.h"

namespace exo {
namespace {

Result<int> Half(int x) {
  if (x % 2 != 0) return Fail(ErrorCode::kInvalid, "{} is odd", x);
  return x / 2;
}

Result<int> Quarter(int x) {
  return TRY(Half(TRY(Half(x))));
}

TEST(ResultTest, TryReturnsTheFirstError) {
  EXPECT_EQ(Quarter(8).value(), 2);
  ASSERT_FALSE(Quarter(6).has_value());
  EXPECT_EQ(Quarter(6).error().message, "3 is odd");
}

TEST(UnitsTest, Durations) {
  const auto ms = [](std::string_view text) { return ParseDuration(text).value().count(); };
  EXPECT_EQ(ms("300"), 300'000);
  EXPECT_EQ(ms("2.5"), 2'500);
  EXPECT_EQ(ms("5m"), 300'000);
  EXPECT_EQ(ms("1h30m"), 5'400'000);
  EXPECT_EQ(ms("1.5h"), 5'400'000);
  EXPECT_EQ(ms("250ms"), 250);
  EXPECT_EQ(ms("2d"), 172'800'000);
  EXPECT_EQ(ms("0"), 0);
  EXPECT_EQ(ms("-1"), -1000);
  EXPECT_EQ(ms("-5m"), -300'000);
  for (const char* bad : {"", "-", "m", "5 m", "5x", "1h30", "nan", "inf", "0x10", "--1", "+5",
                          "1e300", "999999999999h"})
    EXPECT_FALSE(ParseDuration(bad)) << bad;
  EXPECT_EQ(FormatDuration(std::chrono::seconds(90)), "1m30s");
  EXPECT_EQ(FormatDuration(std::chrono::minutes(90)), "1h30m");
  EXPECT_EQ(FormatDuration(std::chrono::hours(2)), "2h");
  EXPECT_EQ(FormatDuration(std::chrono::milliseconds(300)), "300ms");
}

TEST(UnitsTest, ParsesSizesAndRefusesNonsense) {
  EXPECT_EQ(ParseSize("450M").value(), 450 * kMiB);
  EXPECT_EQ(ParseSize("1.5GiB").value(), 3 * kGiB / 2);
  EXPECT_EQ(ParseSize("42").value(), 42u);
  for (const char* bad : {"", "x", "-1", "1e99", "5q", "1GiBs"})
    EXPECT_FALSE(ParseSize(bad)) << bad;
  EXPECT_EQ(FormatSize(3 * kGiB / 2), "1.5 GiB");
  const auto close = FormatSizes(kGiB + 20 * kMiB, kGiB + 3 * kMiB);
  EXPECT_EQ(close.first, "1.02 GiB");
  EXPECT_EQ(close.second, "1.00 GiB");
  EXPECT_EQ(FormatSizes(kGiB, kGiB).first, "1.0 GiB");
  EXPECT_EQ(FormatSizes(2 * kGiB, kGiB).first, "2.0 GiB");
}

TEST(IdsTest, HexRoundTrips) {
  PlanId id;
  for (size_t i = 0; i < id.bytes.size(); ++i) id.bytes[i] = static_cast<uint8_t>(17 * i);
  EXPECT_EQ(PlanId::FromHex(id.Hex()), id);
  EXPECT_FALSE(PlanId::FromHex("00").has_value());
  EXPECT_FALSE(PlanId::FromHex(std::string(32, 'g')).has_value());
}

TEST(Sha256Test, MatchesThePublishedVector) {
  EXPECT_EQ(Sha256().Update("abc").Finish().Hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// Known answer of Random123's kat_vectors: philox4x32 10, all-zero and all-one inputs.
TEST(RandomTest, PhiloxMatchesThePublishedVectors) {
  EXPECT_EQ(Philox(0, 0, 0),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(~0ull, ~0ull, ~0ull),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
}

}  // namespace
}  // namespace exo
