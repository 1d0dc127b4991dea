#include "app/qr_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace exo::app {
namespace {

// The modules again, without the quiet zone: true is dark.
std::vector<std::vector<bool>> ModulesOf(const std::string& drawn) {
  std::vector<std::vector<bool>> rows;
  std::string_view rest = drawn;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size() + 1);
    line.remove_prefix(std::string_view("\033[37;40m").size());
    line.remove_suffix(std::string_view("\033[0m").size());
    std::vector<bool> upper, lower;
    while (!line.empty()) {
      const bool blank = line[0] == ' ';
      const std::string_view cell = line.substr(0, blank ? 1 : 3);
      upper.push_back(cell != "█" && cell != "▀");
      lower.push_back(cell != "█" && cell != "▄");
      line.remove_prefix(cell.size());
    }
    rows.push_back(upper);
    rows.push_back(lower);
  }
  for (std::vector<bool>& row : rows) row = {row.begin() + 4, row.end() - 4};
  return {rows.begin() + 4, rows.begin() + 4 + static_cast<std::ptrdiff_t>(rows[0].size())};
}

TEST(QrCodeTest, HasItsThreeFinders) {
  const auto drawn = QrCodeText("exo://10.0.0.7:52425/0123456789abcdefghjkmnpqrs");
  ASSERT_TRUE(drawn);
  const auto modules = ModulesOf(*drawn);
  const size_t width = modules.size();
  EXPECT_EQ((width - 17) % 4, 0u) << width << ": the width of no version";
  // Seven dark modules, and a light one between the ring and its middle.
  for (const auto& [row, column] :
       {std::pair<size_t, size_t>{0, 0}, {0, width - 7}, {width - 7, 0}}) {
    for (size_t i = 0; i < 7; ++i) {
      EXPECT_TRUE(modules[row][column + i] && modules[row + 6][column + i]);
      EXPECT_TRUE(modules[row + i][column] && modules[row + i][column + 6]);
    }
    EXPECT_FALSE(modules[row + 1][column + 1]);
    EXPECT_TRUE(modules[row + 3][column + 3]);
  }
}

TEST(QrCodeTest, RefusesWhatNoCodeHolds) {
  EXPECT_EQ(QrCodeText(std::string(5000, 'x')).error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace exo::app
