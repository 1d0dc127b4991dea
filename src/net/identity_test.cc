#include "net/identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "net/secret.h"
#include "net/socket.h"
#include "sys/files.h"

namespace exo::net {
namespace {

class FolderTest : public testing::Test {
 protected:
  FolderTest() {
    std::string name = testing::TempDir() + "exo-net-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~FolderTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};
using IdentityTest = FolderTest;
using SecretTest = FolderTest;

TEST_F(IdentityTest, KeepsItsKeyAndItsId) {
  const auto first = Identity::LoadOrCreate(folder_ + "/data");
  ASSERT_TRUE(first) << first.error().message;
  const auto second = Identity::LoadOrCreate(folder_ + "/data");
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ((*first)->id(), (*second)->id());
  EXPECT_FALSE((*first)->id().IsZero());
  struct stat info{};
  ASSERT_EQ(::stat((folder_ + "/data/key.pem").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(IdentityTest, RefusesAKeyThatOthersCanRead) {
  ASSERT_TRUE(Identity::LoadOrCreate(folder_));
  ::chmod((folder_ + "/key.pem").c_str(), 0644);
  const auto loaded = Identity::LoadOrCreate(folder_);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::kInvalid);
  EXPECT_NE(loaded.error().message.find("chmod 600"), std::string::npos) << loaded.error().message;
}

TEST_F(IdentityTest, RefusesAFileThatIsNoKey) {
  ASSERT_TRUE(sys::WriteFileAtomically(folder_ + "/key.pem", "no key", 0600));
  const auto loaded = Identity::LoadOrCreate(folder_);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("Ed25519"), std::string::npos) << loaded.error().message;
}

TEST_F(SecretTest, KeepsItsFile) {
  const auto first = ClusterSecret::LoadOrCreate(folder_);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = ClusterSecret::LoadOrCreate(folder_);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ((*first)->Text(), (*second)->Text());
  const std::string other = ClusterSecret::Create()->Text();
  ASSERT_TRUE(ClusterSecret::Replace(folder_, other));
  EXPECT_EQ((*ClusterSecret::LoadOrCreate(folder_))->Text(), other);
  ::chmod((folder_ + "/cluster.secret").c_str(), 0640);
  EXPECT_FALSE(ClusterSecret::LoadOrCreate(folder_));
}

TEST_F(SecretTest, TextFormForgivesCaseDashesAndLookalikes) {
  for (int i = 0; i < 50; ++i) {
    const auto secret = ClusterSecret::Create();
    const std::string text = secret->Text();
    EXPECT_EQ(text.size(), 14u * 4 + 13);
    std::string sloppy = " ";
    for (char c : text) {
      if (c == '-') continue;
      if (c == '1') c = 'l';
      if (c == '0') c = 'o';
      sloppy += static_cast<char>(std::tolower(c));
    }
    const auto parsed = ClusterSecret::Parse(sloppy + "\n");
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ((*parsed)->Text(), text);
  }
}

TEST_F(SecretTest, RefusesTypos) {
  const std::string text = ClusterSecret::Create()->Text();
  int accepted = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '-') continue;
    std::string typo = text;
    typo[i] = text[i] == 'Z' ? 'Y' : 'Z';
    accepted += ClusterSecret::Parse(typo).has_value();
  }
  EXPECT_EQ(accepted, 0);
  EXPECT_NE(ClusterSecret::Parse(text.substr(5)).error().message.find("52 characters"),
            std::string::npos);
  EXPECT_NE(ClusterSecret::Parse("ABCU").error().message.find("after 3"), std::string::npos);
  EXPECT_FALSE(ClusterSecret::Parse(""));
}

TEST_F(SecretTest, ProofsAreBoundToSideKeysAndConnection) {
  const auto secret = ClusterSecret::Create();
  const std::array<uint8_t, 32> exporter{1}, other_exporter{2};
  const NodeId a{{1}}, b{{2}};
  const auto proof = secret->Proof(ProofSide::kInitiator, exporter, a, b);
  EXPECT_TRUE(secret->ProofIsValid(ProofSide::kInitiator, exporter, a, b, proof));
  EXPECT_FALSE(secret->ProofIsValid(ProofSide::kListener, exporter, a, b, proof));
  EXPECT_FALSE(secret->ProofIsValid(ProofSide::kInitiator, exporter, b, a, proof));
  EXPECT_FALSE(secret->ProofIsValid(ProofSide::kInitiator, other_exporter, a, b, proof));
  EXPECT_FALSE(
      secret->ProofIsValid(ProofSide::kInitiator, exporter, a, b, std::span(proof).first(31)));
  EXPECT_FALSE(ClusterSecret::Create()->ProofIsValid(ProofSide::kInitiator, exporter, a, b, proof));
}

TEST(SocketTest, ParsesWhatPeopleType) {
  const auto parse = [](const char* text) {
    return ParseHostPort(text, 7).value_or(wire::Address{});
  };
  EXPECT_EQ(parse("1.2.3.4:55"), (wire::Address{"1.2.3.4", 55}));
  EXPECT_EQ(parse("[fe80::1%eth0]:55"), (wire::Address{"fe80::1%eth0", 55}));
  EXPECT_EQ(parse("fe80::1"), (wire::Address{"fe80::1", 7}));
  EXPECT_EQ(parse("desk.local"), (wire::Address{"desk.local", 7}));
  for (const char* bad :
       {"", ":5", "a:", "a:0", "a:65536", "a:x", "[::1", "[::1]5", "[::1]:", "a b:1"}) {
    EXPECT_FALSE(ParseHostPort(bad, 7)) << bad;
  }
  EXPECT_FALSE(ParseHostPort("host", 0));
}

}  // namespace
}  // namespace exo::net
