#include "fetch/download.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/sha256.h"
#include "fetch/pieces.h"
#include "fetch/test_server.h"
#include "sys/files.h"
#include "sys/temporary_folder.h"

namespace exo::fetch {
namespace {

constexpr Time kSoon = std::chrono::milliseconds(1);

std::string HashOf(const std::string& data) {
  return Sha256Of(std::as_bytes(std::span(data))).Hex();
}

// A file of several pieces that differ.
std::string LargeFile() {
  std::string data(2 * kPieceBytes + 5000, 'x');
  for (size_t at = 0; at < data.size(); at += 4093) data[at] = static_cast<char>('a' + at % 23);
  return data;
}

class DownloadTest : public testing::Test {
 protected:
  DownloadOptions OptionsFor(const TestServer& server, const std::string& data) {
    return {.web = {.connect = std::chrono::seconds(2), .stall = std::chrono::seconds(2)},
            .target = {.url = server.url(), .reach = Reach::kConfigured},
            .bytes = data.size(),
            .sha256 = HashOf(data),
            .path = path_,
            .tries = 3,
            .retry = kSoon};
  }
  std::string Content() const { return sys::ReadFile(path_).value_or("none"); }
  bool NothingIsLeft() const {
    return !sys::Exists(path_) && !sys::Exists(path_ + ".part") &&
           !sys::Exists(path_ + ".part.json");
  }

  const std::unique_ptr<sys::TemporaryFolder> folder_ =
      sys::TemporaryFolder::Create("exo-download-").value();
  const std::string path_ = folder_->path() + "/m.gguf";
};

TEST_F(DownloadTest, PiecesOfOneFileComeOverSeveralConnections) {
  const std::string data = LargeFile();
  TestServer server([&](const std::string& head) { return PartReply(head, data); });
  Progress last;
  DownloadOptions options = OptionsFor(server, data);
  options.progress = [&](const Progress& now) { last = now; };
  const auto done = Download(options);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(Content() == data);
  EXPECT_EQ(server.heads().size(), 3u);
  EXPECT_TRUE(last.verifying);
  EXPECT_EQ(last.completed, data.size());
  EXPECT_FALSE(sys::Exists(path_ + ".part") || sys::Exists(path_ + ".part.json"));
}

TEST_F(DownloadTest, WhatWasCutGoesOnWhereItBroke) {
  const std::string data = LargeFile();
  int answers = 0;
  TestServer server([&](const std::string& head) {
    std::string reply = PartReply(head, data);
    if (++answers <= 2) reply.resize(reply.size() - 2000);
    return reply;
  });
  const auto done = Download(OptionsFor(server, data));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(Content() == data);
  const auto heads = server.heads();
  ASSERT_EQ(heads.size(), 5u);
  const TestRange again = RangeOf(heads[3]);
  EXPECT_LE(again.end - again.begin, 2000u) << heads[3];
}

TEST_F(DownloadTest, AnotherCallGoesOnWhereTheLastOneGaveUp) {
  const std::string data = LargeFile();
  std::atomic<bool> up = false;
  TestServer server([&](const std::string& head) {
    const TestRange range = RangeOf(head);
    return up || range.begin == 0 ? PartReply(head, data) : std::string();
  });
  const auto failed = Download(OptionsFor(server, data));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kDisconnected);
  EXPECT_NE(failed.error().message.find("16.0 MiB of 32.0 MiB are here"), std::string::npos)
      << failed.error().message;
  EXPECT_FALSE(sys::Exists(path_));
  up = true;
  const size_t before = server.heads().size();
  ASSERT_TRUE(Download(OptionsFor(server, data)));
  EXPECT_TRUE(Content() == data);
  const auto heads = server.heads();
  for (size_t at = before; at < heads.size(); ++at)
    EXPECT_GE(RangeOf(heads[at]).begin, kPieceBytes) << heads[at];
}

// What a process that is killed in the middle of a connection leaves on the disk.
TEST_F(DownloadTest, WhatComesIsNotedWhileItComes) {
  const std::string data = LargeFile(), left = folder_->path() + "/left.gguf";
  TestServer server([&](const std::string& head) {
    std::string reply = PartReply(head, data);
    if (head.contains("slow")) reply.resize(reply.size() - 2000);
    return reply;
  });
  server.hold = true;
  std::atomic<bool> cancel = false;
  uint64_t noted = 0;
  int looks = 0;
  unsigned silent_seconds = 0;
  DownloadOptions options = OptionsFor(server, data);
  options.target.url = server.url("/slow");
  options.web.stall = std::chrono::seconds(60);
  options.connections = 1;
  options.cancel = &cancel;
  options.silence = std::chrono::milliseconds(10);
  options.progress = [&](const Progress& now) {
    silent_seconds = std::max(silent_seconds, now.silent_seconds);
    const std::string note = sys::ReadFile(path_ + ".part.json").value_or("");
    const auto pieces = Pieces::Parse(note, data.size(), options.sha256);
    noted = pieces ? pieces->completed() : 0;
    cancel = noted > 0 || ++looks == 40;
    if (noted == 0) return;
    ASSERT_TRUE(sys::WriteFileAtomically(left + ".part.json", note, 0600));
    ASSERT_TRUE(sys::WriteFileAtomically(left + ".part", *sys::ReadFile(path_ + ".part"), 0600));
  };
  EXPECT_EQ(Download(options).error().code, ErrorCode::kCancelled);
  ASSERT_GT(noted, 0u);
  EXPECT_GT(silent_seconds, 0u) << "nothing came any more, and nobody was told";
  server.hold = false;
  options = OptionsFor(server, data);
  options.path = left;
  options.connections = 1;
  const size_t before = server.heads().size();
  ASSERT_TRUE(Download(options));
  EXPECT_TRUE(sys::ReadFile(left).value_or("") == data);
  EXPECT_EQ(RangeOf(server.heads()[before]).begin, noted);
}

TEST_F(DownloadTest, OtherBytesThanWereAnnouncedAreThrownAway) {
  const std::string data(5000, 'x'), other(5000, 'y');
  TestServer server([&](const std::string& head) { return PartReply(head, other); });
  const auto done = Download(OptionsFor(server, data));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(NothingIsLeft());
}

TEST_F(DownloadTest, AServerThatSendsNoPartsSendsTheWhole) {
  const std::string data = LargeFile();
  int whole = 0;
  TestServer server([&](const std::string& head) {
    std::string reply = PartReply("", data);
    if (!head.empty() && RangeOf(head).end == 0 && ++whole == 1) reply.resize(reply.size() / 2);
    return reply;
  });
  const auto done = Download(OptionsFor(server, data));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(Content() == data);
}

// Without a hash only the server's own word tells one state of the file from another.
TEST_F(DownloadTest, AFileThatChangesOnItsServerIsRefused) {
  const std::string data = LargeFile();
  int answers = 0;
  TestServer server([&](const std::string& head) {
    if (FieldOf(head, "If-Range") == "\"one\"") return PartReply("", data, "ETag: \"two\"\r\n");
    std::string reply = PartReply(head, data, "ETag: \"one\"\r\n");
    if (++answers == 1) reply.resize(reply.size() - 2000);
    return reply;
  });
  DownloadOptions options = OptionsFor(server, data);
  options.sha256.clear();
  options.connections = 1;
  const auto done = Download(options);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(done.error().message.find("has changed"), std::string::npos) << done.error().message;
  EXPECT_TRUE(NothingIsLeft());
}

TEST_F(DownloadTest, AnotherLengthThanAnnouncedIsAnotherFile) {
  const std::string data(5000, 'x');
  TestServer longer([&](const std::string& head) { return PartReply(head, data + "more"); });
  const auto done = Download(OptionsFor(longer, data));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCorrupt);
  TestServer shorter([&](const std::string&) {
    return "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n";
  });
  EXPECT_EQ(Download(OptionsFor(shorter, data)).error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(NothingIsLeft());
}

TEST_F(DownloadTest, WhatNoDiskHoldsIsRefusedBeforeItIsAskedFor) {
  TestServer server([](const std::string&) { return std::string(); });
  DownloadOptions options = OptionsFor(server, "x");
  for (const uint64_t bytes : {UINT64_MAX, uint64_t{1} << 50}) {
    options.bytes = bytes;
    EXPECT_FALSE(Download(options)) << bytes;
  }
  EXPECT_TRUE(server.heads().empty());
  EXPECT_TRUE(NothingIsLeft());
}

TEST_F(DownloadTest, StatusesSayWhetherAnotherTryHelps) {
  const std::string data(5000, 'x');
  const std::map<int, std::pair<ErrorCode, size_t>> cases = {{403, {ErrorCode::kInvalid, 1}},
                                                             {404, {ErrorCode::kNotFound, 1}},
                                                             {429, {ErrorCode::kOverloaded, 3}},
                                                             {500, {ErrorCode::kDisconnected, 3}},
                                                             {503, {ErrorCode::kDisconnected, 3}}};
  for (const auto& [status, expected] : cases) {
    TestServer server([&](const std::string&) {
      return fmt::format("HTTP/1.1 {} No\r\nContent-Length: 2\r\n\r\nno", status);
    });
    const auto done = Download(OptionsFor(server, data));
    ASSERT_FALSE(done) << status;
    EXPECT_EQ(done.error().code, expected.first) << status << done.error().message;
    EXPECT_EQ(server.heads().size(), expected.second) << status;
  }
}

TEST_F(DownloadTest, APrivateAddressIsNotAskedForAClientsUrlNorForARedirect) {
  const std::string data(5000, 'x');
  TestServer server([&](const std::string& head) { return PartReply(head, data); });
  DownloadOptions options = OptionsFor(server, data);
  options.target.reach = Reach::kPublicOnly;
  const auto done = Download(options);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kInvalid);
  EXPECT_NE(done.error().message.find("private address"), std::string::npos);
  EXPECT_TRUE(server.heads().empty());
}

// The hub, or who has taken its place, must not lead to this device's router.
TEST_F(DownloadTest, AConfiguredHostLeadsToNoOtherPrivateAddress) {
  const std::string data(5000, 'x');
  TestServer router([&](const std::string& head) { return PartReply(head, data); });
  TestServer hub([&](const std::string&) {
    std::string elsewhere = router.url();
    elsewhere.replace(elsewhere.find("127.0.0.1"), 9, "localhost");
    return fmt::format("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                       elsewhere);
  });
  const auto done = Download(OptionsFor(hub, data));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kInvalid);
  EXPECT_NE(done.error().message.find("private address"), std::string::npos);
  EXPECT_EQ(hub.heads().size(), 1u);
  EXPECT_TRUE(router.heads().empty());
}

TEST_F(DownloadTest, TheTokenStaysWithTheHostItIsFor) {
  const std::string data(5000, 'x');
  TestServer content([&](const std::string& head) { return PartReply(head, data); });
  TestServer hub([&](const std::string&) {
    return fmt::format("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
                       content.url());
  });
  DownloadOptions options = OptionsFor(hub, data);
  options.target.token = "secret";
  ASSERT_TRUE(Download(options));
  EXPECT_EQ(FieldOf(hub.heads()[0], "Authorization"), "Bearer secret");
  EXPECT_EQ(FieldOf(content.heads()[0], "Authorization"), "");
}

TEST_F(DownloadTest, RedirectsInACircleEnd) {
  TestServer server([](const std::string&) {
    return std::string("HTTP/1.1 302 Found\r\nLocation: /m.gguf\r\nContent-Length: 0\r\n\r\n");
  });
  const auto done = Download(OptionsFor(server, "x"));
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kInvalid);
  EXPECT_LE(server.heads().size(), 10u);
}

TEST_F(DownloadTest, ADamagedNoteBeginsAnew) {
  const std::string data = LargeFile();
  TestServer server([&](const std::string& head) { return PartReply(head, data); });
  ASSERT_TRUE(sys::WriteFileAtomically(path_ + ".part", std::string(data.size(), 'z'), 0600));
  ASSERT_TRUE(sys::WriteFileAtomically(path_ + ".part.json", "{\"filled\":[99999999", 0600));
  ASSERT_TRUE(Download(OptionsFor(server, data)));
  EXPECT_TRUE(Content() == data);
}

TEST_F(DownloadTest, ACancelledOneKeepsWhatCame) {
  const std::string data = LargeFile();
  std::atomic<bool> cancel = false;
  TestServer server([&](const std::string& head) {
    if (RangeOf(head).begin > 0) cancel = true;
    return PartReply(head, data);
  });
  DownloadOptions options = OptionsFor(server, data);
  options.connections = 1;
  options.cancel = &cancel;
  const auto done = Download(options);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(sys::Exists(path_ + ".part") && sys::Exists(path_ + ".part.json"));
}

}  // namespace
}  // namespace exo::fetch
