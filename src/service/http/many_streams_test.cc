// What many answers at once cost in memory, on a fake node.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "service/harness.h"
#include "sys/open_files.h"
#include "sys/system.h"

namespace exo::service {
namespace {

using std::chrono::milliseconds;

constexpr int kStreams = 2000, kWarm = 50;
constexpr uint64_t kBytesPerStream = 64 * 1024;
constexpr bool kSanitized =
#if defined(__has_feature)
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
    false;
#endif

void OpenStreams(const TestServer& server, std::vector<std::unique_ptr<TestClient>>& clients,
                 int count) {
  static const std::string request =
      RequestText("POST", kChat,
                  R"({"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]})");
  while (static_cast<int>(clients.size()) < count) {
    clients.push_back(std::make_unique<TestClient>(server.port()));
    clients.back()->Write(request);
  }
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == count; }));
  const uint64_t before = server.tokens();
  const auto all_got_two = [&] { return server.tokens() >= before + 2 * uint64_t(count); };
  ASSERT_TRUE(WaitUntil(all_got_two));
}

TEST(ManyStreamsTest, TwoThousandTakeAtMost64KibEach) {
  ASSERT_GE(sys::RaiseOpenFileLimit(), 2u * kStreams + 100) << "ulimit -Hn is too low";
  HttpOptions options;
  ASSERT_GE(options.limits.connections, size_t{kStreams});
  // Slow tokens: what is measured is memory, and clients that take their time.
  TestServer server(options, {.endless = true, .delay = milliseconds(1000)});
  std::vector<std::unique_ptr<TestClient>> clients;
  ASSERT_NO_FATAL_FAILURE(OpenStreams(server, clients, kWarm));
  const uint64_t before = sys::ResidentBytes();
  ASSERT_NO_FATAL_FAILURE(OpenStreams(server, clients, kStreams));
  const uint64_t after = sys::ResidentBytes();
  const uint64_t each = (after - std::min(after, before)) / (kStreams - kWarm);
  RecordProperty("bytes_per_stream", static_cast<int>(each));
  EXPECT_GT(each, 0u);
  if (!kSanitized) EXPECT_LE(each, kBytesPerStream);
  clients.clear();
  EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
}

// Pages that follow the state of everything, and read no more than the beginning: what goes on is
// in the sockets' buffers and in few bytes of ours, and the others notice nothing.
TEST(ManyStreamsTest, TwoThousandPagesFollowAtAtMost64KibEach) {
  ASSERT_GE(sys::RaiseOpenFileLimit(), 2u * kStreams + 100) << "ulimit -Hn is too low";
  TestServer server;
  std::vector<std::unique_ptr<TestClient>> pages;
  const auto open = [&](size_t count) {
    while (pages.size() < count) {
      pages.push_back(std::make_unique<TestClient>(server.port()));
      pages.back()->Write(RequestText("GET", "/v1/internal/events"));
      EXPECT_NE(pages.back()->ReadSome().find("text/event-stream"), std::string::npos);
    }
  };
  open(kWarm);
  const uint64_t before = sys::ResidentBytes();
  open(kStreams);
  Script script;
  for (int change = 0; change < 20; ++change) {
    server.Add({.name = fmt::format("change {}", change), .detail = std::string(100, 'd')});
    script.pulls.push_back({.model = fmt::format("hf:o/{}", change)});
    server.Set(script);
    ASSERT_EQ(Call(server, "GET", "/health").status, 200);
  }
  const uint64_t after = sys::ResidentBytes();
  const uint64_t each = (after - std::min(after, before)) / (kStreams - kWarm);
  RecordProperty("bytes_per_page", static_cast<int>(each));
  if (!kSanitized) EXPECT_LE(each, kBytesPerStream);
  std::string text;
  while (text.find("change 19") == std::string::npos) {
    const std::string more = pages[1]->ReadSome();
    ASSERT_FALSE(more.empty()) << text;
    text += more;
  }
  pages.clear();
  EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
}

}  // namespace
}  // namespace exo::service
