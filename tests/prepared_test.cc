// A prepared file gives the bits that packing gives, and nothing else than a whole one of this
// source is used.
#include "store/prepared.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <fstream>

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
  EXPECT_EQ(packed->prepared(), nullptr);
  Prepare();
  const auto mapped = Open();
  ASSERT_NE(mapped->prepared(), nullptr);
  EXPECT_EQ(mapped->manifest().id(), packed->manifest().id());
  const auto expected = Logits(*packed), got = Logits(*mapped);
  EXPECT_EQ(std::memcmp(expected.data(), got.data(), expected.size() * sizeof(float)), 0);
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
  EXPECT_EQ(Open()->prepared(), nullptr);
}

TEST_F(PreparedTest, DamagedAndCutFilesAreNotUsed) {
  Prepare();
  for (const size_t at : {size_t{3}, size_t{17}, size_t{30}, size_t{5000}}) {
    Damage(at);
    EXPECT_EQ(Open()->prepared(), nullptr) << at;
    Damage(at);
  }
  ASSERT_NE(Open()->prepared(), nullptr);
  std::filesystem::resize_file(path(), std::filesystem::file_size(path()) - 4097);
  EXPECT_EQ(Open()->prepared(), nullptr);
  std::filesystem::resize_file(path(), 10);
  EXPECT_EQ(Open()->prepared(), nullptr);
}

}  // namespace
}  // namespace exo::store
