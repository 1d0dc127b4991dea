#include "fetch/pull.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "fetch/test_server.h"
#include "sys/files.h"
#include "sys/links.h"
#include "sys/temporary_folder.h"

namespace exo::fetch {
namespace {

const std::string kFile = "GGUF and what else is in it";

std::string HexOf(const std::string& data) {
  return Sha256Of(std::as_bytes(std::span(data))).Hex();
}

std::string Manifest(const std::string& digest, uint64_t bytes,
                     const std::string& type = "application/vnd.ollama.image.model") {
  return fmt::format(R"({{"layers":[{{"mediaType":"{}","digest":"{}","size":{}}}]}})", type, digest,
                     bytes);
}

std::string Siblings(const std::string& name, const std::string& data) {
  return fmt::format(
      R"({{"sha":"c0ffee","siblings":[{{"rfilename":"{}","size":{},"lfs":{{"sha256":"{}"}}}}]}})",
      name, data.size(), HexOf(data));
}

// A hub and a registry in one, whose answers a test puts down by path, and this device's folders.
class PullTest : public testing::Test {
 protected:
  PullTest()
      : server_([this](const std::string& head) { return Answer(head); }),
        folder_(sys::TemporaryFolder::Create("exo-pull-").value()),
        root_(folder_->path()) {
    sources_.hub = sources_.registry = server_.url("");
    sources_.hub_folder = root_ + "/hub";
    sources_.ollama_folders = {root_ + "/ollama"};
    sources_.folder = root_ + "/models";
  }

  std::string Answer(const std::string& head) {
    const size_t begin = head.find(' ') + 1;
    const auto found = answers_.find(head.substr(begin, head.find(' ', begin) - begin));
    if (found == answers_.end()) return "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n";
    return PartReply(head, found->second);
  }
  void OfferOnHub(const std::string& repository, const std::string& name, const std::string& data) {
    answers_["/api/models/" + repository + "/revision/main?blobs=true"] = Siblings(name, data);
    answers_["/" + repository + "/resolve/c0ffee/" + name] = data;
  }
  void OfferInRegistry(const std::string& name, const std::string& data) {
    answers_["/v2/library/" + name + "/manifests/latest"] =
        Manifest("sha256:" + HexOf(data), data.size());
    answers_["/v2/library/" + name + "/blobs/sha256:" + HexOf(data)] = data;
  }
  // As a device without a network sees the world.
  void GoOffline() { sources_.hub = sources_.registry = "http://127.0.0.1:1"; }

  Result<PulledFile> Pull(const std::string& name, std::vector<std::string> earlier = {}) {
    const Reference reference = TRY(ParseReference(name));
    const RemoteModel model = TRY(Resolve(sources_, reference, nullptr));
    return Fetch(sources_, reference, model, {.links = std::move(earlier)});
  }
  std::string ContentOf(const Result<PulledFile>& pulled) {
    return pulled ? sys::ReadFile(pulled->links[0]).value_or("none") : pulled.error().message;
  }
  size_t Requests() { return server_.heads().size(); }

  std::map<std::string, std::string> answers_;
  TestServer server_;
  const std::unique_ptr<sys::TemporaryFolder> folder_;
  const std::string root_;
  Sources sources_;
};

TEST_F(PullTest, AFileOfTheHubIsLinkedUnderItsName) {
  OfferOnHub("o/r", "sub/m-Q8_0.gguf", kFile);
  const auto pulled = Pull("hf:o/r");
  EXPECT_EQ(ContentOf(pulled), kFile);
  EXPECT_EQ(pulled->links, std::vector<std::string>{root_ + "/models/m-Q8_0.gguf"});
  const std::string snapshot = root_ + "/hub/models--o--r/snapshots/c0ffee/sub/m-Q8_0.gguf";
  EXPECT_EQ(sys::LinkTarget(snapshot), "../../../blobs/" + HexOf(kFile));
  EXPECT_EQ(sys::LinkTarget(pulled->links[0]), snapshot);
}

TEST_F(PullTest, TheHubsCacheServesWithoutANetwork) {
  OfferOnHub("o/r", "m-Q8_0.gguf", kFile);
  ASSERT_EQ(ContentOf(Pull("hf:o/r")), kFile);
  GoOffline();
  const auto again = Pull("hf:o/r:Q8_0");
  EXPECT_EQ(ContentOf(again), kFile);
  EXPECT_TRUE(again->owned.empty());
  const auto missing = Pull("hf:o/other");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kDisconnected);
}

TEST_F(PullTest, OllamasStoreServesWithoutANetwork) {
  ASSERT_TRUE(sys::MakeFolders(root_ + "/ollama/blobs"));
  const std::string blob = root_ + "/ollama/blobs/sha256-" + HexOf(kFile);
  ASSERT_TRUE(sys::WriteFileAtomically(blob, kFile, 0600));
  const std::string folder = root_ + "/ollama/manifests/127.0.0.1:1/library/story";
  ASSERT_TRUE(sys::MakeFolders(folder));
  ASSERT_TRUE(sys::WriteFileAtomically(folder + "/latest",
                                       Manifest("sha256:" + HexOf(kFile), kFile.size()), 0600));
  GoOffline();
  const auto pulled = Pull("story");
  EXPECT_EQ(ContentOf(pulled), kFile);
  EXPECT_EQ(sys::LinkTarget(root_ + "/models/story.gguf"), blob);
}

TEST_F(PullTest, ASecondModelOfOneNameSaysWhoseItIs) {
  OfferOnHub("one/r", "m.gguf", kFile);
  OfferOnHub("two/r", "m.gguf", kFile + " and more");
  const auto first = Pull("hf:one/r"), second = Pull("hf:two/r");
  EXPECT_EQ(ContentOf(first), kFile);
  EXPECT_EQ(ContentOf(second), kFile + " and more");
  EXPECT_EQ(second->links[0], root_ + "/models/m@two.gguf");
  EXPECT_EQ(Pull("hf:one/r")->links[0], first->links[0]) << "pulled again it keeps its name";
}

TEST_F(PullTest, ANewVersionKeepsTheName) {
  OfferInRegistry("story", kFile);
  const auto first = Pull("story");
  ASSERT_TRUE(first);
  const std::string newer = kFile + " and more";
  OfferInRegistry("story", newer);
  const auto second = Pull("story", first->links);
  EXPECT_EQ(ContentOf(second), newer);
  EXPECT_EQ(second->links, first->links);
}

TEST_F(PullTest, ThreeOfOneNameAndOwnerAreNumbered) {
  for (const char* repository : {"o/one", "o/two", "o/three"}) {
    OfferOnHub(repository, "m.gguf", kFile + repository);
    EXPECT_EQ(ContentOf(Pull(std::string("hf:") + repository)), kFile + repository);
  }
  EXPECT_TRUE(sys::Exists(root_ + "/models/m@o.2.gguf"));
}

TEST_F(PullTest, AUsersOwnFileKeepsItsName) {
  ASSERT_TRUE(sys::MakeFolders(root_ + "/models"));
  ASSERT_TRUE(sys::WriteFileAtomically(root_ + "/models/story.gguf", "mine", 0600));
  OfferInRegistry("story", kFile);
  const auto pulled = Pull("story");
  EXPECT_EQ(ContentOf(pulled), kFile);
  EXPECT_EQ(pulled->links[0], root_ + "/models/story@library.gguf");
  EXPECT_EQ(sys::ReadFile(root_ + "/models/story.gguf").value_or(""), "mine");
}

TEST_F(PullTest, ForgettingLeavesWhatAnotherModelUses) {
  OfferInRegistry("one", kFile);
  OfferInRegistry("two", kFile);
  const auto one = Pull("one"), two = Pull("two");
  ASSERT_TRUE(one && two);
  ASSERT_EQ(one->owned.size(), 1u);
  EXPECT_TRUE(two->owned.empty()) << "it was there";
  const auto used = Forget(sources_, *one);
  ASSERT_TRUE(used);
  EXPECT_EQ(used->bytes, 0u);
  EXPECT_EQ(used->in_use, one->owned);
  EXPECT_FALSE(sys::NameExists(one->links[0]));
  EXPECT_EQ(ContentOf(two), kFile);
  EXPECT_EQ(Forget(sources_, *one).error().code, ErrorCode::kNotFound);
  const auto last = Forget(sources_, {.links = two->links, .owned = one->owned});
  ASSERT_TRUE(last);
  EXPECT_EQ(last->bytes, kFile.size());
  EXPECT_TRUE(last->in_use.empty() && last->brought_by_others.empty());
  EXPECT_FALSE(sys::Exists(one->owned[0]));
}

TEST_F(PullTest, ForgettingTellsWhatOthersHadBrought) {
  OfferInRegistry("one", kFile);
  const auto one = Pull("one");
  ASSERT_TRUE(one);
  const auto forgotten = Forget(sources_, {.links = one->links});
  ASSERT_TRUE(forgotten);
  EXPECT_EQ(forgotten->bytes, 0u);
  EXPECT_EQ(forgotten->brought_by_others, std::vector{sys::CanonicalPath(one->owned[0])});
  EXPECT_TRUE(sys::Exists(one->owned[0]));
}

TEST_F(PullTest, AManifestThatIsNoneIsRefused) {
  const std::string digest = "sha256:" + HexOf(kFile);
  const std::map<std::string, ErrorCode> cases = {
      {"not json", ErrorCode::kCorrupt},
      {"{}", ErrorCode::kCorrupt},
      {R"({"layers":[]})", ErrorCode::kUnsupported},
      {Manifest(digest, 5, "application/vnd.ollama.image.tensor"), ErrorCode::kUnsupported},
      {Manifest("sha256:../../../../etc/passwd", 5), ErrorCode::kCorrupt},
      {Manifest("md5:" + std::string(64, 'a'), 5), ErrorCode::kCorrupt}};
  for (const auto& [text, code] : cases) {
    answers_["/v2/library/story/manifests/latest"] = text;
    const auto pulled = Pull("story");
    ASSERT_FALSE(pulled) << text;
    EXPECT_EQ(pulled.error().code, code) << pulled.error().message;
  }
}

TEST_F(PullTest, ALayerThatChangesTheModelIsRefusedByName) {
  for (const std::string kind : {"adapter", "projector"}) {
    const std::string type = "application/vnd.ollama.image." + kind;
    answers_["/v2/library/story/manifests/latest"] = fmt::format(
        R"({{"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{0}",)"
        R"("size":{1}}},{{"mediaType":"{2}","digest":"sha256:{0}","size":{1}}}]}})",
        HexOf(kFile), kFile.size(), type);
    const auto pulled = Pull("story");
    ASSERT_FALSE(pulled) << kind;
    EXPECT_EQ(pulled.error().code, ErrorCode::kUnsupported);
    EXPECT_NE(pulled.error().message.find(type), std::string::npos) << pulled.error().message;
  }
}

TEST_F(PullTest, AHubThatIsNoneIsRefused) {
  for (const std::string text :
       {"<html>", "[]", "{}", R"({"sha":"../x","siblings":[]})", R"({"sha":"c0ffee"})",
        R"({"sha":"c0ffee","siblings":[{"rfilename":"m.gguf","size":5}]})",
        R"({"sha":"c0ffee","siblings":[{"rfilename":"m.gguf","size":-5,"lfs":{"sha256":"x"}}]})"}) {
    answers_["/api/models/o/r/revision/main?blobs=true"] = text;
    const auto pulled = Pull("hf:o/r");
    ASSERT_FALSE(pulled) << text;
    EXPECT_EQ(pulled.error().code, ErrorCode::kCorrupt) << pulled.error().message;
  }
}

TEST_F(PullTest, WhatIsNoGgufFileIsNotDownloaded) {
  const std::string page = "<html>please log in</html>";
  OfferOnHub("o/r", "m.gguf", page);
  const auto pulled = Pull("hf:o/r");
  ASSERT_FALSE(pulled);
  EXPECT_EQ(pulled.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(Requests(), 2u);
}

}  // namespace
}  // namespace exo::fetch
