#include "model/gguf_writer.h"

#include <gtest/gtest.h>

#include "model/gguf_builder.h"

namespace exo::model {
namespace {

// Every key of `gguf` and every tensor, written again with room for the data.
std::string Rewrite(const Gguf& gguf) {
  GgufWriter writer(gguf.alignment());
  for (const GgufKey& key : gguf.keys()) {
    writer.Key(key.name, static_cast<ValueType>(key.type),
               {reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size()});
  }
  uint64_t data = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    writer.Tensor(tensor.name, tensor.dims, tensor.type, tensor.bytes);
    data += tensor.bytes + writer.Padding(tensor.bytes);
  }
  std::string file = writer.Head();
  file.resize(file.size() + data);
  return file;
}

TEST(GgufWriterTest, WhatWasReadIsWrittenAgainByteForByte) {
  auto builder = SmallBpe();
  builder.Float("b.float", 0.25f)
      .Bool("a.bool", true)
      .Numbers<double>("c", ValueType::kF64, {1, 2});
  builder.Key("small", ValueType::kU8, EncodeNumber(uint8_t{7}));
  builder.Tensor("x", {5, 3}, 0, 60).Tensor("y", {64, 2, 2}, 2, 144).Tensor("z", {1}, 30, 2);
  const std::string file = builder.Build();
  EXPECT_EQ(Rewrite(ParseText(file).value()), file);
}

TEST(GgufWriterTest, DataKeepTheAlignmentThatTheFileStates) {
  GgufWriter writer(4096);
  writer.Key("general.alignment", ValueType::kU32, EncodeNumber(uint32_t{4096}));
  const uint64_t dims[] = {3};
  writer.Tensor("x", dims, 0, 12);
  writer.Tensor("y", dims, 0, 12);
  EXPECT_EQ(writer.Head().size(), 4096u);
  EXPECT_EQ(writer.Padding(12), 4084u);
  EXPECT_EQ(writer.Padding(4096), 0u);
  const std::string file = writer.Head() + std::string(2 * 4096, '\0');
  const Gguf gguf = ParseText(file).value();
  EXPECT_EQ(gguf.alignment(), 4096u);
  EXPECT_EQ(gguf.FindTensor("x")->offset, 4096u);
  EXPECT_EQ(gguf.FindTensor("y")->offset, 8192u);
}

TEST(GgufWriterTest, KeysComeInTheFilesOrder) {
  GgufBuilder builder;
  builder.Uint("z", 1).String("a", "text").Uint("m", 2);
  const std::string file = builder.Build();
  const Gguf gguf = ParseText(file).value();
  ASSERT_EQ(gguf.keys().size(), 3u);
  EXPECT_EQ(gguf.keys()[0].name, "z");
  EXPECT_EQ(gguf.keys()[1].name, "a");
  EXPECT_EQ(gguf.keys()[1].bytes.size(), 8u + 4u);
  EXPECT_EQ(gguf.keys()[2].type, static_cast<uint32_t>(ValueType::kU32));
}

}  // namespace
}  // namespace exo::model
