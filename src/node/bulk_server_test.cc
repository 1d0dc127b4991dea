#include "node/bulk_server.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "engine/test_link.h"
#include "node/model_source.h"
#include "store/model.h"
#include "sys/system.h"

namespace exo::node {
namespace {

const NodeId kServer{{200}};

// Far enough that only a fault comes to it.
Time Far() {
  return sys::Now() + std::chrono::minutes(1);
}

// Gives exo-tiny out to devices that are told by their number.
class BulkServerTest : public testing::Test {
 protected:
  using Link = std::unique_ptr<engine::TestLink>;

  BulkServerTest() {
    server_->Share({{.manifest = file_->shared_manifest(),
                     .read = [this](const std::string& tensor, uint64_t offset,
                                    uint64_t bytes) { return Read(tensor, offset, bytes); },
                     .held = {}}});
  }
  Link Connect(uint8_t number) {
    auto [near, far] = engine::TestLink::Pair(NodeId{{number}}, kServer);
    server_->Serve(std::move(far), /*member=*/true);
    return std::move(near);
  }
  // None: its link was closed.
  template <class Reply>
  static std::optional<Reply> Next(engine::DataLink& link) {
    auto got = link.Poll(Far());
    if (!got || got->event != engine::DataLink::Event::kFrame) return std::nullopt;
    return std::get<Reply>(*got->frame.message);
  }
  template <class Reply>
  static std::optional<Reply> Ask(engine::DataLink& link, const wire::Message& question) {
    (void)link.Send(question, {}, Far());
    return Next<Reply>(link);
  }
  bool Measures(engine::DataLink& link) {
    return Ask<wire::LinkEcho>(link, wire::LinkProbe{1}).has_value();
  }
  bool Pulls(engine::DataLink& link) {
    return Ask<wire::ManifestReply>(link, wire::ManifestRequest{Id()}).has_value();
  }
  wire::TensorRequest ForHashes(uint64_t offset) const {
    return {.model = Id(), .name = tensor_.name, .offset = offset, .bytes = 0};
  }
  ModelId Id() const { return file_->manifest().id(); }

  Result<std::vector<uint8_t>> Read(const std::string& tensor, uint64_t offset, uint64_t bytes) {
    const MutexLock lock(mutex_);
    ++reads_;
    changed_.NotifyAll();
    while (stuck_) changed_.Wait(mutex_);
    return file_->TensorBytes(tensor, offset, bytes);
  }

  const std::shared_ptr<const store::ModelFile> file_ =
      store::ModelFile::Open(EXO_SOURCE_DIR "/models/exo-tiny.gguf").value();
  const model::GgufTensor& tensor_ =
      *std::ranges::max_element(file_->manifest().gguf().tensors(), {}, &model::GgufTensor::bytes);
  Mutex mutex_;
  CondVar changed_;
  size_t reads_ = 0;  // with the mutex, as is the next one
  bool stuck_ = false;
  std::unique_ptr<BulkServer> server_ = std::make_unique<BulkServer>();
};

TEST_F(BulkServerTest, SendsHashesFromABlockOn) {
  const Link link = Connect(1);
  const auto all = Ask<wire::TensorReply>(*link, ForHashes(0));
  ASSERT_TRUE(all && all->found);
  std::vector<Hash256> blocks;
  ASSERT_TRUE(TakeHashes(all->bytes, tensor_.bytes, blocks));
  EXPECT_EQ(store::HashOfBlocks(blocks), file_->manifest().HashOf(tensor_.name).value());
  const auto behind = Ask<wire::TensorReply>(*link, ForHashes(store::kHashBlock));
  ASSERT_TRUE(behind && behind->found);
  EXPECT_TRUE(std::ranges::equal(behind->bytes, std::span(all->bytes).subspan(Hash256::kSize)));
  const auto between = Ask<wire::TensorReply>(*link, ForHashes(1));
  ASSERT_TRUE(between);
  EXPECT_FALSE(between->found);
}

TEST_F(BulkServerTest, HashesForOneAtATimeAndForNobodyWhoIsCut) {
  ASSERT_LE(tensor_.bytes, wire::kMaxTensorPiece) << "or one reply reads more than once";
  stuck_ = true;
  const Link first = Connect(1), second = Connect(2);
  ASSERT_TRUE(first->Send(ForHashes(0), {}, Far()));
  {
    const MutexLock lock(mutex_);
    while (reads_ == 0) changed_.Wait(mutex_);
  }
  ASSERT_TRUE(second->Send(ForHashes(0), {}, Far()));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  server_->Cut(NodeId{{2}});
  {
    const MutexLock lock(mutex_);
    EXPECT_EQ(reads_, 1u) << "both at once";
    stuck_ = false;
    changed_.NotifyAll();
  }
  const auto reply = Next<wire::TensorReply>(*first);
  EXPECT_TRUE(reply && reply->found);
  EXPECT_FALSE(Next<wire::TensorReply>(*second));
  server_.reset();  // joins its threads
  EXPECT_EQ(reads_, 1u) << "for somebody who is gone";
}

TEST_F(BulkServerTest, WhoMeasuresNeedsNoPlaceOfThosePulling) {
  std::vector<Link> pulling;
  for (uint8_t i = 0; i < BulkServer::kMaxLinks; ++i) {
    pulling.push_back(Connect(i));
    ASSERT_TRUE(Pulls(*pulling.back()));
  }
  EXPECT_FALSE(Pulls(*Connect(20))) << "one too many";
  const Link measuring = Connect(21);
  EXPECT_TRUE(Measures(*measuring));
  EXPECT_FALSE(Pulls(*measuring));
  pulling.pop_back();
  const Time end = Far();
  bool pulls = false;
  while (!pulls && sys::Now() < end) pulls = Pulls(*Connect(22));
  EXPECT_TRUE(pulls) << "a place came free";
}

TEST_F(BulkServerTest, LinksHaveALimit) {
  std::vector<Link> open;
  for (uint8_t i = 0; i < BulkServer::kMaxOpen; ++i) {
    open.push_back(Connect(i));
    ASSERT_TRUE(Measures(*open.back()));
  }
  EXPECT_FALSE(Measures(*Connect(20)));
}

}  // namespace
}  // namespace exo::node
