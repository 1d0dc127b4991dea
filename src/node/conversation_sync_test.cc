// Devices with a file of conversations each, that write at random while messages between them are
// late and lost: in the end all have the same rows.
#include "node/conversation_sync.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/random.h"
#include "store/conversations.h"

namespace exo::node {
namespace {

constexpr uint64_t kStart = uint64_t{1'800'000'000} * 1000;
constexpr size_t kFrame = 2000;  // bytes of rows: small, so that there are many frames

NodeId NodeOf(size_t index) {
  NodeId id;
  id.bytes[31] = static_cast<uint8_t>(index + 1);
  return id;
}

template <class Id>
Id IdOf(uint64_t number) {
  Id id;
  id.bytes[15] = static_cast<uint8_t>(number);
  return id;
}

class Cluster;

struct Device {
  size_t index = 0;
  int64_t skew_ms = 0;
  std::unique_ptr<store::ConversationFile> file;
  ConversationSync sync;
  size_t rows_received = 0;
};

// Messages between devices in order, each pair with a session that may break.
class Cluster {
 public:
  Cluster(size_t devices, uint64_t seed) : rng_(seed) {
    for (size_t i = 0; i < devices; ++i) {
      devices_.push_back(std::make_unique<Device>());
      Device& device = *devices_.back();
      device.index = i;
      device.skew_ms = static_cast<int64_t>(rng_.Below(7'200'000)) - 3'600'000;
      OpenFile(device);
    }
    up_.assign(devices, std::vector<bool>(devices, false));
  }

  Device& device(size_t index) { return *devices_[index]; }
  Rng& rng() { return rng_; }
  void Pass(Time time) { now_ += time; }

  // A fresh, empty file: the former one was damaged.
  void OpenFile(Device& device) {
    device.file = store::ConversationFile::Open(
                      {.path = "",
                       .self = NodeOf(device.index),
                       .now_ms =
                           [this, &device] {
                             const auto passed = now_ / std::chrono::milliseconds(1);
                             return kStart + static_cast<uint64_t>(passed + device.skew_ms);
                           }})
                      .value();
  }

  void SetUp(size_t a, size_t b, bool up) {
    if (a == b || up_[a][b] == up) return;
    up_[a][b] = up_[b][a] = up;
    if (up) {
      Send(a, b, device(a).file->News().value());
      Send(b, a, device(b).file->News().value());
      return;
    }
    std::erase_if(wire_, [&](const Letter& one) {
      return (one.from == a && one.to == b) || (one.from == b && one.to == a);
    });
    Carry(a, device(a).sync.OnDown(NodeOf(b), now_));
    Carry(b, device(b).sync.OnDown(NodeOf(a), now_));
  }
  void SetAllUp() {
    for (size_t a = 0; a < devices_.size(); ++a) {
      for (size_t b = 0; b < a; ++b) SetUp(a, b, true);
    }
  }

  // A random write, as people make them.
  void Write(size_t at) {
    const wire::RowKey conversation{.owner = rng_.Below(2),
                                    .conversation = IdOf<ConversationId>(1 + rng_.Below(6))};
    wire::RowKey key = conversation;
    if (rng_.Below(3) > 0) key.message = IdOf<MessageId>(1 + rng_.Below(8));
    const bool deletes = rng_.Below(5) == 0;
    const std::string text =
        fmt::format("{} {}", at, rng_.Next()) + std::string(rng_.Below(600), '.');
    // Refused where there is no such conversation, or nothing to delete.
    const auto written = device(at).file->Change(
        key, [&](const store::RowContent*) -> Result<std::optional<store::RowContent>> {
          if (deletes) return std::nullopt;
          return store::RowContent{text.substr(0, store::kMaxTitle), "{}"};
        });
    if (written) Tell(at);
  }
  void Tell(size_t at) {
    const wire::ConversationNews news = device(at).file->News().value();
    for (size_t other = 0; other < devices_.size(); ++other) Send(at, other, news);
  }

  // Delivers a message of a random pair. False: there is none.
  bool Deliver() {
    if (wire_.empty()) return false;
    const Letter& drawn = wire_[rng_.Below(wire_.size())];
    const auto first = std::ranges::find_if(
        wire_, [&](const Letter& one) { return one.from == drawn.from && one.to == drawn.to; });
    Letter letter = std::move(*first);
    wire_.erase(first);
    std::visit([&](auto& message) { On(letter.from, letter.to, std::move(message)); },
               letter.message);
    return true;
  }
  void Settle() {
    for (int round = 0; round < 200'000; ++round) {
      if (Deliver()) continue;
      Pass(std::chrono::minutes(1));
      bool any = false;
      for (auto& one : devices_) {
        auto effects = one->sync.OnTick(now_);
        any |= !effects.empty();
        Carry(one->index, std::move(effects));
      }
      if (!any && wire_.empty()) return;
    }
    ADD_FAILURE() << "they never come to an end";
  }

  // All rows of a device, without its numbers.
  std::string RowsAt(size_t index) {
    std::vector<std::string> all;
    store::ConversationFile& file = *device(index).file;
    const auto news = file.News().value();
    for (uint64_t after = 0; after < news.last;) {
      const auto part = file.VersionsAfter(news.epoch, after).value();
      std::vector<uint64_t> numbers;
      for (const wire::RowVersion& version : part.versions) numbers.push_back(version.number);
      for (const auto& row : file.RowsOf(news.epoch, numbers, SIZE_MAX)->rows) {
        const wire::RowVersion& v = row.version;
        all.push_back(fmt::format("{} {} {}: {} {} {} {} {}", v.key.owner, v.key.conversation.Hex(),
                                  v.key.message.Hex(), v.updated_ms, v.device.Hex(), v.deleted,
                                  v.cleared_ms, row.text));
      }
      after = part.through;
    }
    std::ranges::sort(all);
    return fmt::format("{}", fmt::join(all, "\n"));
  }

 private:
  using Said = std::variant<wire::ConversationNews, wire::ConversationPull,
                            wire::ConversationVersions, wire::ConversationRows>;
  struct Letter {
    size_t from, to;
    Said message;
  };

  void Send(size_t from, size_t to, Said message) {
    if (up_[from][to]) wire_.push_back({from, to, std::move(message)});
  }
  void On(size_t from, size_t to, wire::ConversationNews news) {
    Carry(to, device(to).sync.OnNews(NodeOf(from), news, now_));
  }
  void On(size_t from, size_t to, wire::ConversationPull pull) {
    store::ConversationFile& file = *device(to).file;
    if (pull.rows.empty())
      return Send(to, from, file.VersionsAfter(pull.epoch, pull.after).value());
    Send(to, from, file.RowsOf(pull.epoch, pull.rows, kFrame).value());
  }
  void On(size_t from, size_t to, wire::ConversationVersions part) {
    Carry(to, device(to).sync.OnVersions(NodeOf(from), std::move(part), now_));
  }
  void On(size_t from, size_t to, wire::ConversationRows part) {
    device(to).rows_received += part.rows.size();
    Carry(to, device(to).sync.OnRows(NodeOf(from), std::move(part), now_));
  }

  void Carry(size_t at, ConversationSync::Effects effects) {
    for (ConversationSync::Effect& effect : effects)
      std::visit([&](auto& what) { Do(device(at), what); }, effect);
  }
  void Do(Device& at, ConversationSync::Ask& ask) {
    Send(at.index, ask.peer.bytes[31] - 1u, std::move(ask.pull));
  }
  void Do(Device& at, ConversationSync::FindCursor& find) {
    Carry(at.index,
          at.sync.OnCursor(find.ticket, at.file->Cursor(find.peer, find.epoch).value(), now_));
  }
  // Disks fail now and then.
  bool Fails() { return rng_.Below(50) == 0; }
  void Do(Device& at, ConversationSync::Sift& sift) {
    if (Fails()) return Carry(at.index, at.sync.OnFailed(sift.ticket, now_));
    auto sifted = at.file->Sift(sift.versions).value();
    Carry(at.index, at.sync.OnSifted(sift.ticket, sifted.wanted, sifted.refused, now_));
  }
  void Do(Device& at, ConversationSync::Take& take) {
    if (Fails()) return Carry(at.index, at.sync.OnFailed(take.ticket, now_));
    if (at.file->Take(take.rows).value() > 0) Tell(at.index);
    Carry(at.index, at.sync.OnTaken(take.ticket, now_));
  }
  void Do(Device& at, ConversationSync::KeepCursor& keep) {
    EXPECT_TRUE(at.file->SaveCursor(keep.peer, keep.epoch, keep.number));
  }

  Rng rng_;
  Time now_ = std::chrono::hours(2);
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<std::vector<bool>> up_;
  std::deque<Letter> wire_;
};

class ConvergenceTest : public testing::TestWithParam<size_t> {};

TEST_P(ConvergenceTest, AllComeToTheSameRows) {
  const size_t devices = GetParam();
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    Cluster cluster(devices, seed);
    Rng& rng = cluster.rng();
    for (int step = 0; step < 400; ++step) {
      const size_t a = rng.Below(devices), b = rng.Below(devices);
      switch (rng.Below(12)) {
        case 0:
          cluster.SetUp(a, b, rng.Below(3) > 0);
          break;
        case 1:
          cluster.Pass(std::chrono::seconds(rng.Below(60)));
          break;
        case 2:
        case 3:
        case 4:
          cluster.Write(a);
          break;
        default:
          (void)cluster.Deliver();
      }
    }
    cluster.SetAllUp();
    cluster.Settle();
    const std::string rows = cluster.RowsAt(0);
    EXPECT_GT(rows.size(), 100u);
    for (size_t i = 1; i < devices; ++i) ASSERT_EQ(cluster.RowsAt(i), rows) << "seed " << seed;
  }
}
INSTANTIATE_TEST_SUITE_P(Devices, ConvergenceTest, testing::Values(2, 5));

TEST(ConversationSyncTest, AFreshFileIsFilledAgain) {
  Cluster cluster(3, 7);
  cluster.SetAllUp();
  for (int i = 0; i < 100; ++i) cluster.Write(static_cast<size_t>(i) % 3);
  cluster.Settle();
  const std::string rows = cluster.RowsAt(1);
  cluster.OpenFile(cluster.device(1));
  EXPECT_EQ(cluster.RowsAt(1), "");
  for (size_t other : {0u, 2u}) cluster.SetUp(1, other, false);
  cluster.SetAllUp();
  cluster.Settle();
  // It knows nothing of tombstones that were compacted; none were.
  EXPECT_EQ(cluster.RowsAt(1), rows);
}

TEST(ConversationSyncTest, RowsTravelOnce) {
  constexpr size_t kDevices = 5;
  Cluster cluster(kDevices, 3);
  cluster.SetAllUp();
  for (int i = 0; i < 60; ++i) {
    cluster.Write(0);
    cluster.Settle();
  }
  const uint64_t written = cluster.device(0).file->News()->last;
  for (size_t i = 1; i < kDevices; ++i)
    EXPECT_LE(cluster.device(i).rows_received, written + 5) << i;  // a disk that failed asks again
}

// Writes text into a row, as a person does. Empty: deletes it.
bool Put(Cluster& cluster, size_t at, const wire::RowKey& key, const std::string& text) {
  const auto written = cluster.device(at).file->Change(
      key, [&](const store::RowContent*) -> Result<std::optional<store::RowContent>> {
        if (text.empty()) return std::nullopt;
        return store::RowContent{text, "{}"};
      });
  if (written) cluster.Tell(at);
  return written.has_value();
}
wire::RowKey KeyOf(uint64_t conversation, uint64_t message = 0) {
  return {.conversation = IdOf<ConversationId>(conversation), .message = IdOf<MessageId>(message)};
}
// A conversation's title and messages at a device.
std::string Shown(Cluster& cluster, size_t at, uint64_t conversation) {
  const auto page = cluster.device(at).file->Read(0, KeyOf(conversation).conversation, {}, 1 << 20);
  if (!page) return "none";
  std::string all = page->conversation.content.text + ":";
  for (const store::StoredMessage& one : page->messages) all += " " + one.content.text;
  return all;
}

// What was deleted meanwhile is gone for it, too, whatever it wrote to it before that; what it
// began comes to the others.
TEST(ConversationSyncTest, ADeviceComesBackAfterAWeek) {
  Cluster cluster(3, 11);
  cluster.SetAllUp();
  ASSERT_TRUE(Put(cluster, 0, KeyOf(1), "deleted meanwhile"));
  ASSERT_TRUE(Put(cluster, 0, KeyOf(2), "goes on"));
  cluster.Settle();
  ASSERT_TRUE(Put(cluster, 1, KeyOf(2, 1), "a"));
  cluster.Settle();
  for (size_t other : {0u, 1u}) cluster.SetUp(2, other, false);
  cluster.Pass(std::chrono::hours(3));
  ASSERT_TRUE(Put(cluster, 2, KeyOf(1, 1), "written on the way"));
  ASSERT_TRUE(Put(cluster, 2, KeyOf(2, 2), "b"));
  ASSERT_TRUE(Put(cluster, 2, KeyOf(3), "begun on the way"));
  cluster.Pass(std::chrono::hours(24));
  ASSERT_TRUE(Put(cluster, 1, KeyOf(1), ""));
  ASSERT_TRUE(Put(cluster, 0, KeyOf(2, 3), "c"));
  cluster.Pass(std::chrono::hours(6 * 24));
  cluster.SetAllUp();
  cluster.Settle();
  for (size_t at = 0; at < 3; ++at) {
    EXPECT_EQ(Shown(cluster, at, 1), "none") << at;
    EXPECT_EQ(Shown(cluster, at, 2), "goes on: a b c") << at;
    EXPECT_EQ(Shown(cluster, at, 3), "begun on the way:") << at;
  }
}

// Clocks an hour and more apart: who has seen a write writes later than it, and one that was made
// at the same time on another device is not lost where it is another message.
TEST(ConversationSyncTest, TwoDevicesWriteToOneConversation) {
  constexpr int64_t kHourMs = 3'600'000;
  Cluster cluster(2, 5);
  cluster.device(0).skew_ms = kHourMs;
  cluster.device(1).skew_ms = -kHourMs;
  cluster.SetAllUp();
  ASSERT_TRUE(Put(cluster, 0, KeyOf(1), "first"));
  ASSERT_TRUE(Put(cluster, 0, KeyOf(1, 1), "a"));
  cluster.Settle();
  ASSERT_TRUE(Put(cluster, 1, KeyOf(1), "renamed by a clock that is behind"));
  cluster.Settle();
  EXPECT_EQ(Shown(cluster, 0, 1), "renamed by a clock that is behind: a");
  cluster.SetUp(0, 1, false);
  ASSERT_TRUE(Put(cluster, 0, KeyOf(1, 2), "b"));
  ASSERT_TRUE(Put(cluster, 1, KeyOf(1, 3), "c"));
  ASSERT_TRUE(Put(cluster, 0, KeyOf(1, 1), "a of 0"));
  ASSERT_TRUE(Put(cluster, 1, KeyOf(1, 1), "a of 1"));
  cluster.SetUp(0, 1, true);
  cluster.Settle();
  EXPECT_EQ(Shown(cluster, 0, 1), Shown(cluster, 1, 1));
  EXPECT_EQ(Shown(cluster, 0, 1), "renamed by a clock that is behind: a of 0 b c");
  ASSERT_TRUE(Put(cluster, 1, KeyOf(1), ""));
  cluster.Settle();
  EXPECT_EQ(Shown(cluster, 0, 1), "none");
}

// ---- what a member says that makes no sense ----

constexpr Time kNow = std::chrono::hours(1);
using Effects = ConversationSync::Effects;

template <class T>
const T* Only(const Effects& effects) {
  return effects.size() == 1 ? std::get_if<T>(&effects[0]) : nullptr;
}

// At the question for versions behind number 10 of 20.
ConversationSync Asking() {
  ConversationSync sync;
  const Effects begun = sync.OnNews(NodeOf(1), {.epoch = 5, .last = 20}, kNow);
  EXPECT_NE(Only<ConversationSync::FindCursor>(begun), nullptr);
  const Effects asked = sync.OnCursor(1, 10, kNow);
  const auto* ask = Only<ConversationSync::Ask>(asked);
  EXPECT_TRUE(ask != nullptr && ask->pull.after == 10 && ask->pull.epoch == 5);
  return sync;
}
wire::ConversationVersions Part(std::vector<uint64_t> numbers, uint64_t through) {
  wire::ConversationVersions part{.epoch = 5, .after = 10, .through = through, .last = 20};
  for (const uint64_t number : numbers) part.versions.push_back({.number = number});
  return part;
}

TEST(ConversationSyncTest, NumbersOutOfOrderAreNotFollowed) {
  for (const auto& part : {Part({12, 11}, 20), Part({10}, 20), Part({21}, 20), Part({}, 10),
                           Part({}, 21), Part({11}, 9)}) {
    ConversationSync sync = Asking();
    EXPECT_TRUE(sync.OnVersions(NodeOf(1), part, kNow).empty());
    EXPECT_TRUE(sync.OnTick(kNow).empty());
    EXPECT_EQ(sync.OnTick(kNow + ConversationSync::kRetry).size(), 1u);  // asked anew, later
  }
}

TEST(ConversationSyncTest, AnswersThatNobodyWaitsForArePassedOver) {
  ConversationSync sync = Asking();
  EXPECT_TRUE(sync.OnVersions(NodeOf(2), Part({11}, 20), kNow).empty());
  EXPECT_TRUE(sync.OnRows(NodeOf(1), {.epoch = 5, .through = 11}, kNow).empty());
  EXPECT_TRUE(sync.OnTaken(1, kNow).empty());
  EXPECT_TRUE(sync.OnSifted(1, {11}, 0, kNow).empty());
  EXPECT_NE(Only<ConversationSync::Sift>(sync.OnVersions(NodeOf(1), Part({11}, 20), kNow)),
            nullptr);
  EXPECT_TRUE(sync.OnVersions(NodeOf(1), Part({11}, 20), kNow).empty());
  EXPECT_NE(Only<ConversationSync::Ask>(sync.OnSifted(1, {11}, 0, kNow)), nullptr);
  // Rows that were not asked for.
  const Effects taken = sync.OnRows(
      NodeOf(1), {.epoch = 5, .through = 11, .rows = {{.version = {.number = 12}}}}, kNow);
  const auto* take = Only<ConversationSync::Take>(taken);
  ASSERT_NE(take, nullptr);
  EXPECT_TRUE(take->rows.empty());
}

TEST(ConversationSyncTest, ASilentMemberHoldsUpNobody) {
  ConversationSync sync = Asking();
  EXPECT_TRUE(sync.OnNews(NodeOf(2), {.epoch = 6, .last = 3}, kNow).empty());
  const Effects next = sync.OnTick(kNow + ConversationSync::kAnswerLimit);
  const auto* find = Only<ConversationSync::FindCursor>(next);
  ASSERT_NE(find, nullptr);
  EXPECT_EQ(find->peer, NodeOf(2));
}

// What was refused is asked for again, in front of the first that was.
TEST(ConversationSyncTest, RefusedRowsAreAskedForAgain) {
  ConversationSync sync = Asking();
  (void)sync.OnVersions(NodeOf(1), Part({12, 15}, 20), kNow);
  const Effects kept = sync.OnSifted(1, {}, 15, kNow);
  const auto* keep = Only<ConversationSync::KeepCursor>(kept);
  ASSERT_NE(keep, nullptr);
  EXPECT_EQ(keep->number, 14u);
  EXPECT_TRUE(sync.OnTick(kNow + std::chrono::minutes(59)).empty());
  const Effects again = sync.OnTick(kNow + ConversationSync::kRetryRefused);
  EXPECT_NE(Only<ConversationSync::FindCursor>(again), nullptr);
}

}  // namespace
}  // namespace exo::node
