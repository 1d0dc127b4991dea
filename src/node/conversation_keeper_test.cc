// Keepers of three devices on one loop, with files in memory: two members and a guest.
#include "node/conversation_keeper.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace exo::node {
namespace {

const NodeId kNode{{1}}, kOther{{2}}, kGuest{{3}};

// What one device sees of the others; what it sends arrives in a later turn of the loop.
class Side final : public ConversationPeers {
 public:
  Side(net::EventLoop& loop, const NodeId& self, std::map<NodeId, Side*>& all)
      : loop_(loop),
        self_(self),
        all_(all),
        jobs_(loop),
        keeper_(loop, jobs_, *this, {.self = self}) {
    all_[self] = this;
  }
  bool IsMember(const NodeId& node) const override { return node != kGuest; }
  std::vector<NodeId> SessionsUp() const override {
    std::vector<NodeId> up;
    for (const auto& [id, side] : all_) {
      if (id != self_) up.push_back(id);
    }
    return up;
  }
  void SendTo(const NodeId& peer, const wire::Message& message) override {
    ++sent_to[peer];
    loop_.Post([this, to = all_.at(peer), message = wire::Message(message)]() mutable {
      EXPECT_TRUE(to->keeper_.OnMessage(self_, message));
    });
  }
  ConversationKeeper& keeper() { return keeper_; }
  std::map<NodeId, int> sent_to;

 private:
  net::EventLoop& loop_;
  const NodeId self_;
  std::map<NodeId, Side*>& all_;
  Jobs jobs_;
  ConversationKeeper keeper_;
};

class ConversationKeeperTest : public testing::Test, public ConversationWatcher {
 protected:
  // Until Stop, or for too long.
  void Run() {
    net::Timer limit(loop_);
    limit.Start(std::chrono::seconds(60), [this] {
      ADD_FAILURE() << "nothing came";
      loop_.Stop();
    });
    loop_.Run();
  }
  void OnConversations(std::span<const ConversationChange> changes) override {
    told_.insert(told_.end(), changes.begin(), changes.end());
    loop_.Stop();
  }
  static RowChange To(const std::string& title) {
    return [title](const RowContent*) { return std::optional(RowContent{title, "{}"}); };
  }
  static RowChange Gone() {
    return [](const RowContent*) { return std::optional<RowContent>(); };
  }

  net::EventLoop loop_;
  std::map<NodeId, Side*> all_;
  Side node_{loop_, kNode, all_}, other_{loop_, kOther, all_}, guest_{loop_, kGuest, all_};
  const wire::RowKey key_{.owner = 7, .conversation = ConversationId{{5}}};
  std::vector<ConversationChange> told_;
};

TEST_F(ConversationKeeperTest, AMemberHearsOfWhatAnotherWrites) {
  const auto watching = other_.keeper().Watch(7, *this);
  const auto others = other_.keeper().Watch(0, *this);  // of another owner: nothing is told
  node_.keeper().Change(key_, To("hello"), [](const auto& done) { EXPECT_TRUE(done); });
  Run();
  EXPECT_EQ(told_, (std::vector<ConversationChange>{{7, key_.conversation, false}}));
  std::string title;
  other_.keeper().List({.owner = 7}, [&](const Result<ConversationPage>& page) {
    title = page->data.at(0).content.text;
    loop_.Stop();
  });
  Run();
  EXPECT_EQ(title, "hello");
  node_.keeper().Change(key_, Gone(), [](const auto& done) { EXPECT_TRUE(done); });
  Run();
  EXPECT_TRUE(told_.back().deleted);
  EXPECT_EQ(node_.sent_to[kGuest] + other_.sent_to[kGuest], 0);
}

// One that was away hears of it with its session.
TEST_F(ConversationKeeperTest, ASessionBringsWhatIsMissing) {
  all_.erase(kOther);
  node_.keeper().Change(key_, To("hello"), [this](const auto&) { loop_.Stop(); });
  Run();
  all_[kOther] = &other_;
  const auto watching = other_.keeper().Watch(7, *this);
  node_.keeper().OnUp(kOther);
  Run();
  EXPECT_EQ(told_.size(), 1u);
}

TEST_F(ConversationKeeperTest, AGuestNeitherGetsNorGives) {
  std::string said;
  guest_.keeper().List(
      {}, [&](const Result<ConversationPage>& page) { said = page ? "" : page.error().message; });
  EXPECT_NE(said.find("guest"), std::string::npos) << said;
  // It asks all the same, and offers what it has.
  for (wire::Message message : std::initializer_list<wire::Message>{
           wire::ConversationPull{.epoch = 1}, wire::ConversationNews{.epoch = 1, .last = 9},
           wire::ConversationRows{.epoch = 1}, wire::ConversationVersions{.epoch = 1}})
    EXPECT_TRUE(node_.keeper().OnMessage(kGuest, message));
  guest_.keeper().OnUp(kNode);
  node_.keeper().Change(key_, To("hello"), [this](const auto&) { loop_.Stop(); });
  Run();
  const auto watching = other_.keeper().Watch(7, *this);
  Run();  // the other member has it by now
  EXPECT_EQ(node_.sent_to[kGuest], 0);
  EXPECT_TRUE(guest_.sent_to.empty());
}

std::vector<ImportedRow> ManyConversations(size_t count) {
  std::vector<ImportedRow> rows;
  for (size_t i = 0; i < count; ++i) {
    ConversationId id{{9}};
    id.bytes[14] = static_cast<uint8_t>(i >> 8);
    id.bytes[15] = static_cast<uint8_t>(i);
    rows.push_back({.key = {.owner = 7, .conversation = id}, .content = {"imported", "{}"}});
  }
  return rows;
}

// The slow import and the quick question: who asks while parts are taken is answered before the
// end, and sees whole parts.
TEST_F(ConversationKeeperTest, AnImportLetsQuestionsThrough) {
  constexpr size_t kCount = 4 * store::kImportRows;
  std::vector<std::string> order;
  node_.keeper().Import(
      ManyConversations(kCount),
      [&](const ImportProgress& progress) {
        EXPECT_EQ(progress.total, kCount);
        order.push_back(fmt::format("part {}", progress.taken.added));
        if (order.size() == 1) {
          node_.keeper().List({.owner = 7}, [&](const Result<ConversationPage>& page) {
            EXPECT_EQ(page->data.size(), 50u);
            order.push_back("list");
          });
        }
        return true;
      },
      [&](const Result<ImportProgress>& whole) {
        EXPECT_EQ(whole->taken.added, kCount);
        order.push_back("end");
        loop_.Stop();
      });
  Run();
  EXPECT_EQ(order.front(), fmt::format("part {}", store::kImportRows));
  EXPECT_EQ(order.back(), "end");
  EXPECT_EQ(order.size(), 5u);  // the last part is the end
  // Two jobs run side by side at most, so that at most one part is taken before the question.
  EXPECT_LE(std::ranges::find(order, "list") - order.begin(), 2);
}

TEST_F(ConversationKeeperTest, AnImportThatIsCutKeepsWhatItTook) {
  constexpr size_t kCount = 3 * store::kImportRows;
  node_.keeper().Import(
      ManyConversations(kCount), [](const ImportProgress&) { return false; },
      [&](const Result<ImportProgress>& whole) {
        EXPECT_EQ(whole->taken.added, store::kImportRows);
        loop_.Stop();
      });
  Run();
  // A row that is refused ends it; the message says what is here by then.
  std::vector<ImportedRow> rows = ManyConversations(kCount);
  rows.back().content.text = std::string(kMaxTitle + 1, 't');
  std::string said;
  const auto all = [](const ImportProgress&) { return true; };
  node_.keeper().Import(rows, all, [&](const Result<ImportProgress>& whole) {
    said = whole ? "" : whole.error().message;
    loop_.Stop();
  });
  Run();
  EXPECT_NE(
      said.find(fmt::format("{} of {} conversations were taken", 2 * store::kImportRows, kCount)),
      std::string::npos)
      << said;
  rows.back().content.text = "fits";
  node_.keeper().Import(rows, all, [&](const Result<ImportProgress>& whole) {
    EXPECT_EQ(whole->taken.unchanged, 2 * store::kImportRows);
    EXPECT_EQ(whole->taken.added, store::kImportRows);
    loop_.Stop();
  });
  Run();
}

}  // namespace
}  // namespace exo::node
