// Model files that change under a node (docs/adr/0006-reading-and-mapping.md).
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "model/gguf_builder.h"
#include "store/model.h"
#include "store/test_folder.h"
#include "sys/fake/disk.h"
#include "sys/mapped_file.h"

namespace exo::store {
namespace {

constexpr const char* kTiny = EXO_SOURCE_DIR "/models/exo-tiny.gguf";

const model::TensorRef& Embedding(const ModelFile& file) {
  return file.manifest().tensors()->token_embd;
}

std::string TinyBytes(const std::string& architecture = "llama") {
  model::GgufBuilder file = model::TinyModel(architecture);
  return model::TinyTensors(file, architecture).Build();
}

TEST(ModelFileTest, AFileThatIsCutOffWhileItIsReadIsAnError) {
  const TestFolder folder;
  std::filesystem::copy(kTiny, folder / "m.gguf");
  const auto file = ModelFile::Open(folder / "m.gguf").value();
  const auto source = file->MakeSource().value();
  EXPECT_TRUE(source->Read(Embedding(*file), 0, 4096));
  std::filesystem::resize_file(folder / "m.gguf", 1000);
  EXPECT_EQ(source->Read(Embedding(*file), 0, 4096).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(file->MakeSource().error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(file->TensorBytes("token_embd.weight", 0, 10).error().code, ErrorCode::kCorrupt);
}

TEST(ModelFileTest, TheSameBytesComePastTheCache) {
  const auto file = ModelFile::Open(kTiny).value();
  const auto kept = file->MakeSource().value();
  const auto uncached = file->MakeSource(sys::Caching::kNone).value();
  for (const uint64_t offset : {0u, 4096u, 5000u}) {
    const auto one = kept->Read(Embedding(*file), offset, 9000);
    const auto other = uncached->Read(Embedding(*file), offset, 9000);
    ASSERT_TRUE(one && other);
    EXPECT_TRUE(std::ranges::equal(*one, *other)) << offset;
    uncached->Done(Embedding(*file), offset, 9000);
  }
}

TEST(ModelFileTest, AFileThatIsOverwrittenWhileItIsReadIsAnError) {
  const TestFolder folder;
  std::filesystem::copy(kTiny, folder / "m.gguf");
  const auto file = ModelFile::Open(folder / "m.gguf").value();
  const auto source = file->MakeSource().value();
  {
    std::fstream out(folder / "m.gguf", std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(-100, std::ios::end);
    out.write("other weights", 13);
  }
  EXPECT_EQ(source->Read(Embedding(*file), 0, 4096).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(file->MakeSource().error().code, ErrorCode::kCorrupt);
}

TEST(ModelFileTest, AFileThatIsRenamedOrDeletedIsReadOn) {
  const TestFolder folder;
  std::filesystem::copy(kTiny, folder / "m.gguf");
  const auto file = ModelFile::Open(folder / "m.gguf").value();
  const auto source = file->MakeSource().value();
  std::filesystem::rename(folder / "m.gguf", folder / "n.gguf");
  EXPECT_TRUE(source->Read(Embedding(*file), 0, 4096));
  std::filesystem::remove(folder / "n.gguf");
  EXPECT_TRUE(source->Read(Embedding(*file), 4096, 4096));
  EXPECT_EQ(file->MakeSource().error().code, ErrorCode::kNotFound);
}

// As in images of containers, where every time stamp is 1.
TEST(ModelFileTest, OtherContentsOfTheSameSizeAndTimesAreNoticed) {
  const TestFolder folder;
  const auto state = State::Open(folder / "state.db").value();
  std::string bytes = TinyBytes();
  const sys::FileStamp stamp{.bytes = bytes.size(), .modified_ns = 1, .changed_ns = 1, .inode = 1};
  const auto id_of = [&](const std::string& contents) {
    class OneFile final : public sys::Disk {
     public:
      OneFile(std::string bytes, const sys::FileStamp& stamp)
          : file_(std::make_shared<sys::MemoryFile>(std::move(bytes), stamp)) {}
      Result<std::shared_ptr<const sys::ReadableFile>> Open(const std::string&) const override {
        return file_;
      }
      Result<sys::FileStamp> Look(const std::string&) const override { return file_->stamp(); }
      Result<std::vector<std::string>> List(const std::string&) const override { return {}; }
      std::string Canonical(const std::string& path) const override { return path; }

     private:
      std::shared_ptr<const sys::ReadableFile> file_;
    };
    const OneFile disk(contents, stamp);
    const auto file = ModelFile::Open("/m.gguf", {.disk = &disk, .state = state.get()});
    EXPECT_TRUE(file) << file.error().message;
    return (*file)->manifest().id();
  };
  const ModelId first = id_of(bytes);
  EXPECT_EQ(id_of(bytes), first);
  for (size_t i = bytes.size() / 2; i < bytes.size(); ++i) bytes[i] ^= 1;
  EXPECT_NE(id_of(bytes), first);
}

TEST(ModelFileTest, ALinkKeepsItsNameAndFindsPartsOnBothSides) {
  const TestFolder folder;
  std::filesystem::create_directories(folder / "blobs");
  std::filesystem::create_directories(folder / "snapshots/x");
  std::filesystem::copy(kTiny, folder / "blobs/0123abcd");
  std::filesystem::create_symlink("../../blobs/0123abcd", folder / "snapshots/x/S-q8_0.gguf");
  const auto file = ModelFile::Open(folder / "snapshots/x/S-q8_0.gguf");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->name(), "S-q8_0");
  EXPECT_TRUE((*file)->MakeSource());

  for (const char* part : {"1", "2"}) {
    std::ofstream(folder / "blobs/blob" + part) << part;
    std::filesystem::create_symlink(folder / "blobs/blob" + part,
                                    folder / "snapshots/x/S-0000" + part + "-of-00002.gguf");
    std::ofstream(folder / "S-0000" + part + "-of-00002.gguf") << part;
  }
  const auto beside = FindParts(sys::RealDisk(), folder / "snapshots/x/S-00002-of-00002.gguf");
  ASSERT_TRUE(beside);
  EXPECT_EQ(beside->name, "S");
  EXPECT_EQ(beside->paths[0], folder / "snapshots/x/S-00001-of-00002.gguf");
  std::filesystem::create_symlink(folder / "S-00001-of-00002.gguf", folder / "alias.gguf");
  const auto behind = FindParts(sys::RealDisk(), folder / "alias.gguf");
  ASSERT_TRUE(behind);
  EXPECT_EQ(behind->name, "alias");
  EXPECT_EQ(behind->paths.size(), 2u);
}

TEST(ModelFileTest, WhatIsNoModelIsSaid) {
  const TestFolder folder;
  const auto message = [&](const std::string& bytes) {
    EXPECT_TRUE(sys::WriteFileAtomically(folder / "x.gguf", bytes, 0600));
    const auto file = ModelFile::Open(folder / "x.gguf");
    EXPECT_FALSE(file);
    EXPECT_EQ(file.error().code, ErrorCode::kInvalid) << file.error().message;
    return file.error().message;
  };
  EXPECT_NE(message("").find("an empty file"), std::string::npos);
  EXPECT_NE(message("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n")
                .find("Git LFS pointer"),
            std::string::npos);
  EXPECT_NE(message("\n<!DOCTYPE html>\n<html><head>").find("HTML page"), std::string::npos);
  EXPECT_NE(message("<html lang=en>").find("HTML page"), std::string::npos);
  EXPECT_NE(message(std::string(3000, '\0')).find("zeros"), std::string::npos);
  EXPECT_NE(message("{\"error\":\"Repository not found\"}").find("JSON"), std::string::npos);
  EXPECT_NE(message(std::string("\x10\0\0\0\0\0\0\0{\"a\":{}}", 17)).find("safetensors"),
            std::string::npos);
  EXPECT_NE(message("GG").find("2 bytes"), std::string::npos);
}

TEST(ModelFileTest, OnlyRegularFilesAreOpened) {
  const TestFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe.gguf").c_str(), 0600), 0);
  std::filesystem::create_directories(folder / "folder.gguf");
  std::filesystem::create_symlink("nowhere", folder / "dangling.gguf");
  std::filesystem::create_symlink("loop.gguf", folder / "loop.gguf");
  EXPECT_EQ(ModelFile::Open(folder / "pipe.gguf").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ModelFile::Open(folder / "folder.gguf").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ModelFile::Open("/dev/zero").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(ModelFile::Open(folder / "dangling.gguf").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(ModelFile::Open(folder / "loop.gguf").error().code, ErrorCode::kNotFound);
}

TEST(ModelFileTest, HashingStopsBetweenPieces) {
  const std::atomic<bool> cancel = true;
  const auto file = ModelFile::Open(kTiny, {.manifest = {.cancel = &cancel}});
  EXPECT_EQ(file.error().code, ErrorCode::kCancelled);
}

TEST(MappedFileTest, LostPagesReadAsZerosAndAreTold) {
  const TestFolder folder;
  ASSERT_TRUE(sys::WriteFileAtomically(folder / "m", std::string(1 << 20, 'x'), 0600));
  ASSERT_TRUE(sys::WriteFileAtomically(folder / "n", std::string(1 << 20, 'y'), 0600));
  const auto cut = sys::MappedFile::Open(folder / "m").value();
  const auto whole = sys::MappedFile::Open(folder / "n").value();
  EXPECT_EQ(cut->bytes()[5000], std::byte{'x'});
  std::filesystem::resize_file(folder / "m", 4096);
  EXPECT_EQ(cut->bytes()[600'000], std::byte{0});
  EXPECT_TRUE(cut->broken());
  EXPECT_EQ(cut->bytes()[100], std::byte{'x'});
  EXPECT_EQ(cut->bytes()[(1 << 20) - 1], std::byte{0});
  EXPECT_EQ(whole->bytes()[600'000], std::byte{'y'});
  EXPECT_FALSE(whole->broken());
}

}  // namespace
}  // namespace exo::store
