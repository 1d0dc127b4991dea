#include "store/tensor_cache.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "store/model.h"
#include "store/test_folder.h"

namespace exo::store {
namespace {

constexpr uint64_t kPlenty = 1u << 30;

// exo-tiny as a peer gives it out.
class TensorCacheTest : public testing::Test {
 protected:
  backend::StageSpec Spec(uint32_t begin, uint32_t end) const {
    return {.config = manifest_.config(),
            .tensors = manifest_.tensors(),
            .layer_begin = begin,
            .layer_end = end};
  }
  Result<std::vector<uint8_t>> Fetch(const std::string& tensor, uint64_t offset, uint32_t size) {
    ++asked_;
    auto piece = TRY(file_->TensorBytes(tensor, offset, size));
    if (lie_) piece[piece.size() / 2] ^= 1;
    return piece;
  }
  Result<std::unique_ptr<backend::TensorSource>> Pull(TensorCache& cache,
                                                      const backend::StageSpec& spec) {
    return cache.Pull(
        manifest_, spec, [this](auto&&... what) { return Fetch(what...); }, {}, nullptr);
  }
  const model::TensorRef& Query(uint32_t layer) const {
    return manifest_.tensors()->layers[layer].attn_q;
  }
  std::vector<std::byte> BytesOf(const model::TensorRef& tensor, backend::TensorSource& source) {
    const auto bytes = source.Read(tensor, 0, tensor.bytes).value();
    return {bytes.begin(), bytes.end()};
  }

  TestFolder folder_;
  std::shared_ptr<const ModelFile> file_ =
      ModelFile::Open(EXO_SOURCE_DIR "/models/exo-tiny.gguf").value();
  const Manifest& manifest_ = file_->manifest();
  std::atomic<size_t> asked_ = 0;
  bool lie_ = false;
};

TEST_F(TensorCacheTest, PullsOnlyTheStagesTensorsAndOnlyVerifiedOnes) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  lie_ = true;
  EXPECT_EQ(Pull(*cache, Spec(2, 4)).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(sys::ListFolder(folder_ / "t").empty());
  lie_ = false;
  const auto source = Pull(*cache, Spec(2, 4));
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(sys::ListFolder(folder_ / "t").size(), backend::StageTensors(Spec(2, 4)).size());
  EXPECT_FALSE((*source)->Read(Query(0), 0, 1).has_value());
  EXPECT_EQ(BytesOf(Query(2), **source), BytesOf(Query(2), *file_->MakeSource().value()));
  asked_ = 0;
  EXPECT_TRUE(Pull(*cache, Spec(2, 4)));
  EXPECT_EQ(asked_, 0u);
}

// Two loads of one model at once: the second waits for what the first is pulling.
TEST_F(TensorCacheTest, TwoPullsOfOneDigestShareTheWork) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  Mutex mutex;
  CondVar wake;
  bool first_is_inside = false, go_on = false;
  const FetchPiece blocking = [&](const std::string& tensor, uint64_t offset, uint32_t size) {
    const MutexLock lock(mutex);
    first_is_inside = true;
    wake.NotifyAll();
    while (!go_on) wake.Wait(mutex);
    return Fetch(tensor, offset, size);
  };
  Result<std::unique_ptr<backend::TensorSource>> one, two;
  std::thread first([&] { one = cache->Pull(manifest_, Spec(0, 2), blocking, {}, nullptr); });
  {
    const MutexLock lock(mutex);
    while (!first_is_inside) wake.Wait(mutex);
  }
  std::thread second([&] { two = Pull(*cache, Spec(0, 2)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  {
    const MutexLock lock(mutex);
    go_on = true;
    wake.NotifyAll();
  }
  first.join();
  second.join();
  ASSERT_TRUE(one) << one.error().message;
  ASSERT_TRUE(two) << two.error().message;
  EXPECT_EQ(asked_, backend::StageTensors(Spec(0, 2)).size());  // each tensor is one piece
  EXPECT_EQ(BytesOf(Query(1), **two), BytesOf(Query(1), *file_->MakeSource().value()));
}

TEST_F(TensorCacheTest, ACancelledPullLeavesTheOtherItsWork) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  std::atomic<bool> cancel = false;
  const FetchPiece cancelling = [&](const std::string& tensor, uint64_t offset, uint32_t size) {
    if (asked_ == 3) cancel = true;
    return Fetch(tensor, offset, size);
  };
  EXPECT_EQ(cache->Pull(manifest_, Spec(0, 2), cancelling, {}, &cancel).error().code,
            ErrorCode::kCancelled);
  ASSERT_TRUE(Pull(*cache, Spec(0, 2)));
  for (const std::string& name : sys::ListFolder(folder_ / "t")) EXPECT_EQ(name.size(), 64u);
}

TEST_F(TensorCacheTest, WhatLiesUnderAHashIsVerifiedOncePerProcess) {
  ASSERT_TRUE(Pull(*TensorCache::Open(folder_ / "t", kPlenty), Spec(0, 1)));
  const std::string path = folder_ / "t/" + manifest_.HashOf(Query(0).name).value().Hex();
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('!');
  }
  sys::WriteFileAtomically(folder_ / "t/" + path.substr(path.size() - 64) + ".new.1", "left", 0600)
      .value();
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  asked_ = 0;
  const auto source = Pull(*cache, Spec(0, 1));
  ASSERT_TRUE(source);
  EXPECT_EQ(asked_, 1u);
  EXPECT_EQ(BytesOf(Query(0), **source), BytesOf(Query(0), *file_->MakeSource().value()));
  for (const std::string& name : sys::ListFolder(folder_ / "t")) EXPECT_EQ(name.size(), 64u);
}

// R10: the folder has a budget; what a load needs at the moment does not go.
TEST_F(TensorCacheTest, TheLeastRecentlyUsedGoFirst) {
  uint64_t layer_bytes = 0;
  for (const model::TensorRef* tensor : backend::StageTensors(Spec(0, 1)))
    layer_bytes += tensor->bytes;
  const auto cache = TensorCache::Open(folder_ / "t", 2 * layer_bytes + layer_bytes / 2);
  ASSERT_TRUE(Pull(*cache, Spec(0, 1)));
  ASSERT_TRUE(Pull(*cache, Spec(1, 2)));
  ASSERT_TRUE(Pull(*cache, Spec(0, 1)));  // used again: now layer 1 is the oldest
  ASSERT_TRUE(Pull(*cache, Spec(2, 3)));
  EXPECT_LE(cache->bytes(), 2 * layer_bytes + layer_bytes / 2);
  const auto exists = [&](uint32_t layer) {
    return sys::Exists(folder_ / "t/" + manifest_.HashOf(Query(layer).name).value().Hex());
  };
  EXPECT_TRUE(exists(0));
  EXPECT_FALSE(exists(1));
  EXPECT_TRUE(exists(2));
  {
    const auto all = Pull(*cache, Spec(0, 8));
    ASSERT_TRUE(all);
    EXPECT_GT(cache->bytes(), 2 * layer_bytes + layer_bytes / 2);
    EXPECT_TRUE((*all)->Read(Query(0), 0, 1).has_value());
  }
  EXPECT_LE(cache->bytes(), 2 * layer_bytes + layer_bytes / 2);
}

}  // namespace
}  // namespace exo::store
