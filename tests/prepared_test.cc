// A prepared file gives the bits that packing gives, and nothing else than a whole one of this
// source is used.
#include "store/prepared.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "backend/devices.h"
#include "engine/local.h"
#include "kernels/kernels.h"
#include "store/model.h"

namespace exo::store {
namespace {

class PreparedTest : public testing::Test {
 protected:
  PreparedTest() {
    EXPECT_NE(::mkdtemp(folder_), nullptr);
    std::filesystem::copy(EXO_SOURCE_DIR "/models/exo-tiny.gguf", model());
  }
  ~PreparedTest() override { std::filesystem::remove_all(folder_); }

  std::string model() const { return std::string(folder_) + "/tiny.gguf"; }
  std::string path() const { return PreparedPath(folder_, model()); }
  std::shared_ptr<const ModelFile> Open() const {
    return ModelFile::Open(model(), {.prepared_folder = folder_}).value();
  }
  void Prepare() const {
    const auto file = ModelFile::Open(model()).value();
    const auto source = file->MakeSource().value();
    const auto written = WritePrepared({.manifest = file->manifest(),
                                        .source = file->known(),
                                        .tensors = *source,
                                        .kernels = *kernels_,
                                        .pool = *pool_,
                                        .progress = {}},
                                       path());
    ASSERT_TRUE(written) << written.error().message;
    EXPECT_EQ(*written, std::filesystem::file_size(path()));
  }
  std::vector<float> Logits(const ModelFile& file) const {
    const auto backend = backend::MakeBackend({.threads = 2}).value();
    const auto source = file.MakeSource().value();
    auto local = engine::LocalModel::Load(*backend, file.manifest().config(),
                                          file.manifest().tensors(), *source, {});
    EXPECT_TRUE(local) << local.error().message;
    std::vector<float> logits(3 * file.manifest().config()->vocab);
    EXPECT_TRUE((*local)->Open(1, 16));
    EXPECT_TRUE((*local)->Append(1, 0, std::vector<TokenId>{1, 400, 7}, 3, logits));
    return logits;
  }
  void Damage(size_t at) const {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char flipped = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(flipped);
  }

  char folder_[40] = "/tmp/exo-prepared-test-XXXXXX";
  const kernels::Kernels* kernels_ = kernels::ChooseKernels("").value();
  std::unique_ptr<sys::ThreadPool> pool_ = backend::MakeComputePool(2);
};

TEST_F(PreparedTest, ComputesTheSameBitsWithoutReadingTheModel) {
  const auto packed = Open();
  EXPECT_EQ(packed->OpenPrepared(), nullptr);
  Prepare();
  const auto mapped = Open();
  ASSERT_NE(mapped->OpenPrepared(), nullptr);
  EXPECT_EQ(mapped->manifest().id(), packed->manifest().id());
  const auto expected = Logits(*packed), got = Logits(*mapped);
  EXPECT_EQ(std::memcmp(expected.data(), got.data(), expected.size() * sizeof(float)), 0);
}

// Answers tokens one by one while the matrices move.
TEST_F(PreparedTest, CopyingBesideTheAnswerChangesNoBit) {
  Prepare();
  const auto mapped = Open();
  ASSERT_NE(mapped->OpenPrepared(), nullptr);
  const size_t vocab = mapped->manifest().config()->vocab;
  std::vector<std::vector<float>> rows;
  for (const bool copy : {false, true}) {
    const auto backend = backend::MakeBackend({.threads = 2, .copy_prepared = copy}).value();
    const auto source = mapped->MakeSource().value();
    auto local = engine::LocalModel::Load(*backend, mapped->manifest().config(),
                                          mapped->manifest().tensors(), *source, {});
    ASSERT_TRUE(local) << local.error().message;
    ASSERT_TRUE((*local)->Open(1, 300));
    std::vector<float> all;
    for (uint32_t i = 0; i < 200; ++i) {
      std::vector<float> logits(vocab);
      ASSERT_TRUE((*local)->Append(1, i, std::vector<TokenId>{static_cast<TokenId>(3 + i % 90)}, 1,
                                   logits));
      all.insert(all.end(), logits.begin(), logits.end());
    }
    rows.push_back(std::move(all));
  }
  EXPECT_EQ(std::memcmp(rows[0].data(), rows[1].data(), rows[0].size() * sizeof(float)), 0);
}

// The file is cut off: what was copied before works on, what stays mapped is refused.
TEST_F(PreparedTest, AfterTheCopyTheFileDoesNotMatter) {
  Prepare();
  for (const bool copy : {true, false}) {
    const auto mapped = Open();
    ASSERT_NE(mapped->OpenPrepared(), nullptr);
    const auto backend = backend::MakeBackend({.threads = 1, .copy_prepared = copy}).value();
    const auto source = mapped->MakeSource().value();
    auto local = engine::LocalModel::Load(*backend, mapped->manifest().config(),
                                          mapped->manifest().tensors(), *source, {});
    ASSERT_TRUE(local) << local.error().message;
    ASSERT_TRUE((*local)->Open(1, 300));
    std::vector<float> logits(mapped->manifest().config()->vocab);
    // Five megabytes are copied in some milliseconds; each token takes what has come.
    for (uint32_t i = 0; i < 100; ++i) {
      ASSERT_TRUE((*local)->Append(1, i, std::vector<TokenId>{5}, 1, logits));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    std::filesystem::resize_file(path(), 4096);
    const auto answered = (*local)->Append(1, 100, std::vector<TokenId>{5}, 1, logits);
    EXPECT_EQ(answered.has_value(), copy);
    if (!copy) EXPECT_EQ(answered.error().code, ErrorCode::kDisconnected) << "worth a new load";
    Prepare();
  }
}

// The same opened model, as a node keeps it.
TEST_F(PreparedTest, ACutOffFileIsLeftOutAndANewOneTakenWithoutOpeningTheModelAgain) {
  Prepare();
  const auto file = Open();
  const auto expected = Logits(*file);
  std::filesystem::resize_file(path(), 4096);
  EXPECT_EQ(file->OpenPrepared(), nullptr);
  EXPECT_EQ(Logits(*file), expected);
  Prepare();
  EXPECT_NE(file->OpenPrepared(), nullptr);
  EXPECT_EQ(Logits(*file), expected);
}

TEST_F(PreparedTest, AnotherLayoutIsNotTaken) {
  Prepare();
  const auto file = Open();
  const auto source = file->MakeSource().value();
  const model::TensorRef& tensor = file->manifest().tensors()->token_embd;
  EXPECT_TRUE(source->FindPacked(tensor, kernels_->layout()).has_value());
  EXPECT_FALSE(source->FindPacked(tensor, "another").has_value());
}

TEST_F(PreparedTest, AChangedModelIsReadAgain) {
  Prepare();
  std::filesystem::last_write_time(
      model(), std::filesystem::last_write_time(model()) + std::chrono::seconds(5));
  const auto opened = PreparedFile::Open(path(), ModelFile::Open(model()).value()->known());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("earlier state"), std::string::npos);
  EXPECT_EQ(Open()->OpenPrepared(), nullptr);
}

TEST_F(PreparedTest, DamagedAndCutFilesAreNotUsed) {
  Prepare();
  for (const size_t at : {size_t{3}, size_t{17}, size_t{30}, size_t{5000}}) {
    Damage(at);
    EXPECT_EQ(Open()->OpenPrepared(), nullptr) << at;
    Damage(at);
  }
  ASSERT_NE(Open()->OpenPrepared(), nullptr);
  std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - 4097);
  EXPECT_EQ(Open()->OpenPrepared(), nullptr);
  std::filesystem::resize_file(path(), 10);
  EXPECT_EQ(Open()->OpenPrepared(), nullptr);
}

// Its manifest had other hashes.
TEST_F(PreparedTest, OneOfAnEarlierExoIsToBeMadeAgain) {
  Prepare();
  {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file << "exo-prepared-2\n";
  }
  const auto opened = PreparedFile::Open(path(), ModelFile::Open(model()).value()->known());
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("not a prepared file of this version of exo"),
            std::string::npos);
}

}  // namespace
}  // namespace exo::store
