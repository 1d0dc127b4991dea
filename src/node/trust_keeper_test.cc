// Trust over restarts: which secret is used, and what is remembered with it.
#include "node/trust_keeper.h"

#include <gtest/gtest.h>

#include "store/test_folder.h"
#include "sys/files.h"

namespace exo::node {
namespace {

const NodeId kSelf{{1}}, kDesk{{2}}, kLaptop{{3}};

class TrustKeeperTest : public testing::Test {
 protected:
  TrustKeeperTest() { jobs_.Stop(); }  // so that Flush writes, in this thread

  // A run of the node: what it changes is on disk at its end.
  void Run(const std::string& given, const std::function<void(TrustKeeper&)>& work) {
    std::shared_ptr<store::State> state = store::State::Open(folder_ / "state.db").value();
    const auto keeper = TrustKeeper::Load(state, jobs_,
                                          {.self = {.id = kSelf, .name = "kitchen"},
                                           .folder = folder_.path(),
                                           .given_secret = given});
    ASSERT_TRUE(keeper) << keeper.error().message;
    work(**keeper);
    (*keeper)->Flush();
  }
  std::string SecretInUse(const std::string& given) {
    std::string text;
    Run(given, [&](TrustKeeper& keeper) { text = keeper.secret()->Text(); });
    return text;
  }
  static TrustKeeper::Saved Ignore() {
    return [](const Result<void>&) {};
  }
  std::string SecretFile() { return sys::ReadFile(folder_ / "cluster.secret").value(); }

  const store::TestFolder folder_;
  net::EventLoop loop_;
  Jobs jobs_{loop_};
};

TEST_F(TrustKeeperTest, WhoIsForgottenStaysSoWithTheNewSecret) {
  std::string first, second;
  Run("", [&](TrustKeeper& keeper) {
    first = keeper.secret()->Text();
    keeper.Admit(kDesk, "desk");
    keeper.Admit(kLaptop, "laptop");
  });
  Run("", [&](TrustKeeper& keeper) {
    EXPECT_TRUE(keeper.IsTrusted(kDesk) && keeper.IsTrusted(kLaptop));
    keeper.Forget(kLaptop, Ignore());
    second = keeper.secret()->Text();
    keeper.Admit(kLaptop, "laptop");  // it proves the old secret once more
    EXPECT_TRUE(keeper.IsRevoked(kLaptop));
  });
  EXPECT_NE(first, second);
  Run("", [&](TrustKeeper& keeper) {
    EXPECT_EQ(keeper.secret()->Text(), second);
    EXPECT_TRUE(keeper.IsTrusted(kDesk));
    EXPECT_TRUE(keeper.IsRevoked(kLaptop));
    EXPECT_EQ(keeper.trust().epoch().node, kSelf);
  });
}

TEST_F(TrustKeeperTest, AGivenSecretIsUsedUntilTheClusterReplacesIt) {
  const std::string given = net::ClusterSecret::Create()->Text();
  EXPECT_EQ(SecretInUse(given), given);
  EXPECT_FALSE(sys::Exists(folder_ / "cluster.secret"));
  std::string replaced;
  Run(given, [&](TrustKeeper& keeper) {
    keeper.Admit(kDesk, "desk");
    keeper.Rotate(Ignore());
    replaced = keeper.secret()->Text();
  });
  EXPECT_EQ(SecretInUse(given), replaced);
  // Another one is another cluster's: nobody there is known.
  const std::string other = net::ClusterSecret::Create()->Text();
  Run(other, [&](TrustKeeper& keeper) {
    EXPECT_EQ(keeper.secret()->Text(), other);
    EXPECT_FALSE(keeper.IsTrusted(kDesk));
    EXPECT_EQ(keeper.trust().epoch(), wire::HybridTime{});
  });
}

// The power went after the state file was written, and before the secret was.
TEST_F(TrustKeeperTest, ACrashForgetsNobodyThatWasForgotten) {
  const std::string before = SecretInUse("");
  Run("", [&](TrustKeeper& keeper) { keeper.Forget(kLaptop, Ignore()); });
  ASSERT_TRUE(sys::WriteFileAtomically(folder_ / "cluster.secret", before + "\n", 0600));
  Run("", [&](TrustKeeper& keeper) {
    EXPECT_TRUE(keeper.IsRevoked(kLaptop));
    EXPECT_EQ(keeper.trust().epoch(), wire::HybridTime{}) << "so that the secret is learned";
  });
}

TEST_F(TrustKeeperTest, TheSecretIsReplacedWhenAMemberBecomesAGuest) {
  const std::string before = SecretInUse("");
  Run("", [&](TrustKeeper& keeper) {
    ASSERT_TRUE(keeper.Admit({.id = kLaptop}));
    EXPECT_EQ(keeper.secret()->Text(), before);
    ASSERT_TRUE(keeper.Admit({.id = kLaptop, .role = wire::TrustRole::kGuest}));
    EXPECT_NE(keeper.secret()->Text(), before);
    EXPECT_TRUE(keeper.trust().IsGuest(kLaptop));
  });
}

TEST_F(TrustKeeperTest, AGuestHasNoSecretAndItsFileStays) {
  const std::string own = SecretInUse("");
  Run("", [&](TrustKeeper& keeper) {
    keeper.Join({.entries = {{.id = kDesk}, {.id = kSelf, .role = wire::TrustRole::kGuest}}},
                Ignore());
    EXPECT_EQ(keeper.secret(), nullptr);
  });
  EXPECT_EQ(SecretFile(), own + "\n");
  Run("", [&](TrustKeeper& keeper) {
    EXPECT_EQ(keeper.secret(), nullptr);
    EXPECT_TRUE(keeper.trust().IsGuest(kSelf));
    EXPECT_TRUE(keeper.IsTrusted(kDesk));
  });
}

}  // namespace
}  // namespace exo::node
