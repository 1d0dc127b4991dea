#include "store/tensor_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "store/block_hash.h"
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
  // Asks this test.
  class Holder final : public TensorHolder {
   public:
    using Fetcher =
        std::function<Result<std::vector<uint8_t>>(const std::string&, uint64_t, uint32_t)>;
    explicit Holder(Fetcher fetch, std::vector<bool> has = {})
        : fetch_(std::move(fetch)), has_(std::move(has)) {}
    Result<std::vector<bool>> Open(const std::atomic<bool>*) override { return has_; }
    Result<std::vector<uint8_t>> Fetch(const std::string& tensor, uint64_t offset, uint32_t bytes,
                                       const std::atomic<bool>*) override {
      ++asked;
      return fetch_(tensor, offset, bytes);
    }
    Result<std::vector<Hash256>> Blocks(const std::string& tensor, uint64_t bytes,
                                        const std::atomic<bool>*) override {
      BlockHash sum;
      const auto all = TRY(fetch_(tensor, 0, static_cast<uint32_t>(bytes)));
      sum.Update(std::as_bytes(std::span(all)));
      return sum.FinishBlocks();
    }
    size_t asked = 0;

   private:
    const Fetcher fetch_;
    const std::vector<bool> has_;
  };
  static Result<std::unique_ptr<backend::TensorSource>> PullFrom(
      TensorCache& cache, const Manifest& manifest, const backend::StageSpec& spec,
      std::vector<TensorHolder*> holders, const std::atomic<bool>* cancel = nullptr) {
    return cache.Pull(manifest, backend::StagePieces(spec).value(), holders, {}, cancel);
  }
  Result<std::vector<uint8_t>> Fetch(const std::string& tensor, uint64_t offset, uint32_t size) {
    ++asked_;
    auto piece = TRY(file_->TensorBytes(tensor, offset, size));
    if (lie_) piece[piece.size() / 2] ^= 1;
    return piece;
  }
  Result<std::unique_ptr<backend::TensorSource>> Pull(TensorCache& cache,
                                                      const backend::StageSpec& spec) {
    Holder holder([this](auto&&... what) { return Fetch(what...); });
    return PullFrom(cache, manifest_, spec, {&holder});
  }
  const model::TensorRef& Query(uint32_t layer) const {
    return manifest_.tensors()->layers[layer].attn_q;
  }
  std::string FileOf(const model::TensorRef& tensor) const {
    return folder_ / "t/" + manifest_.HashOf(tensor.name).value().Hex() + ".blocks";
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
  Holder blocking([&](const std::string& tensor, uint64_t offset, uint32_t size) {
    const MutexLock lock(mutex);
    first_is_inside = true;
    wake.NotifyAll();
    while (!go_on) wake.Wait(mutex);
    return Fetch(tensor, offset, size);
  });
  Result<std::unique_ptr<backend::TensorSource>> one, two;
  std::thread first([&] { one = PullFrom(*cache, manifest_, Spec(0, 2), {&blocking}); });
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

// The second of two shards, without the output matrix.
class ShardPullTest : public TensorCacheTest {
 protected:
  backend::StageSpec ShardSpec() const {
    backend::StageSpec spec = Spec(0, manifest_.config()->layers);
    const model::ModelConfig& config = *manifest_.config();
    spec.shard = backend::Shard{.head_begin = config.heads / 2,
                                .head_end = config.heads,
                                .ffn_begin = config.ffn_width / 2,
                                .ffn_end = config.ffn_width,
                                .vocab_begin = config.vocab,
                                .vocab_end = config.vocab};
    return spec;
  }
  static uint64_t BytesIn(const std::string& folder) {
    uint64_t bytes = 0;
    for (const std::string& name : sys::ListFolder(folder))
      bytes += sys::RealDisk().Look(folder + "/" + name)->bytes;
    return bytes;
  }
  // What of a tensor the shard reads.
  backend::TensorPiece PieceOf(const model::TensorRef& tensor) const {
    const auto pieces = backend::StagePieces(ShardSpec()).value();
    return *std::ranges::find(pieces, tensor.name, &backend::TensorPiece::tensor);
  }
};

TEST_F(ShardPullTest, OnlyTheBlocksOfAShardsRowsArePulled) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  const auto source = Pull(*cache, ShardSpec());
  ASSERT_TRUE(source) << source.error().message;
  uint64_t whole = 0, blocks = 0;
  for (const auto& piece : backend::StagePieces(ShardSpec()).value()) {
    const uint64_t bytes = manifest_.gguf().FindTensor(piece.tensor)->bytes;
    whole += bytes;
    blocks +=
        std::min(bytes, BlocksOf(piece.end) * kHashBlock) - piece.begin / kHashBlock * kHashBlock;
  }
  EXPECT_EQ(BytesIn(folder_ / "t"), blocks);
  EXPECT_LT(blocks, whole * 3 / 4);
  // The bytes of the file, and no others.
  const backend::TensorPiece piece = PieceOf(Query(1));
  ASSERT_GT(piece.begin, kHashBlock);
  const auto own = (*source)->Read(Query(1), piece.begin, piece.end - piece.begin);
  ASSERT_TRUE(own) << own.error().message;
  const auto all = BytesOf(Query(1), *file_->MakeSource().value());
  EXPECT_TRUE(std::ranges::equal(*own, std::span(all).subspan(piece.begin)));
  (*source)->Done(Query(1), piece.begin, piece.end - piece.begin);
  EXPECT_EQ((*source)->Read(Query(1), 0, 1).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(cache->Held(manifest_)[0]) << "others get whole tensors alone";
}

TEST_F(ShardPullTest, WhatWasPulledIsFoundAgainAndGoesWithItsModel) {
  {
    ASSERT_TRUE(Pull(*TensorCache::Open(folder_ / "t", kPlenty), ShardSpec()));
  }
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  const uint64_t bytes = BytesIn(folder_ / "t");
  EXPECT_EQ(cache->bytes(), bytes);
  // Only hashes of blocks are asked for.
  Holder hashes([this](const std::string& tensor, uint64_t offset, uint32_t size) {
    EXPECT_EQ(size, manifest_.gguf().FindTensor(tensor)->bytes);
    return Fetch(tensor, offset, size);
  });
  ASSERT_TRUE(PullFrom(*cache, manifest_, ShardSpec(), {&hashes}));
  EXPECT_EQ(hashes.asked, 0u);
  EXPECT_EQ(BytesIn(folder_ / "t"), bytes);
  cache->NoteModel(file_->shared_manifest(), "tiny");
  EXPECT_EQ(cache->Remove(manifest_.id()), bytes);
  EXPECT_TRUE(sys::ListFolder(folder_ / "t").empty());
}

TEST_F(ShardPullTest, AWholeTensorServesAShard) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  ASSERT_TRUE(Pull(*cache, Spec(0, manifest_.config()->layers)));
  asked_ = 0;
  ASSERT_TRUE(Pull(*cache, ShardSpec()));
  EXPECT_EQ(asked_, 0u);
}

// Hashes of blocks are proved by the tensor's own, and a run's bytes by them.
TEST_F(ShardPullTest, FalseBlocksAreFoundOut) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  const backend::TensorPiece piece = PieceOf(Query(0));
  const auto pull = [&](const std::function<bool(uint64_t offset, uint32_t size)>& lies) {
    Holder holder([&, lies](const std::string& tensor, uint64_t offset, uint32_t size) {
      auto bytes = file_->TensorBytes(tensor, offset, size);
      if (lies(offset, size)) bytes->back() ^= 1;
      return bytes;
    });
    TensorHolder* const holders[] = {&holder};
    return cache->Pull(manifest_, {&piece, 1}, holders, {}, nullptr);
  };
  const auto hashes = pull([](uint64_t offset, uint32_t) { return offset == 0; });
  ASSERT_FALSE(hashes);
  EXPECT_EQ(hashes.error().message, "the hashes of blocks of tensor " + Query(0).name +
                                        " from a peer do not have the promised hash");
  EXPECT_EQ(pull([](uint64_t offset, uint32_t) { return offset > 0; }).error().code,
            ErrorCode::kCorrupt);
  EXPECT_TRUE(sys::ListFolder(folder_ / "t").empty());
  EXPECT_TRUE(pull([](uint64_t, uint32_t) { return false; }));
}

TEST_F(TensorCacheTest, ACancelledPullLeavesTheOtherItsWork) {
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  std::atomic<bool> cancel = false;
  Holder cancelling([&](const std::string& tensor, uint64_t offset, uint32_t size) {
    if (asked_ == 3) cancel = true;
    return Fetch(tensor, offset, size);
  });
  EXPECT_EQ(PullFrom(*cache, manifest_, Spec(0, 2), {&cancelling}, &cancel).error().code,
            ErrorCode::kCancelled);
  ASSERT_TRUE(Pull(*cache, Spec(0, 2)));
  for (const std::string& name : sys::ListFolder(folder_ / "t"))
    EXPECT_TRUE(name.ends_with(".blocks"));
}

TEST_F(TensorCacheTest, WhatLiesUnderAHashIsVerifiedOncePerProcess) {
  ASSERT_TRUE(Pull(*TensorCache::Open(folder_ / "t", kPlenty), Spec(0, 1)));
  const std::string path = FileOf(Query(0));
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('!');
  }
  sys::WriteFileAtomically(path + ".new.1", "left", 0600).value();
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  asked_ = 0;
  const auto source = Pull(*cache, Spec(0, 1));
  ASSERT_TRUE(source);
  EXPECT_EQ(asked_, 1u);
  EXPECT_EQ(BytesOf(Query(0), **source), BytesOf(Query(0), *file_->MakeSource().value()));
  for (const std::string& name : sys::ListFolder(folder_ / "t"))
    EXPECT_TRUE(name.ends_with(".blocks"));
}

// An exo that hashed tensors as one block each has left them: no pull would ever ask for them.
TEST_F(TensorCacheTest, WhatIsNamedByAnotherKindOfHashGoes) {
  ASSERT_TRUE(Pull(*TensorCache::Open(folder_ / "t", kPlenty), Spec(0, 1)));
  const std::string whole(64, 'a'), run = whole + "-" + std::string(64, 'b');
  for (const std::string& name : {whole, run, std::string("notes")})
    sys::WriteFileAtomically(folder_ / "t/" + name, "bytes", 0600).value();
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  EXPECT_FALSE(sys::Exists(folder_ / "t/" + whole));
  EXPECT_FALSE(sys::Exists(folder_ / "t/" + run));
  EXPECT_TRUE(sys::Exists(folder_ / "t/notes")) << "not ours";
  asked_ = 0;
  EXPECT_TRUE(Pull(*cache, Spec(0, 1)));
  EXPECT_EQ(asked_, 0u);
}

// Two members with half of the tensors each, and one that has them all but comes last.
TEST_F(TensorCacheTest, SeveralHoldersSendWhatTheyHave) {
  const size_t tensors = manifest_.hashes().size();
  std::vector<bool> even(tensors), odd(tensors);
  for (size_t i = 0; i < tensors; ++i) (i % 2 == 0 ? even : odd)[i] = true;
  const auto fetch = [this](auto&&... what) { return Fetch(what...); };
  Holder one(fetch, even), two(fetch, odd);
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  const auto source = PullFrom(*cache, manifest_, Spec(0, 4), {&one, &two});
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(one.asked + two.asked, backend::StageTensors(Spec(0, 4)).size());
  EXPECT_GT(one.asked, 0u);
  EXPECT_GT(two.asked, 0u);
  EXPECT_EQ(BytesOf(Query(3), **source), BytesOf(Query(3), *file_->MakeSource().value()));
  Holder half(fetch, even);
  EXPECT_EQ(PullFrom(*cache, manifest_, Spec(4, 6), {&half}).error().code, ErrorCode::kNotFound);
}

TEST_F(TensorCacheTest, WhoeverLiesOrLeavesIsReplaced) {
  std::atomic<size_t> answered = 0;
  const auto fetch = [this](auto&&... what) { return Fetch(what...); };
  Holder liar([&](const std::string& tensor, uint64_t offset,
                  uint32_t size) -> Result<std::vector<uint8_t>> {
    auto piece = Fetch(tensor, offset, size).value();
    piece[0] ^= 1;
    ++answered;
    return piece;
  });
  Holder leaver([&](auto&&...) -> Result<std::vector<uint8_t>> {
    ++answered;
    return Fail(ErrorCode::kDisconnected, "gone");
  });
  Holder honest([&](const std::string& tensor, uint64_t offset, uint32_t size) {
    while (answered < 2) std::this_thread::yield();
    return fetch(tensor, offset, size);
  });
  const auto cache = TensorCache::Open(folder_ / "t", kPlenty);
  const auto source = PullFrom(*cache, manifest_, Spec(0, 4), {&liar, &leaver, &honest});
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(liar.asked, 1u);
  EXPECT_EQ(leaver.asked, 1u);
  EXPECT_EQ(honest.asked, backend::StageTensors(Spec(0, 4)).size());
  EXPECT_EQ(BytesOf(Query(3), **source), BytesOf(Query(3), *file_->MakeSource().value()));
  EXPECT_EQ(PullFrom(*cache, manifest_, Spec(4, 6), {&liar, &leaver}).error().code ==
                ErrorCode::kNotFound,
            false)
      << "what happened is told, not that nobody is left";
}

// The whole model, with a note of it.
class PulledModelTest : public TensorCacheTest {
 protected:
  PulledModelTest() {
    cache_ = TensorCache::Open(folder_ / "t", kPlenty);
    EXPECT_TRUE(Pull(*cache_, Whole()));
    cache_->NoteModel(file_->shared_manifest(), "tiny");
  }
  backend::StageSpec Whole() const {
    backend::StageSpec spec = Spec(0, manifest_.config()->layers);
    spec.lead = true;
    return spec;
  }
  std::string Note() const { return PulledModelPath(folder_ / "t", manifest_.id()); }
  std::string TensorFile() const { return FileOf(Query(0)); }
  // As after a restart.
  std::shared_ptr<TensorCache> Again(uint64_t budget = kPlenty) {
    cache_.reset();
    return TensorCache::Open(folder_ / "t", budget);
  }

  std::shared_ptr<TensorCache> cache_;
};

TEST_F(PulledModelTest, IsKnownAfterARestart) {
  const auto cache = Again();
  ASSERT_EQ(cache->Models().size(), 1u);
  const PulledModel model = cache->Models()[0];
  EXPECT_EQ(model.name, "tiny");
  EXPECT_EQ(model.manifest->id(), manifest_.id());
  EXPECT_EQ(model.manifest->bytes(), manifest_.bytes());
  EXPECT_EQ(cache->FindModel(manifest_.id()), model.manifest);
  // It loads without anybody, and others can have it.
  asked_ = 0;
  EXPECT_TRUE(Pull(*cache, Whole()));
  EXPECT_EQ(asked_, 0u);
  const std::string& name = Query(3).name;
  EXPECT_EQ(cache->TensorBytes(manifest_, name, 64, 128).value(),
            file_->TensorBytes(name, 64, 128).value());
  EXPECT_EQ(cache->TensorBytes(manifest_, name, Query(3).bytes, 1).error().code,
            ErrorCode::kInvalid);
  EXPECT_EQ(cache->TensorBytes(manifest_, "none", 0, 1).error().code, ErrorCode::kNotFound);
}

TEST_F(PulledModelTest, IsNoneWithAPartOfTheTensors) {
  const auto cache = TensorCache::Open(folder_ / "part", kPlenty);
  ASSERT_TRUE(Pull(*cache, Spec(0, manifest_.config()->layers)));  // no embedding
  cache->NoteModel(file_->shared_manifest(), "tiny");
  EXPECT_TRUE(cache->Models().empty());
  ASSERT_EQ(cache->Parts().size(), 1u) << "others can have what is here";
  const std::vector<bool> held = cache->Held(manifest_);
  EXPECT_EQ(std::ranges::count(held, true),
            std::ssize(backend::StageTensors(Spec(0, manifest_.config()->layers))));
  const uint64_t version = cache->models_version();
  ASSERT_TRUE(Pull(*cache, Whole()));
  EXPECT_EQ(cache->models_version(), version);
  cache->NoteModel(file_->shared_manifest(), "tiny");
  EXPECT_EQ(cache->Models().size(), 1u);
  EXPECT_TRUE(cache->Parts().empty());
  EXPECT_NE(cache->models_version(), version);
}

TEST_F(PulledModelTest, ADamagedNoteIsIgnoredAndRemoved) {
  const std::string good = sys::ReadFile(Note()).value();
  const auto expect_forgotten = [&](const std::string& bytes, const std::string& what) {
    sys::WriteFileAtomically(Note(), bytes, 0600).value();
    EXPECT_TRUE(Again()->Models().empty()) << what;
    EXPECT_FALSE(sys::Exists(Note())) << what;
  };
  for (const size_t length : {size_t{0}, size_t{12}, size_t{40}, good.size() / 2, good.size() - 1})
    expect_forgotten(good.substr(0, length), "cut to " + std::to_string(length));
  expect_forgotten(good + "x", "longer");
  for (const size_t place : {size_t{0}, size_t{20}, size_t{50}, good.size() / 2}) {
    std::string bytes = good;
    bytes[place] ^= 1;
    expect_forgotten(bytes, "changed at " + std::to_string(place));
  }
  // Right in itself, but of another model.
  sys::WriteFileAtomically(PulledModelPath(folder_ / "t", ModelId{{7}}), good, 0600).value();
  EXPECT_TRUE(Again()->Models().empty());
  EXPECT_FALSE(sys::Exists(PulledModelPath(folder_ / "t", ModelId{{7}})));
  sys::WriteFileAtomically(Note(), good, 0600).value();
  EXPECT_EQ(Again()->Models().size(), 1u);
}

// What lies in a name goes to other devices and onto terminals.
TEST_F(PulledModelTest, ANoteWithoutAProperNameIsIgnored) {
  for (const std::string& name : {std::string(), std::string(300, 'n'), std::string("\xff\xfe")}) {
    WritePulledModel(folder_ / "t", {.name = name, .manifest = file_->shared_manifest()}).value();
    EXPECT_TRUE(Again()->Models().empty()) << name;
  }
}

TEST_F(PulledModelTest, GoesWithItsTensors) {
  const uint64_t version = cache_->models_version();
  std::filesystem::remove(TensorFile());
  EXPECT_FALSE(cache_->TensorBytes(manifest_, Query(0).name, 0, 1).has_value());
  EXPECT_TRUE(cache_->Models().empty());
  EXPECT_NE(cache_->models_version(), version);
  EXPECT_FALSE(sys::Exists(Note()));

  ASSERT_TRUE(Pull(*cache_, Whole()));
  cache_->NoteModel(file_->shared_manifest(), "tiny");
  std::filesystem::remove(TensorFile());
  EXPECT_TRUE(Again()->Models().empty()) << "a tensor is missing at the start";
  EXPECT_FALSE(sys::Exists(Note()));

  cache_ = Again();
  ASSERT_TRUE(Pull(*cache_, Whole()));
  cache_->NoteModel(file_->shared_manifest(), "tiny");
  const uint64_t bytes = cache_->bytes();
  const auto smaller = Again(bytes - 1);
  EXPECT_TRUE(smaller->Models().empty()) << "one was over the budget";
  EXPECT_FALSE(sys::Exists(Note()));
}

TEST_F(PulledModelTest, IsRemovedButForWhatALoadIsUsing) {
  EXPECT_EQ(cache_->Remove(ModelId{{7}}), 0u);
  {
    const auto source = Pull(*cache_, Spec(0, 1));
    ASSERT_TRUE(source);
    EXPECT_GT(cache_->Remove(manifest_.id()), 0u);
    EXPECT_TRUE(cache_->Models().empty());
    EXPECT_FALSE(sys::Exists(Note()));
    EXPECT_EQ(sys::ListFolder(folder_ / "t").size(), backend::StageTensors(Spec(0, 1)).size());
  }
  cache_->NoteModel(file_->shared_manifest(), "tiny");
  ASSERT_EQ(cache_->Parts().size(), 1u);
  const uint64_t left = cache_->bytes();
  EXPECT_EQ(cache_->Remove(manifest_.id()), left);
  EXPECT_TRUE(cache_->Parts().empty());
  EXPECT_TRUE(sys::ListFolder(folder_ / "t").empty());
}

TEST_F(PulledModelTest, IsNoneWhenATensorIsDamaged) {
  {
    std::fstream file(TensorFile(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.put('!');
  }
  const auto cache = Again();
  EXPECT_EQ(cache->Models().size(), 1u) << "hashed when it is used";
  EXPECT_FALSE(cache->TensorBytes(manifest_, Query(0).name, 0, 1).has_value());
  EXPECT_TRUE(cache->Models().empty());
  EXPECT_FALSE(sys::Exists(TensorFile()));
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
  const auto missing = [&](uint32_t layer) {
    return std::ranges::count_if(
        backend::StageTensors(Spec(layer, layer + 1)),
        [&](const model::TensorRef* tensor) { return !sys::Exists(FileOf(*tensor)); });
  };
  EXPECT_EQ(missing(0), 0);
  EXPECT_GT(missing(1), 0);
  EXPECT_EQ(missing(2), 0);
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
