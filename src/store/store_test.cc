#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>

#include "base/sha256.h"
#include "store/block_hash.h"
#include "store/manifest.h"
#include "store/model.h"
#include "store/state.h"
#include "store/test_folder.h"

namespace exo::store {
namespace {

constexpr const char* kTiny = EXO_SOURCE_DIR "/models/exo-tiny.gguf";

using Folder = TestFolder;

NodeId Id(uint8_t value) {
  NodeId id;
  id.bytes[0] = value;
  return id;
}

wire::TrustEntry Forgotten(uint8_t value) {
  return {.id = Id(value), .role = wire::TrustRole::kForgotten, .name = "desk"};
}

TEST(StateTest, TrustIsReplacedAsAWhole) {
  const Folder folder;
  StoredTrust trust{.record = {.epoch = {.wall_ms = 7, .counter = 3, .node = Id(9)},
                               .entries = {{.id = Id(1), .name = "old"}, Forgotten(2)}},
                    .secret = "now",
                    .former = "before"};
  {
    auto state = State::Open(folder / "state.db").value();
    EXPECT_TRUE(state->Trust()->record.entries.empty());
    ASSERT_TRUE(state->SaveTrust(trust));
    trust.record.entries[0] = {.id = Id(3), .role = wire::TrustRole::kGuest, .name = "new"};
    std::swap(trust.record.entries[0], trust.record.entries[1]);
    ASSERT_TRUE(state->SaveTrust(trust));
    // No key twice: the first half of a change that fails is undone.
    StoredTrust broken = trust;
    broken.record.entries.push_back(broken.record.entries[0]);
    EXPECT_FALSE(state->SaveTrust(broken));
    EXPECT_EQ(state->Increment("incarnation").value(), 1u);
  }
  auto state = State::Open(folder / "state.db").value();
  const StoredTrust found = state->Trust().value();
  EXPECT_EQ(found.record, trust.record);
  EXPECT_EQ(found.secret, "now");
  EXPECT_EQ(found.former, "before");
  EXPECT_EQ(state->Increment("incarnation").value(), 2u);
  EXPECT_EQ(state->Increment("incarnation", 1000).value(), 1000u);
  EXPECT_EQ(state->Increment("incarnation", 5).value(), 1001u);
}

TEST(StateTest, RemembersWhereTheLatestMembersWere) {
  const Folder folder;
  const std::string path = folder / "state.db";
  {
    const auto state = *State::Open(path);
    for (int i = 1; i <= State::kMaxKnownPeers + 6; ++i) {
      ASSERT_TRUE(state->RememberPeer(
          {Id(static_cast<uint8_t>(i)), "10.0.0.1", static_cast<uint16_t>(1000 + i)}, i));
    }
    // Seen again elsewhere: the old address is replaced, and it is the latest now.
    ASSERT_TRUE(state->RememberPeer({Id(9), "fe80::1%eth0", 7}, 1000));
    ASSERT_TRUE(state->SaveTrust({.record = {.entries = {Forgotten(10)}}}));
  }
  const std::vector<KnownPeer> peers = (*State::Open(path))->RememberedPeers().value();
  ASSERT_EQ(peers.size(), static_cast<size_t>(State::kMaxKnownPeers - 1));
  EXPECT_EQ(peers[0].id, Id(9));
  EXPECT_EQ(peers[0].host, "fe80::1%eth0");
  EXPECT_EQ(peers[0].port, 7);
  EXPECT_EQ(peers.back().id, Id(7)) << "the oldest went first";
  for (const KnownPeer& peer : peers) EXPECT_NE(peer.id, Id(10)) << "forgotten";
}

TEST(StateTest, DamagedFileIsAnErrorThatSaysWhatToDo) {
  const Folder folder;
  ASSERT_TRUE(sys::WriteFileAtomically(folder / "state.db", std::string(5000, 'x'), 0600));
  const auto state = State::Open(folder / "state.db");
  ASSERT_FALSE(state.has_value());
  EXPECT_NE(state.error().message.find("move it away"), std::string::npos);
}

void Execute(const std::string& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

// A file as version 0.1 wrote it.
TEST(StateTest, TheFileOfTheFirstVersionIsMigrated) {
  const Folder folder;
  Execute(folder / "state.db", R"sql(
CREATE TABLE member (id TEXT PRIMARY KEY, name TEXT NOT NULL, revoked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE manifest (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
                       manifest BLOB NOT NULL);
CREATE TABLE model (path TEXT PRIMARY KEY);
INSERT INTO setting VALUES ('incarnation', '41');
INSERT INTO model VALUES ('/m/x.gguf');
INSERT INTO manifest VALUES ('/m/x.gguf', 10, 20, x'00');
)sql");
  Execute(folder / "state.db",
          ("INSERT INTO member VALUES ('" + Id(1).Hex() + "', 'desk', 1)").c_str());
  auto state = State::Open(folder / "state.db");
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ((*state)->Trust()->record.entries, std::vector{Forgotten(1)});
  EXPECT_EQ((*state)->Increment("incarnation").value(), 42u);
  EXPECT_EQ((*state)->RegisteredModels().value(), std::vector<std::string>{"/m/x.gguf"});
  const KnownFile known{.path = "/m/x.gguf", .bytes = 10, .modified_ns = 20};
  EXPECT_FALSE((*state)->FindManifest(known).value().has_value());
  const std::vector<std::byte> manifest = {std::byte{7}};
  ASSERT_TRUE((*state)->SaveManifest(known, manifest));
  EXPECT_EQ((*state)->FindManifest(known).value(), manifest);
  state = {};
  EXPECT_TRUE(State::Open(folder / "state.db"));
}

TEST(StateTest, AFileOfANewerVersionIsRefusedInWords) {
  const Folder folder;
  Execute(folder / "state.db", "PRAGMA user_version = 99");
  const auto state = State::Open(folder / "state.db");
  ASSERT_FALSE(state);
  EXPECT_EQ(state.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(state.error().message.find("newer exo"), std::string::npos);
}

// Whoever asks whether a key is forgotten must not hear "never seen".
TEST(StateTest, AFailureIsNotAnAbsentRow) {
  const Folder folder;
  {
    ASSERT_TRUE(State::Open(folder / "state.db")
                    .value()
                    ->SaveTrust({.record = {.entries = {Forgotten(1)}}}));
  }
  Execute(folder / "state.db", "ALTER TABLE member RENAME TO lost");
  auto state = State::Open(folder / "state.db").value();
  EXPECT_EQ(state->Trust().error().code, ErrorCode::kIo);
}

TEST(StateTest, AForgottenModelIsNotRegistered) {
  const Folder folder;
  auto state = State::Open(folder / "state.db").value();
  ASSERT_TRUE(state->RegisterModel("/a.gguf"));
  ASSERT_TRUE(state->RegisterModel("/b.gguf"));
  ASSERT_TRUE(state->ForgetModel("/a.gguf"));
  EXPECT_EQ(state->RegisteredModels().value(), std::vector<std::string>{"/b.gguf"});
}

TEST(ManifestTest, SurvivesItsBytesAndIsKnownByItsHash) {
  const auto file = ModelFile::Open(kTiny);
  ASSERT_TRUE(file) << file.error().message;
  const Manifest& manifest = (*file)->manifest();
  auto copy = Manifest::FromBytes(manifest.bytes());
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_EQ((*copy)->id(), manifest.id());
  EXPECT_EQ((*copy)->config()->layers, manifest.config()->layers);
  EXPECT_GT(manifest.weights().parameters, 0u);
  EXPECT_EQ((*copy)->weights().parameters, model::CountWeights(manifest.gguf()).parameters);
  EXPECT_EQ((*copy)->weights().type, model::CountWeights(manifest.gguf()).type);
  const auto bytes =
      (*file)->TensorBytes("output_norm.weight", 0, manifest.tensors()->output_norm.bytes);
  ASSERT_TRUE(bytes);
  const Hash256 block = Sha256Of(std::as_bytes(std::span(*bytes)));
  EXPECT_EQ(HashOfBlocks({&block, 1}), manifest.HashOf("output_norm.weight").value());
  EXPECT_FALSE(
      (*file)->TensorBytes("output_norm.weight", 1, manifest.tensors()->output_norm.bytes));
  EXPECT_FALSE((*file)->TensorBytes("no.such.tensor", 0, 1));
}

TEST(ManifestTest, EveryTruncationAndManyFlipsAreErrorsOrAnotherModel) {
  const auto file = ModelFile::Open(kTiny);
  ASSERT_TRUE(file);
  const std::vector<std::byte>& bytes = (*file)->manifest().bytes();
  for (size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 97) {
    EXPECT_FALSE(
        Manifest::FromBytes({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}))
        << size;
  }
  for (size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 199) {
    auto flipped = bytes;
    flipped[at] ^= std::byte{0x40};
    const auto parsed = Manifest::FromBytes(flipped);
    if (parsed) {
      EXPECT_NE((*parsed)->id(), (*file)->manifest().id()) << at;
    }
  }
}

TEST(ModelTest, PathsOfSplitModels) {
  const auto split = ParseModelPath("/a/x-00002-of-00003.gguf").value();
  EXPECT_EQ(split.name, "x");
  EXPECT_EQ(split.paths,
            (std::vector<std::string>{"/a/x-00001-of-00003.gguf", "/a/x-00002-of-00003.gguf",
                                      "/a/x-00003-of-00003.gguf"}));
  EXPECT_EQ(ParseModelPath("y.gguf").value().name, "y");
  EXPECT_FALSE(ParseModelPath("z-00001-of-00000.gguf"));
  EXPECT_EQ(ModelFile::Open("/no/such.gguf").error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace exo::store
