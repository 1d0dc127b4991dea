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
    limit.Start(std::chrono::seconds(20), [this] {
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

}  // namespace
}  // namespace exo::node
