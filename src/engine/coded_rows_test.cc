// What is counted of rows that go to others.
#include "engine/coded_rows.h"

#include <gtest/gtest.h>

#include <vector>

namespace exo::engine {
namespace {

TEST(CodedRowsTest, RowsCountForEachLinkThatTheyGoOn) {
  constexpr size_t kWidth = 32;
  const std::vector<float> rows(3 * kWidth, 0.5f);
  for (const auto codec : {wire::Codec::kF32, wire::Codec::kInt8}) {
    SentRows sent;
    CodedRows coded(codec, kWidth, 4, &sent);
    const size_t bytes = coded.Code(rows, 1).size();
    EXPECT_EQ(sent.rows.load(), 3u);
    EXPECT_EQ(sent.bytes.load(), bytes);
    coded.Code(rows, 2);
    EXPECT_EQ(sent.rows.load(), 9u);
    EXPECT_EQ(sent.bytes.load(), 3 * bytes);
  }
}

}  // namespace
}  // namespace exo::engine
