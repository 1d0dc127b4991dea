#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

namespace exo::checkpoint {
namespace {

constexpr uint64_t kFile = 1000;

std::string ErrorOf(std::string_view head) {
  const auto tensors = ParseSafetensors(head, kFile, 0);
  return tensors ? "" : tensors.error().message;
}

TEST(SafetensorsTest, TensorsComeInTheOrderOfTheirData) {
  const std::string_view head = R"({"__metadata__":{"format":"pt"},)"
                                R"("a":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},)"
                                R"("b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  const auto tensors = ParseSafetensors(head, 8 + head.size() + 28, 7);
  ASSERT_TRUE(tensors.has_value()) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ((*tensors)[0].name, "b");
  EXPECT_EQ((*tensors)[0].offset, 8 + head.size());
  EXPECT_EQ((*tensors)[1].element, Element::kBF16);
  EXPECT_EQ((*tensors)[1].shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ((*tensors)[1].bytes, 12u);
  EXPECT_EQ((*tensors)[1].file, 7u);
}

TEST(SafetensorsTest, WhatCannotBeIsRefusedWithTheTensorsName) {
  const auto one = [](std::string_view entry) {
    return ErrorOf(std::string(R"({"wq":)") + std::string(entry) + "}");
  };
  for (const char* entry : {
           "7",
           R"({"dtype":"F32","shape":[4]})",
           R"({"dtype":"F32","data_offsets":[0,16]})",
           R"({"dtype":"Q9","shape":[4],"data_offsets":[0,16]})",
           R"({"dtype":"F32","shape":[4],"data_offsets":[0,15]})",
           R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})",
           R"({"dtype":"F32","shape":[4],"data_offsets":[-16,0]})",
           R"({"dtype":"F32","shape":[4],"data_offsets":[0,16,32]})",
           R"({"dtype":"F32","shape":[4],"data_offsets":[992,1008]})",
           R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]})",
           R"({"dtype":"F32","shape":[4.5],"data_offsets":[0,18]})",
           R"({"dtype":"F32","shape":"4","data_offsets":[0,16]})",
           R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})",
           R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})",
       }) {
    EXPECT_TRUE(one(entry).contains("'wq'")) << entry << ": " << one(entry);
  }
  EXPECT_TRUE(ErrorOf(R"({"wq":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},)"
                      R"("wk":{"dtype":"F32","shape":[4],"data_offsets":[12,28]}})")
                  .contains("overlap"));
  EXPECT_NE(ErrorOf("[]"), "");
  EXPECT_NE(ErrorOf("{"), "");
  EXPECT_NE(ErrorOf(std::string(100'000, '[')), "");
}

TEST(SafetensorsTest, BytesBehindTheDataAreRefused) {
  const std::string_view head = R"({"wq":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})";
  EXPECT_TRUE(ParseSafetensors(head, 8 + head.size() + 16, 0).has_value());
  const auto longer = ParseSafetensors(head, 8 + head.size() + 19, 0);
  ASSERT_FALSE(longer.has_value());
  EXPECT_TRUE(longer.error().message.contains("3 bytes")) << longer.error().message;
  EXPECT_TRUE(ErrorOf("{}").contains("bytes behind"));
}

TEST(SafetensorsTest, ALengthBeyondTheFileOrTheLimitIsRefused) {
  const auto length = [](uint64_t bytes, uint64_t file) {
    std::array<std::byte, 8> begin;
    std::memcpy(begin.data(), &bytes, sizeof(bytes));
    return SafetensorsHeadBytes(begin, file);
  };
  EXPECT_EQ(length(100, 108).value(), 100u);
  EXPECT_FALSE(length(101, 108).has_value());
  EXPECT_FALSE(length(~uint64_t{0}, ~uint64_t{0}).has_value());
  EXPECT_FALSE(length(kMaxSafetensorsHead + 1, ~uint64_t{0}).has_value());
  EXPECT_FALSE(length(0, 7).has_value());
}

}  // namespace
}  // namespace exo::checkpoint
