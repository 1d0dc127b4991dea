#include <gtest/gtest.h>

#include "model/gguf_builder.h"

namespace exo::model {
namespace {

// The error of parsing `file`, "" when there is none.
std::string ErrorOf(const std::string& file, ErrorCode code = ErrorCode::kCorrupt) {
  const auto gguf = ParseText(file);
  if (gguf) return "";
  EXPECT_EQ(gguf.error().code, code) << gguf.error().message;
  return gguf.error().message;
}

TEST(GgufTest, ReadsEveryKindOfValue) {
  GgufBuilder file;
  file.Uint("u", 7)
      .Float("f", 1.5f)
      .Bool("b", true)
      .String("s", "text")
      .Strings("a", {"x", "", "yz"});
  file.Numbers<int32_t>("n", ValueType::kI32, {-1, 2})
      .Numbers<float>("r", ValueType::kF32, {0.25f});
  const std::string bytes = file.Build();
  const auto gguf = ParseText(bytes);
  ASSERT_TRUE(gguf.has_value()) << gguf.error().message;
  EXPECT_EQ(*gguf->GetUint("u"), 7u);
  EXPECT_EQ(*gguf->GetFloat("f"), 1.5);
  EXPECT_TRUE(*gguf->GetBool("b"));
  EXPECT_EQ(*gguf->GetString("s"), "text");
  EXPECT_EQ(*gguf->GetStrings("a"), (std::vector<std::string>{"x", "", "yz"}));
  EXPECT_EQ(*gguf->GetInts("n"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(*gguf->GetFloats("r"), std::vector<float>{0.25f});
  EXPECT_EQ(gguf->GetUint("absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(gguf->GetUint("s").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(gguf->GetStrings("n").error().code, ErrorCode::kInvalid);
}

TEST(GgufTest, NamesVersionsItCannotRead) {
  GgufBuilder file;
  file.version = 1;
  EXPECT_TRUE(ErrorOf(file.Build(), ErrorCode::kUnsupported).contains("version 1"));
  file.version = 0x03000000;
  EXPECT_TRUE(ErrorOf(file.Build(), ErrorCode::kUnsupported).contains("big-endian"));
  file.magic = 0x12345678;
  EXPECT_TRUE(ErrorOf(file.Build()).contains("not a GGUF file"));
  file = {};
  file.version = 2;
  EXPECT_EQ(ErrorOf(file.Build()), "");
}

TEST(GgufTest, RefusesHostileCountsAndLengths) {
  GgufBuilder file;
  file.Uint("u", 1);
  file.claimed_tensors = ~uint64_t{0} - 1;
  EXPECT_TRUE(ErrorOf(file.Build()).contains("tensors"));
  file.claimed_tensors = ~uint64_t{0};
  file.claimed_keys = 1u << 20;
  EXPECT_TRUE(ErrorOf(file.Build()).contains("keys"));
  const std::string huge = EncodeNumber(~uint64_t{0} - 7);
  EXPECT_NE(ErrorOf(GgufBuilder().Key("s", ValueType::kString, huge).Build()), "");
  const std::string u64s = EncodeNumber(ValueType::kU64);
  EXPECT_NE(ErrorOf(GgufBuilder().Key("a", ValueType::kArray, u64s + huge).Build()), "");
  EXPECT_NE(ErrorOf(GgufBuilder()
                        .Key("a", ValueType::kArray, u64s + EncodeNumber(uint64_t{1} << 23))
                        .Build()),
            "");
  EXPECT_NE(ErrorOf(GgufBuilder().Key("t", static_cast<ValueType>(13), "").Build()), "");
  EXPECT_NE(ErrorOf(GgufBuilder().Key("b", ValueType::kBool, "\2").Build()), "");
}

TEST(GgufTest, BoundsTheNestingOfArrays) {
  std::string nested;
  for (int i = 0; i < 3000; ++i)
    nested += EncodeNumber(ValueType::kArray) + EncodeNumber(uint64_t{1});
  EXPECT_TRUE(ErrorOf(GgufBuilder().Key("a", ValueType::kArray, nested).Build()).contains("nests"));
}

TEST(GgufTest, RefusesDuplicates) {
  EXPECT_TRUE(ErrorOf(GgufBuilder().Uint("u", 1).Uint("u", 2).Build()).contains("twice"));
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("t", {8}, 0, 32).Tensor("t", {8}, 0, 32).Build())
                  .contains("twice"));
}

TEST(GgufTest, KeepsTensorsInsideTheFileAndApart) {
  EXPECT_EQ(ErrorOf(GgufBuilder().Tensor("a", {8}, 0, 32).Tensor("b", {8}, 0, 32).Build()), "");
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("a", {16}, 0, 32).Build()).contains("beyond"));
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("a", {8}, 0, 32, 64).Build()).contains("beyond"));
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("a", {8}, 0, 32, ~uint64_t{31} - 32).Build())
                  .contains("beyond"));
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("a", {8}, 0, 64, 8).Build()).contains("alignment"));
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("a", {16}, 0, 64).Tensor("b", {8}, 0, 32, 32).Build())
                  .contains("overlap"));
}

// Found by gguf_fuzz: no bytes were claimed, so that none were missing.
TEST(GgufTest, ATensorOfUnknownTypeBeginsInsideTheFile) {
  std::string file = GgufBuilder().Tensor("ab", {8}, 99, 0).Build();
  file.resize(24 + 8 + 2 + 4 + 8 + 4 + 8);  // no padding, no data
  EXPECT_TRUE(ErrorOf(file).contains("beyond"));
}

TEST(GgufTest, RefusesImpossibleDimensions) {
  EXPECT_NE(ErrorOf(GgufBuilder().Tensor("a", {}, 0, 32).Build()), "");
  EXPECT_NE(ErrorOf(GgufBuilder().Tensor("a", {1, 1, 1, 1, 1}, 0, 32).Build()), "");
  EXPECT_NE(ErrorOf(GgufBuilder().Tensor("a", {0, 4}, 0, 32).Build()), "");
  const uint64_t big = uint64_t{1} << 33;
  EXPECT_NE(ErrorOf(GgufBuilder().Tensor("a", {big, big}, 0, 32).Build()), "");
  EXPECT_TRUE(ErrorOf(GgufBuilder().Tensor("a", {20}, 8, 34).Build()).contains("blocks"));
}

TEST(GgufTest, ChecksTheAlignment) {
  for (const uint32_t wrong : {0u, 4u, 24u, 1u << 21}) {
    EXPECT_TRUE(
        ErrorOf(GgufBuilder().Uint("general.alignment", wrong).Build()).contains("alignment"))
        << wrong;
  }
  GgufBuilder file;
  file.alignment = 128;
  file.Uint("general.alignment", 128).Tensor("a", {8}, 0, 32).Tensor("b", {8}, 0, 32);
  EXPECT_EQ(ErrorOf(file.Build()), "");
}

TEST(GgufTest, JoinsThePartsOfASplitModel) {
  std::vector<std::string> files;
  for (uint32_t i = 0; i < 2; ++i) {
    GgufBuilder file;
    file.Uint("split.no", i).Uint("split.count", 2).Uint("split.tensors.count", 2);
    files.push_back(file.Tensor(i == 0 ? "a" : "b", {8}, 0, 32).Build());
  }
  const Gguf first = ParseText(files[0]).value();
  const Gguf second = ParseText(files[1]).value();
  EXPECT_EQ(first.split_count(), 2u);
  const auto joined = Gguf::JoinSplits({first, second});
  ASSERT_TRUE(joined.has_value()) << joined.error().message;
  EXPECT_EQ(joined->FindTensor("b")->part, 1u);
  EXPECT_FALSE(Gguf::JoinSplits({second, first}).has_value());
  EXPECT_FALSE(Gguf::JoinSplits({first}).has_value());
  EXPECT_FALSE(Gguf::JoinSplits({first, first}).has_value());
}

TEST(GgufTest, CountsParametersAndNamesTheTypeOfMostOfThem) {
  GgufBuilder file;
  file.Tensor("a", {8}, 0, 32).Tensor("b", {32, 3, 2}, 2, 108).Tensor("c", {8, 5}, 0, 160);
  const WeightCount count = CountWeights(ParseText(file.Build()).value());
  EXPECT_EQ(count.parameters, 8u + 192u + 40u);
  EXPECT_EQ(count.type, "Q4_0");
  EXPECT_EQ(CountWeights(Gguf()).type, "");
}

}  // namespace
}  // namespace exo::model
