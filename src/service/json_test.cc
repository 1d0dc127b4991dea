// Our own rules of JSON, beside the parser's: depth, and no key twice.
#include "service/json.h"

#include <gtest/gtest.h>

#include "service/http/limits.h"

namespace exo::service {
namespace {

std::string ErrorOf(const std::string& text) {
  const auto json = ParseJson(text);
  return json ? "" : json.error().message;
}

TEST(JsonTest, KeepsEveryKindOfValue) {
  const std::string text =
      R"({"a":[1,-2,3.5,18446744073709551615,true,null,"x\u00e9",[],{}],"b":{"a":{"a":1}}})";
  const auto json = ParseJson(text);
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(*json, Json::parse(text));
  EXPECT_EQ((*json)["a"][3], 18446744073709551615u);
  EXPECT_EQ(*ParseJson("5"), 5);
  EXPECT_EQ(*ParseJson(R"(["a"])"), Json::array({"a"}));
}

TEST(JsonTest, AKeyTwiceInOneObjectIsNamed) {
  EXPECT_NE(ErrorOf(R"({"a":1,"b":2,"a":3})").find("'a' occurs twice"), std::string::npos);
  EXPECT_NE(ErrorOf(R"({"x":[{"k":{},"k":[]}]})").find("'k' occurs twice"), std::string::npos);
  EXPECT_NE(ErrorOf(R"({"a":1,"\u0061":2})").find("twice"), std::string::npos);
  EXPECT_EQ(ErrorOf(R"([{"a":1},{"a":{"a":2}}])"), "");
}

TEST(JsonTest, LimitsTheDepth) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_EQ(ErrorOf(nested(kMaxJsonDepth)), "");
  EXPECT_NE(ErrorOf(nested(kMaxJsonDepth + 1)).find("levels of nesting"), std::string::npos);
  EXPECT_NE(ErrorOf(std::string(1'000'000, '[')).find("levels of nesting"), std::string::npos);
}

TEST(JsonTest, SaysWhereTextIsNotJson) {
  EXPECT_NE(ErrorOf("{\"a\": tru}").find("column"), std::string::npos);
  EXPECT_NE(ErrorOf("{} x").find("not valid JSON"), std::string::npos);
  EXPECT_NE(ErrorOf("1e999").find("not valid JSON"), std::string::npos);
  EXPECT_NE(ErrorOf("\"\xC3\"").find("UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace exo::service
