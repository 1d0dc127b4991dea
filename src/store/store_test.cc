#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "base/sha256.h"
#include "store/manifest.h"
#include "store/model.h"
#include "store/state.h"

namespace exo::store {
namespace {

constexpr const char* kTiny = EXO_SOURCE_DIR "/models/exo-tiny.gguf";

class Folder {
 public:
  Folder() { EXPECT_NE(::mkdtemp(path_), nullptr); }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return std::string(path_) + "/" + name; }

 private:
  char path_[32] = "/tmp/exo-store-test-XXXXXX";
};

NodeId Id(uint8_t value) {
  NodeId id;
  id.bytes[0] = value;
  return id;
}

TEST(StateTest, RevokedWinsForEver) {
  const Folder folder;
  {
    auto state = State::Open(folder / "state.db").value();
    ASSERT_TRUE(state->Admit(Id(1), "desk"));
    ASSERT_TRUE(state->Revoke(Id(1)));
    ASSERT_TRUE(state->Admit(Id(1), "desk again"));
    EXPECT_TRUE(state->FindMember(Id(1))->revoked);
    EXPECT_FALSE(state->FindMember(Id(2)).has_value());
    EXPECT_EQ(state->Increment("incarnation").value(), 1u);
  }
  auto state = State::Open(folder / "state.db").value();
  EXPECT_TRUE(state->FindMember(Id(1))->revoked);
  EXPECT_EQ(state->Increment("incarnation").value(), 2u);
  EXPECT_EQ(state->Members().size(), 1u);
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
    ASSERT_TRUE(state->Revoke(Id(10)));
  }
  const auto peers = (*State::Open(path))->RememberedPeers();
  ASSERT_EQ(peers.size(), static_cast<size_t>(State::kMaxKnownPeers - 1));
  EXPECT_EQ(peers[0].id, Id(9));
  EXPECT_EQ(peers[0].host, "fe80::1%eth0");
  EXPECT_EQ(peers[0].port, 7);
  EXPECT_EQ(peers.back().id, Id(7)) << "the oldest went first";
  for (const KnownPeer& peer : peers) EXPECT_NE(peer.id, Id(10)) << "revoked";
}

TEST(StateTest, DamagedFileIsAnErrorThatSaysWhatToDo) {
  const Folder folder;
  ASSERT_TRUE(sys::WriteFileAtomically(folder / "state.db", std::string(5000, 'x'), 0600));
  const auto state = State::Open(folder / "state.db");
  ASSERT_FALSE(state.has_value());
  EXPECT_NE(state.error().message.find("move it away"), std::string::npos);
}

TEST(ManifestTest, SurvivesItsBytesAndIsKnownByItsHash) {
  const auto file = ModelFile::Open(kTiny);
  ASSERT_TRUE(file) << file.error().message;
  const Manifest& manifest = (*file)->manifest();
  auto copy = Manifest::FromBytes(manifest.bytes());
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_EQ((*copy)->id(), manifest.id());
  EXPECT_EQ((*copy)->config()->layers, manifest.config()->layers);
  const auto bytes =
      (*file)->TensorBytes("output_norm.weight", 0, manifest.tensors()->output_norm.bytes);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(Sha256Of(*bytes), manifest.HashOf("output_norm.weight").value());
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

// A stage pulls its tensors and no others; a lying peer is caught by the hash and leaves no file.
TEST(PullTest, OnlyTheStagesTensorsAndOnlyVerifiedOnes) {
  const Folder folder;
  const auto file = ModelFile::Open(kTiny).value();
  const Manifest& manifest = file->manifest();
  const backend::StageSpec spec = {
      .config = manifest.config(), .tensors = manifest.tensors(), .layer_begin = 2, .layer_end = 4};
  size_t asked = 0;
  bool lie = true;
  const FetchPiece fetch = [&](const std::string& tensor, uint64_t offset,
                               uint32_t size) -> Result<std::vector<uint8_t>> {
    ++asked;
    const auto bytes = TRY(file->TensorBytes(tensor, offset, size));
    const auto* first = reinterpret_cast<const uint8_t*>(bytes.data());
    std::vector<uint8_t> piece(first, first + bytes.size());
    if (lie) piece[piece.size() / 2] ^= 1;
    return piece;
  };
  EXPECT_EQ(PullTensors(manifest, spec, folder / "t", fetch, {}, nullptr).error().code,
            ErrorCode::kCorrupt);
  EXPECT_TRUE(sys::ListFolder(folder / "t").empty());
  lie = false;
  const auto source = PullTensors(manifest, spec, folder / "t", fetch, {}, nullptr);
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(sys::ListFolder(folder / "t").size(), backend::StageTensors(spec).size());
  EXPECT_FALSE((*source)->Read(manifest.tensors()->layers[0].attn_q, 0, 1).has_value());
  EXPECT_TRUE((*source)->Read(manifest.tensors()->layers[2].attn_q, 0, 1).has_value());
  asked = 0;
  EXPECT_TRUE(PullTensors(manifest, spec, folder / "t", fetch, {}, nullptr));
  EXPECT_EQ(asked, 0u);  // the second time everything is there
}

}  // namespace
}  // namespace exo::store
