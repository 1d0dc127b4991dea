// Folders of safetensors on a disk in memory.
#include "store/checkpoint_folder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "model/gguf.h"
#include "store/model.h"
#include "sys/fake/disk.h"

namespace exo::store {
namespace {

constexpr const char* kSoundConfig =
    R"({"model_type":"qwen2","num_hidden_layers":1,"num_attention_heads":2,"hidden_size":4,)"
    R"("intermediate_size":2,"max_position_embeddings":64,"tie_word_embeddings":true})";
constexpr const char* kSoundTokenizer =
    R"({"pre_tokenizer":{"type":"ByteLevel"},)"
    R"("model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})";

// A weight file with one F32 tensor of the values 0, 1, 2, ...
std::string WeightsOf(const std::string& name, const std::string& shape, size_t values) {
  std::string head = fmt::format(R"({{"{}":{{"dtype":"F32","shape":{},"data_offsets":[0,{}]}}}})",
                                 name, shape, 4 * values);
  const uint64_t bytes = head.size();
  std::string file(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  file += head;
  for (size_t i = 0; i < values; ++i) {
    const auto value = static_cast<float>(i);
    file.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return file;
}

class CheckpointFolderTest : public ::testing::Test {
 protected:
  CheckpointFolderTest() {
    disk_.Write("m/config.json", kSoundConfig);
    disk_.Write("m/tokenizer.json", kSoundTokenizer);
    disk_.Write("m/a.safetensors", WeightsOf("model.embed_tokens.weight", "[3,4]", 12));
    disk_.Write("m/b.safetensors", WeightsOf("model.norm.weight", "[4]", 4));
  }

  std::string ReadAt(const sys::ReadableFile& file, uint64_t offset, uint64_t bytes) {
    std::string out(bytes, 'x');
    const auto read = file.Read(offset, std::as_writable_bytes(std::span(out)));
    EXPECT_TRUE(read.has_value()) << read.error().message;
    return out;
  }

  sys::MemoryDisk disk_;
  CheckpointFolder folder_{disk_, "m"};
};

TEST_F(CheckpointFolderTest, AnyPieceOfTheFileIsThatOfTheWhole) {
  const auto file = folder_.Open();
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const uint64_t bytes = (*file)->stamp().bytes;
  const std::string all = ReadAt(**file, 0, bytes);
  const auto gguf = model::Gguf::Parse(std::as_bytes(std::span(all)));
  ASSERT_TRUE(gguf.has_value()) << gguf.error().message;
  ASSERT_EQ(gguf->tensors().size(), 2u);
  const model::GgufTensor& norm = *gguf->FindTensor("output_norm.weight");
  float last = 0;
  std::memcpy(&last, &all[norm.offset + 12], sizeof(last));
  EXPECT_EQ(last, 3);
  for (uint64_t at = 0; at < bytes; at += 7) {
    const uint64_t length = std::min<uint64_t>(bytes - at, at % 97);
    EXPECT_EQ(ReadAt(**file, at, length), all.substr(at, length)) << at;
  }
  std::string beyond(2, 'x');
  EXPECT_FALSE((*file)->Read(bytes - 1, std::as_writable_bytes(std::span(beyond))).has_value());
}

TEST_F(CheckpointFolderTest, AChangedDocumentIsAnotherState) {
  const auto stamp = LookAtModel(disk_, "m").value();
  const uint64_t bytes = folder_.Open().value()->stamp().bytes;
  disk_.Write("m/notes.txt", "nothing to do with it");
  EXPECT_EQ(LookAtModel(disk_, "m").value(), stamp);
  disk_.Write("m/chat_template.jinja", "{{ messages }}");
  EXPECT_NE(LookAtModel(disk_, "m").value(), stamp);
  EXPECT_GT(folder_.Open().value()->stamp().bytes, bytes);
}

TEST_F(CheckpointFolderTest, WhatAnIndexNamesMustBeThere) {
  disk_.Write("m/model.safetensors.index.json",
              R"({"weight_map":{"model.norm.weight":"c.safetensors"}})");
  const auto file = folder_.Open();
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(file.error().message.contains("c.safetensors")) << file.error().message;
}

TEST_F(CheckpointFolderTest, NothingIsWrittenOverTheFolder) {
  disk_.Write("m/README.md", "of the model");
  for (const char* target : {"m/a.safetensors", "m/config.json", "m/new.safetensors", "m/README.md",
                             "m/tokenizer.json"}) {
    const auto checked = CheckLeavesCheckpoint(disk_, "m", target);
    ASSERT_FALSE(checked.has_value()) << target;
    EXPECT_TRUE(checked.error().message.contains(target)) << checked.error().message;
  }
  for (const char* target : {"m/m.gguf", "m.gguf", "n/a.safetensors", "m/logits.f32"})
    EXPECT_TRUE(CheckLeavesCheckpoint(disk_, "m", target).has_value()) << target;
  EXPECT_TRUE(CheckLeavesCheckpoint(disk_, "n", "n/a.safetensors").has_value());
}

TEST_F(CheckpointFolderTest, OnlyFoldersWithWeightsAndConfigurationCount) {
  EXPECT_TRUE(IsCheckpoint(disk_, "m"));
  EXPECT_FALSE(IsCheckpoint(disk_, "n"));
  disk_.Remove("m/config.json");
  EXPECT_FALSE(IsCheckpoint(disk_, "m"));
}

}  // namespace
}  // namespace exo::store
